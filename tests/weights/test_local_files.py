"""Weights that lie on this machine: in the user's folder, in the caches of other tools, in a file that a profile names."""

import os
from pathlib import Path

import pytest
from toy_weights import (
    CONFIG,
    CONFIG_PATH,
    FOREIGN,
    GOOD,
    HUB_PATH,
    IN_HOUSE,
    KEY,
    LIBRARY_INPUT,
    MODEL,
    OTHER,
    REPOSITORY,
    REVISION,
    Home,
    checkpoint,
    data_file,
    digits_name,
    sha256,
)
from unruly_server import UnrulyServer

from repro.spec import CheckpointSpec
from repro.weights import intact_manifest, missing_bytes, read_weight_facts
from repro.weights.places import place_file

PINNED = checkpoint(data_file(HUB_PATH, GOOD))
UNPINNED = checkpoint(data_file(HUB_PATH))


@pytest.fixture
def mine(home: Home, tmp_path: Path) -> Path:
    """The user's folder (`--from`), the network being forbidden."""
    home.source_dir, home.offline = tmp_path / "mine", True
    return home.source_dir


def put(path: Path, content: bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of each file, links followed."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def put_in_hub_cache(folder: Path, *, revision: str = REVISION, config: bytes | None = CONFIG) -> None:
    """As huggingface_hub lays out its cache: blobs, and links to them by revision."""
    repository = folder / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name, content in {"model.safetensors": GOOD, "config.json": config}.items():
        if content is not None:
            blob = put(repository / "blobs" / sha256(content), content)
            (snapshot / name).symlink_to(Path("..", "..", "blobs", blob.name))


# The user's folder


@pytest.mark.parametrize(
    ("place", "has_config"),
    [
        (f"{KEY}/model.safetensors", True),
        (HUB_PATH, True),
        (f"huggingface/{HUB_PATH}", True),
        (f"{REPOSITORY}/model.safetensors", True),
        ("toy_vit.tag_in1k/model.safetensors", True),
        ("toy_vit.tag_in1k.safetensors", False),
        ("toy_vit.tag_in1k.pth", False),
    ],
)
@pytest.mark.parametrize("spec", [PINNED, UNPINNED], ids=["pinned", "unpinned"])
def test_a_file_of_the_users_is_found(home: Home, mine: Path, place: str, has_config: bool, spec: CheckpointSpec) -> None:
    path = put(mine / place)
    put(path.with_name("config.json"), CONFIG)
    before = state_of(mine)
    manifest = home.bring(spec)
    assert (manifest.sha256, manifest.source) == (sha256(GOOD), str(path))
    assert manifest.input is not None
    assert (manifest.input == LIBRARY_INPUT) == (not has_config), "beside other models' files a configuration may be of any"
    assert home.names(spec) == {path.name, "manifest.json"} | ({"config.json"} if has_config else set())
    assert (home.folder(spec) / path.name).samefile(path), "no second copy on one disk"
    assert state_of(mine) == before
    assert any("is taken as it is" in line for line in home.lines) == (spec is UNPINNED)
    assert intact_manifest(home.workspace, spec, home.lines.append)
    assert not (home.workspace.downloads_dir / "lock.json").exists(), "only what came from its host is worth recording"


def test_a_generic_name_alone_is_not_taken(home: Home, mine: Path) -> None:
    put(mine / "model.safetensors")
    assert "Missing:" in home.refusal(PINNED)
    assert str(mine) not in home.refusal(PINNED)


def test_a_name_with_digits_is_taken_from_the_top(home: Home, mine: Path) -> None:
    name = digits_name(GOOD)
    spec = checkpoint(data_file(name, host="pytorch"))
    put(mine / name, OTHER)
    assert f"begins with {sha256(GOOD)[:8]}, found {sha256(OTHER)}" in home.refusal(spec)
    put(mine / name)
    assert home.bring(spec).sha256 == sha256(GOOD)


def test_another_home_is_a_source(hub: UnrulyServer, home: Home, mine: Path) -> None:
    hub.serve(HUB_PATH, GOOD)
    hub.serve(CONFIG_PATH, CONFIG)
    first = Home(home.workspace.__class__(home=home.workspace.home.with_name("first")))
    manifest = first.bring(UNPINNED)
    home.source_dir = first.workspace.home / "weights"
    assert home.bring(UNPINNED).digest == manifest.digest


def test_a_wrong_file_is_named_and_the_network_asked(hub: UnrulyServer, home: Home, mine: Path) -> None:
    wrong = put(mine / KEY / "model.safetensors", OTHER)
    assert f"{wrong} is not the file it should be: it has {len(OTHER):,} bytes" in home.refusal(PINNED)
    hub.serve(HUB_PATH, GOOD)
    home.offline = False
    assert home.bring(PINNED).sha256 == sha256(GOOD)
    assert [line for line in home.lines if line.startswith("warning") and str(wrong) in line]
    assert wrong.read_bytes() == OTHER


def test_a_file_of_another_architecture_is_left_where_it_is(home: Home, mine: Path) -> None:
    wrong = put(mine / KEY / "model.safetensors", FOREIGN)
    told = home.refusal(UNPINNED)
    assert f"{wrong} is of no use" in told
    assert "holds no weights of" in told
    assert wrong.read_bytes() == FOREIGN
    assert home.names(UNPINNED) == {"failure.json"}


def test_what_is_one_place_s_file_is_not_complained_of_for_another(home: Home, mine: Path) -> None:
    spec = checkpoint(data_file(HUB_PATH, OTHER), data_file("toy.pth", GOOD, host="fbaipublic"))
    put(mine / "toy_vit.tag_in1k.pth")
    assert home.bring(spec).sha256 == sha256(GOOD)
    assert not home.lines


def test_weights_are_copied_from_another_disk(home: Home, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(source: Path, destination: Path) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no_link)
    path = put(mine / KEY / "model.safetensors")
    home.bring(PINNED)
    copy = home.folder(PINNED) / "model.safetensors"
    assert copy.read_bytes() == GOOD
    assert not copy.samefile(path)


def test_a_link_that_a_killed_process_left_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = put(tmp_path / "theirs"), put(tmp_path / "ours", OTHER)
    os.link(theirs, tmp_path / f".placed.{os.getpid()}.tmp")
    assert place_file(ours, tmp_path / "placed").read_bytes() == OTHER
    assert theirs.read_bytes() == GOOD


# Caches


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("spec", [PINNED, UNPINNED], ids=["pinned", "unpinned"])
def test_the_hubs_cache_is_used_and_left_as_it_is(
    server: UnrulyServer, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, spec: CheckpointSpec
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "theirs"))
    inside = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub", "HOME": ".cache/huggingface/hub"}
    cache = tmp_path / "theirs" / inside[variable]
    put_in_hub_cache(cache)
    before = state_of(cache)
    manifest = home.bring(spec)
    assert manifest.source.startswith(str(cache))
    assert manifest.input != LIBRARY_INPUT
    assert not (home.folder(spec) / "model.safetensors").is_symlink()
    assert not server.requests
    assert state_of(cache) == before


