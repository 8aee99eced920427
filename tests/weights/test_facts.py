"""What the home says of weights as they come and go, and files of the home that cannot be read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from toy_weights import GOOD, HUB_PATH, MODEL, OTHER, Home, checkpoint, data_file, sha256
from unruly_server import UnrulyServer

from repro.errors import CorruptFile, EnvironmentProblem
from repro.spec import CheckpointSpec, InputSpec
from repro.weights import WeightFacts, WeightsManifest, intact_manifest, read_weight_facts, weights_dir

SPEC = checkpoint(data_file(HUB_PATH, GOOD))


@pytest.fixture
def there(hub: UnrulyServer, home: Home) -> Path:
    """The file of fetched weights."""
    hub.serve(HUB_PATH, GOOD)
    home.bring(SPEC)
    hub.requests.clear()
    return weights_dir(home.workspace, SPEC) / "model.safetensors"


def facts_of(home: Home, spec: CheckpointSpec = SPEC) -> WeightFacts:
    facts = read_weight_facts(home.workspace, spec)
    assert facts is not None
    return facts


def test_what_was_never_tried_has_no_facts(home: Home) -> None:
    assert read_weight_facts(home.workspace, SPEC) is None


def test_a_file_that_is_gone_is_a_problem_but_not_forgotten(home: Home, there: Path, hub: UnrulyServer) -> None:
    before = facts_of(home)
    there.unlink()
    after = facts_of(home)
    assert (after.digest, after.sha256, after.input, after.path) == (before.digest, before.sha256, before.input, None)
    assert f"{there} is gone" in after.problem
    assert intact_manifest(home.workspace, SPEC, home.lines.append) is None
    home.bring(SPEC)
    assert facts_of(home) == before


def test_a_file_of_another_size_is_a_problem(home: Home, there: Path, hub: UnrulyServer) -> None:
    there.write_bytes(GOOD[:-1])
    assert f"has {len(GOOD) - 1:,} bytes instead of {len(GOOD):,}" in facts_of(home).problem
    assert intact_manifest(home.workspace, SPEC, home.lines.append) is None
    assert len(home.lines) == 1
    assert home.bring(SPEC).sha256 == sha256(GOOD)
    assert facts_of(home).problem == ""


def test_a_damaged_file_is_fetched_anew_and_said(home: Home, there: Path, hub: UnrulyServer) -> None:
    there.write_bytes(GOOD[:-1] + b"!")
    os.utime(there, ns=(1, 1))
    assert intact_manifest(home.workspace, SPEC, home.lines.append) is None
    [line] = home.lines
    assert f"{there} is not the file it should be" in line
    assert f"expected sha256 {sha256(GOOD)}, found" in line
    home.bring(SPEC)
    assert there.read_bytes() == GOOD


def test_a_file_whose_time_alone_has_changed_is_read_once(home: Home, there: Path) -> None:
    os.utime(there, ns=(1, 1))
    manifest = intact_manifest(home.workspace, SPEC, home.lines.append)
    assert manifest is not None
    assert manifest.mtime_ns == 1
    there.chmod(0)
    if not os.access(there, os.R_OK):
        assert intact_manifest(home.workspace, SPEC, home.lines.append) == manifest
    assert not home.lines


def test_damage_that_time_and_size_do_not_tell_is_found_when_reread(home: Home, there: Path) -> None:
    before = there.stat()
    there.write_bytes(GOOD[:-1] + b"!")
    os.utime(there, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert intact_manifest(home.workspace, SPEC, home.lines.append) is not None
    assert intact_manifest(home.workspace, SPEC, home.lines.append, reread=True) is None
    assert not there.exists()


def test_weights_that_are_there_are_inspected_anew_without_a_request(home: Home, there: Path, hub: UnrulyServer) -> None:
    before = intact_manifest(home.workspace, SPEC, home.lines.append, reread=True)
    assert before is not None
    assert home.bring(SPEC).source == before.source, "it still tells where they came from"
    assert [seen.path for seen in hub.requests] == []
    assert not home.lines


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1}', "\udcff"])
@pytest.mark.parametrize("name", ["manifest.json", "failure.json"])
def test_what_cannot_be_read_is_named_and_counts_as_not_fetched(
    home: Home, there: Path, hub: UnrulyServer, name: str, text: str
) -> None:
    (there.parent / "manifest.json").unlink()
    (there.parent / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptFile, match=name):
        read_weight_facts(home.workspace, SPEC)
    assert intact_manifest(home.workspace, SPEC, home.lines.append) is None
    assert any(name in line for line in home.lines) == (name == "manifest.json")
    home.bring(SPEC)
    assert facts_of(home).problem == ""
    assert not hub.requests, "the file itself is right"


def test_a_failure_does_not_count_against_intact_weights(home: Home, there: Path) -> None:
    failure = {"schema_version": 1, "name": MODEL.name, "message": "m", "remedy": "r", "failed_at": "t"}
    (there.parent / "failure.json").write_text(json.dumps(failure))
    assert facts_of(home).problem == ""
    there.unlink()
    assert facts_of(home).problem == "m"


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ({}, True),
        ({"title": "another title"}, True),
        ({"architecture": "timm/another"}, False),
        ({"file": (data_file(HUB_PATH, OTHER),)}, False),
        ({"file": (data_file(HUB_PATH),)}, True),
        ({"file": (data_file("other.pth"), data_file(HUB_PATH, GOOD))}, True),
        ({"file": (data_file(HUB_PATH, GOOD, host="fbaipublic"),)}, False),
        ({"file": ()}, False),
    ],
    ids=str,
)
def test_other_weights_under_one_name_are_not_taken_for_these(
    home: Home, there: Path, changed: dict[str, Any], is_same: bool
) -> None:
    spec = SPEC.model_copy(update=changed)
    assert spec.key == SPEC.key
    assert (read_weight_facts(home.workspace, spec) is not None) == is_same


def manifest_of(**changed: Any) -> WeightsManifest:
    document = {
        "name": "n", "architecture": "n", "path": Path("f"), "size_bytes": 1, "mtime_ns": 1, "sha256": "a" * 64,
        "content_sha256": "b" * 64, "input": None, "num_parameters": 1, "source": "s", "recorded_at": "t",
    } | changed  # fmt: skip
    return WeightsManifest(**document)


def test_the_digest_is_of_what_decides_the_numbers() -> None:
    fed = InputSpec(image_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", source="s")
    digests = [
        manifest_of().digest,
        manifest_of(content_sha256="c" * 64).digest,
        manifest_of(input=fed).digest,
        manifest_of(input=fed.model_copy(update={"mean": (0.4, 0.5, 0.5)})).digest,
        manifest_of(input=fed.model_copy(update={"std": (0.4, 0.5, 0.5)})).digest,
    ]
    assert len(set(digests)) == len(digests)
    same = manifest_of(input=fed.model_copy(update={"source": "t", "image_size": 384}), sha256="d" * 64, source="x")
    assert same.digest == manifest_of(input=fed).digest


def test_a_folder_that_cannot_be_written_is_told(home: Home, hub: UnrulyServer) -> None:
    hub.serve(HUB_PATH, GOOD)
    home.workspace.home.joinpath("weights").write_text("a file in its place")
    with pytest.raises(EnvironmentProblem, match="weights"):
        home.bring(SPEC)