def test_another_revision_of_the_hubs_cache_is_not_taken(home: Home, caches: Path) -> None:
    home.offline = True
    put_in_hub_cache(caches / "huggingface" / "hub", revision="b" * 40)
    assert str(caches) not in home.refusal(UNPINNED)


def test_the_hubs_cache_holds_files_of_the_hub_only(home: Home, caches: Path) -> None:
    home.offline = True
    put_in_hub_cache(caches / "huggingface" / "hub")
    assert "Missing" in home.refusal(checkpoint(data_file(HUB_PATH, host="http://127.0.0.1:9")))


@pytest.mark.parametrize("variable", ["TORCH_HOME", "XDG_CACHE_HOME", "HOME"])
def test_torchs_cache_is_used_and_left_as_it_is(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "theirs"))
    inside = {"TORCH_HOME": "", "XDG_CACHE_HOME": "torch", "HOME": ".cache/torch"}
    cache = tmp_path / "theirs" / inside[variable] / "hub" / "checkpoints"
    path = put(cache / digits_name(GOOD))
    before = state_of(cache)
    manifest = home.bring(checkpoint(data_file(path.name, host="pytorch")))
    assert manifest.source == str(path)
    assert state_of(cache) == before


def test_a_cache_that_files_by_name_is_not_trusted_with_unknown_bytes(home: Home, caches: Path) -> None:
    home.offline = True
    put(caches / "torch" / "hub" / "checkpoints" / "best.pth")
    assert "Missing" in home.refusal(checkpoint(data_file("best.pth", host="fbaipublic")))


def test_what_must_be_downloaded_is_counted(home: Home, mine: Path) -> None:
    def missing() -> int:
        return missing_bytes(home.workspace, mine, PINNED, PINNED.file)

    assert missing() == len(GOOD)
    put(home.folder(PINNED) / "model.safetensors.part", GOOD[:100])
    assert missing() == len(GOOD) - 100
    put(mine / KEY / "model.safetensors")
    assert missing() == 0


# A file that the profile names


def test_a_file_of_the_users_own_stays_where_it_is(home: Home, tmp_path: Path) -> None:
    path = put(tmp_path / "mine.safetensors")
    spec = checkpoint(path=path, model=IN_HOUSE)
    manifest = home.bring(spec, IN_HOUSE)
    assert (manifest.path, manifest.source, manifest.input) == (path, str(path), None)
    assert home.names(spec) == {"manifest.json"}
    library = checkpoint(path=path)
    put(path.with_name("config.json"), CONFIG)
    assert home.bring(library).input == LIBRARY_INPUT
    assert library.key != spec.key, "one file may serve two architectures"
    generic = put(tmp_path / "snapshot" / "model.safetensors")
    put(generic.with_name("config.json"), CONFIG)
    assert home.bring(checkpoint(path=generic)).input != LIBRARY_INPUT


def test_a_file_of_the_users_own_that_changes_is_inspected_anew(home: Home, tmp_path: Path) -> None:
    path = put(tmp_path / "mine.safetensors")
    spec = checkpoint(path=path)
    before = home.bring(spec)
    assert read_weight_facts(home.workspace, spec) is not None
    os.utime(path, ns=(1, 1))
    assert read_weight_facts(home.workspace, spec) is None, "it may be another"
    touched = intact_manifest(home.workspace, spec, home.lines.append)
    assert touched is not None
    assert touched.digest == before.digest
    assert not home.lines
    assert read_weight_facts(home.workspace, spec) is not None, "it was read, and is not another"
    put(path, OTHER)
    assert read_weight_facts(home.workspace, spec) is None
    assert intact_manifest(home.workspace, spec, home.lines.append) is None
    assert home.lines == [f"note: {path} has changed since it was inspected; it is inspected anew."]
    after = home.bring(spec)
    assert after.digest != before.digest
    facts = read_weight_facts(home.workspace, spec)
    assert facts is not None
    assert (facts.digest, facts.problem) == (after.digest, "")


@pytest.mark.parametrize("kind", ["absent", "folder", "foreign", "wrong digits"])
def test_a_file_of_the_users_own_that_cannot_be_used(home: Home, tmp_path: Path, kind: str) -> None:
    path = tmp_path / (digits_name(GOOD) if kind == "wrong digits" else "mine.pth")
    if kind == "folder":
        path.mkdir()
    elif kind != "absent":
        put(path, FOREIGN if kind == "foreign" else OTHER)
    told = home.refusal(checkpoint(path=path))
    assert told.startswith(f"{path} cannot be used as weights of {MODEL.name}: ")
    assert "Correct the file" in told
    facts = read_weight_facts(home.workspace, checkpoint(path=path))
    assert facts is not None
    assert facts.digest is None
    assert facts.problem in told
    assert path.exists() == (kind != "absent")
