"""Weights from hosts: they come once, verified and inspected; what goes wrong is one message with file, host and remedy."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from toy_weights import (
    CONFIG,
    CONFIG_PATH,
    FOREIGN,
    GOOD,
    HUB_PATH,
    IN_HOUSE,
    LIBRARY_INPUT,
    MODEL,
    OTHER,
    PAGE,
    REPOSITORY,
    Home,
    checkpoint,
    data_file,
    digits_name,
    sha256,
)
from unruly_server import UnrulyServer

from repro.errors import ProfileError, UsageError
from repro.spec import CheckpointSpec, DataFile, ModelSpec
from repro.weights import Wanted, intact_manifest, read_weight_facts
from repro.workspace import Workspace

HUB = checkpoint(data_file(HUB_PATH, GOOD))


# What comes


def test_weights_come_with_their_configuration_and_are_recorded(hub: UnrulyServer, home: Home) -> None:
    url = hub.serve(HUB_PATH, GOOD)
    hub.serve(CONFIG_PATH, CONFIG)
    manifest = home.bring(HUB)
    assert (manifest.source, manifest.sha256, manifest.num_parameters) == (url, sha256(GOOD), len(GOOD))
    assert manifest.input is not None
    assert manifest.input.mean == (0.5, 0.5, 0.5)
    assert home.names(HUB) == {"model.safetensors", "config.json", "manifest.json"}
    assert (home.folder(HUB) / "model.safetensors").read_bytes() == GOOD
    facts = read_weight_facts(home.workspace, HUB)
    assert facts is not None
    assert (facts.digest, facts.sha256, facts.input) == (manifest.digest, manifest.sha256, manifest.input)
    assert (facts.path, facts.problem) == (home.folder(HUB) / "model.safetensors", "")
    assert not home.lines
    assert intact_manifest(home.workspace, HUB, home.lines.append) == manifest
    assert home.bring(HUB).sha256 == manifest.sha256
    assert len(hub.requests) == 2, "what is there is not asked for again"


def test_without_a_configuration_the_library_says_how_images_are_fed(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, GOOD)
    assert home.bring(HUB).input == LIBRARY_INPUT


def test_a_configuration_is_asked_for_only_beside_a_file_of_a_repository(server: UnrulyServer, home: Home) -> None:
    host = server.url("").rstrip("/")
    server.serve("files/toy.pth", GOOD)
    server.serve("files/config.json", CONFIG)
    assert home.bring(checkpoint(data_file("files/toy.pth", host=host))).input == LIBRARY_INPUT
    assert [seen.path for seen in server.requests] == ["files/toy.pth"]


def test_the_kits_own_architectures_want_no_configuration(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, GOOD)
    manifest = home.bring(checkpoint(data_file(HUB_PATH, GOOD), model=IN_HOUSE), IN_HOUSE)
    assert manifest.input is None
    assert [seen.path for seen in hub.requests] == [HUB_PATH]


def test_the_library_is_asked_where_nothing_is_listed(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, GOOD)
    spec = checkpoint()
    assert home.bring(spec).sha256 == sha256(GOOD)
    assert intact_manifest(home.workspace, spec, home.lines.append)
    assert intact_manifest(home.workspace, HUB, home.lines.append) is None, "another list of files, though of one name"


def test_a_name_unknown_to_the_library_is_a_mistake_in_the_profile(home: Home) -> None:
    model = ModelSpec(name="timm/no_such.thing", family="vit")
    with pytest.raises(ProfileError, match="no_such"):
        Wanted.of(checkpoint(model=model), model, home.networks)


def test_a_dropped_connection_is_resumed(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, GOOD, drop_after=len(GOOD) // 3)
    home.bring(HUB)
    assert hub.ranges(HUB_PATH)[1:] == [
        f"bytes={len(GOOD) // 3}-",
        f"bytes={2 * (len(GOOD) // 3)}-",
        f"bytes={3 * (len(GOOD) // 3)}-",
    ]


def test_an_interrupted_download_is_resumed_by_the_next_fetch(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, GOOD, drop_after=1000, ignores_range=True)
    assert "resumed" in home.refusal(HUB)
    hub.requests.clear()
    hub.serve(HUB_PATH, GOOD)
    home.bring(HUB)
    assert hub.ranges(HUB_PATH) == ["bytes=1000-"]
    assert home.names(HUB) == {"model.safetensors", "manifest.json"}, "neither part nor failure is left"


def test_several_checkpoints_come_at_once(server: UnrulyServer, home: Home) -> None:
    host = server.url("").rstrip("/")
    gate = threading.Barrier(3)
    specs = []
    for number in range(3):
        content = GOOD + bytes([number])
        server.serve(f"toy{number}.pth", content, gate=gate)
        model = IN_HOUSE.model_copy(update={"name": f"toy{number}"})
        specs.append((checkpoint(data_file(f"toy{number}.pth", content, host=host), model=model), model))
    with home.acquisition() as acquisition, ThreadPoolExecutor(3) as pool:
        wanted = [Wanted.of(spec, model, home.networks) for spec, model in specs]
        assert {one.name for one in pool.map(acquisition.bring, wanted)} == {"toy0", "toy1", "toy2"}


# What goes wrong

BAD_MANNERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "forbidden": ({"status_always": 403}, "403 Forbidden", "HF_TOKEN"),
    "unauthorized": ({"status_always": 401}, "401 Unauthorized", "HF_TOKEN"),
    "not found": ({"status_always": 404}, "404 Not Found", "renamed or removed"),
    "unavailable": ({"status_always": 503}, "503 Service Unavailable", "Try again later"),
    "a web page": ({"content": PAGE, "content_type": "text/html"}, "a web page instead of the file", "--from DIR"),
    "a web page in disguise": ({"content": PAGE, "states_length": False}, "a web page instead", "--from DIR"),
    "truncated": ({"drop_after": 1000, "ignores_range": True}, "the connection was dropped", "is kept and resumed"),
    "other length": ({"content": GOOD + b"x"}, f"instead of the expected {len(GOOD):,}", "--from DIR"),
    "wrong digest": ({"content": GOOD[:-1] + b"x"}, f"expected sha256 {sha256(GOOD)}, found", "--from DIR"),
    "hangs": ({"hangs": True}, "nothing came for", "VITREPRO_HUGGINGFACE_URL"),
}


@pytest.mark.parametrize(("manner", "said", "advised"), BAD_MANNERS.values(), ids=BAD_MANNERS)
def test_a_host_that_misbehaves_is_named_with_file_and_remedy(
    hub: UnrulyServer, home: Home, manner: dict[str, Any], said: str, advised: str
) -> None:
    hub.serve(HUB_PATH, **({"content": GOOD} | manner))
    told = home.refusal(HUB)
    assert told.startswith(f"The weights of {MODEL.name} cannot be had:")
    for part in ("model.safetensors", "127.0.0.1", "$HF_ENDPOINT", said, advised):
        assert part in told
    assert f"DIR/{HUB.key}/" in told
    assert not [line for line in home.lines if line.startswith("warning")], "it is told once"
    facts = read_weight_facts(home.workspace, HUB)
    assert facts is not None
    assert facts.digest is facts.path is None
    assert facts.problem in told
    # And once the host behaves, it comes, and no failure is left.
    hub.serve(HUB_PATH, GOOD)
    manifest = home.bring(HUB)
    facts = read_weight_facts(home.workspace, HUB)
    assert facts is not None
    assert (facts.digest, facts.problem) == (manifest.digest, "")
    assert "failure.json" not in home.names(HUB)


def test_no_network(home: Home) -> None:
    told = home.refusal(checkpoint(data_file("a/toy.pth", GOOD, host="http://127.0.0.1:9")))
    assert "toy.pth could not be downloaded from 127.0.0.1:9: the connection is refused" in told


def test_what_is_no_file_of_this_model_is_removed(hub: UnrulyServer, home: Home) -> None:
    hub.serve(HUB_PATH, FOREIGN)
    told = home.refusal(checkpoint(data_file(HUB_PATH)))
    assert "model.safetensors from 127.0.0.1" in told
    assert f"holds no weights of {MODEL.name}" in told
    assert home.names(HUB) == {"failure.json"}
    assert not (home.workspace.downloads_dir / "lock.json").exists(), "what is of no use is not recorded"


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ({"content": b"{"}, "cannot be read"),
        ({"content": b"\xff\xfe"}, "cannot be read"),
        ({"status_always": 403}, "403 Forbidden"),
    ],
    ids=["broken", "no text", "forbidden"],
)
def test_a_configuration_that_is_there_must_be_right(hub: UnrulyServer, home: Home, manner: dict[str, Any], said: str) -> None:
    hub.serve(HUB_PATH, GOOD)
    hub.serve(CONFIG_PATH, **manner)
    told = home.refusal(HUB)
    assert "model.safetensors" in told
    assert "config.json" in told
    assert said in told
    hub.serve(CONFIG_PATH, CONFIG)
    assert home.bring(HUB).input != LIBRARY_INPUT


def test_the_next_place_is_tried(hub: UnrulyServer, home: Home) -> None:
    host = hub.url("mirror")
    hub.serve("mirror/toy.pth", OTHER)
    spec = checkpoint(data_file(HUB_PATH, GOOD), data_file("toy.pth", OTHER, host=host))
    manifest = home.bring(spec)
    assert (manifest.sha256, manifest.input) == (sha256(OTHER), LIBRARY_INPUT)
    [line] = home.lines
    assert line.startswith(f"warning: {MODEL.name}: model.safetensors could not be downloaded from 127.0.0.1")
    assert line.endswith("Trying another place.")
    assert home.names(spec) == {"toy.pth", "manifest.json"}


def test_of_several_places_each_tells_its_reason(hub: UnrulyServer, home: Home) -> None:
    host = hub.url("mirror")
    hub.serve("mirror/toy.pth", FOREIGN)
    hub.serve("mirror/lost/toy.pth", GOOD, status_always=403)
    spec = checkpoint(
        data_file(HUB_PATH, GOOD),
        data_file("toy.pth", FOREIGN, host=host),
        data_file("lost/toy.pth", host=host),
        data_file("x", host="nowhere"),
    )
    told = home.refusal(spec)
    for part in ("404 Not Found", "holds no weights", "403 Forbidden", "There is no host 'nowhere'"):
        assert told.count(part) == 1


def test_a_slow_host_is_left_for_another_and_asked_again(
    hub: UnrulyServer, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import toy_weights

    slow = replace(toy_weights.QUICK, slow_after_s=0.1, slow_bytes_per_s=10_000_000)
    monkeypatch.setattr(toy_weights, "QUICK", slow)
    hub.serve(HUB_PATH, GOOD, trickle=(200, 0.02))
    spec = checkpoint(data_file(HUB_PATH, GOOD), data_file("lost.pth", host=hub.url("mirror")))
    assert home.bring(spec).sha256 == sha256(GOOD)
    assert any("sends only" in line for line in home.lines)
    assert hub.ranges(HUB_PATH)[1] is not None, "it goes on where it was"


# Which bytes


def test_the_digits_in_a_name_are_held_to(server: UnrulyServer, home: Home) -> None:
    host = server.url("").rstrip("/")
    name = digits_name(GOOD)
    spec = checkpoint(data_file(name, host=host))
    server.serve(name, OTHER)
    told = home.refusal(spec)
    assert f"by its name the sha256 begins with {sha256(GOOD)[:8]}, found {sha256(OTHER)}" in told
    server.serve(name, GOOD)
    assert home.bring(spec).sha256 == sha256(GOOD)


def test_a_digest_that_contradicts_the_name_is_not_tried(server: UnrulyServer, home: Home) -> None:
    name = digits_name(GOOD)
    server.serve(name, OTHER)
    told = home.refusal(checkpoint(data_file(name, OTHER, host=server.url("").rstrip("/"))))
    assert f"{name} cannot be right" in told
    assert not server.requests


def test_a_first_download_is_recorded_and_later_ones_held_to_it(hub: UnrulyServer, home: Home) -> None:
    spec = checkpoint(data_file(HUB_PATH))
    hub.serve(HUB_PATH, GOOD)
    home.bring(spec)
    lock = home.workspace.downloads_dir / "lock.json"
    [entry] = json.loads(lock.read_text())["files"].values()
    assert (entry["sha256"], entry["size_bytes"]) == (sha256(GOOD), len(GOOD))
    # Another home that has the record, and no weights.
    other = Home(Workspace(home=home.workspace.home.with_name("other")))
    other.workspace.downloads_dir.mkdir(parents=True)
    shutil.copy(lock, other.workspace.downloads_dir / "lock.json")
    changed = GOOD[:-1] + b"x"
    hub.serve(HUB_PATH, changed)
    assert f"expected sha256 {sha256(GOOD)}, found {sha256(changed)}" in other.refusal(spec)
    hub.serve(HUB_PATH, GOOD)
    assert other.bring(spec).sha256 == sha256(GOOD)


# Addresses


def test_a_token_goes_to_the_hub_only(hub: UnrulyServer, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.serve(HUB_PATH, GOOD, status_always=503)
    hub.serve(CONFIG_PATH, CONFIG)
    hub.serve("models/toy.pth", GOOD)
    monkeypatch.setenv("VITREPRO_PYTORCH_URL", hub.url("models/"))
    spec = checkpoint(data_file(HUB_PATH), data_file("toy.pth", GOOD, host="pytorch"))
    manifest = home.bring(spec)
    assert manifest.source == hub.url("models/toy.pth")
    seen = {(one.path, one.authorization) for one in hub.requests}
    assert seen == {(HUB_PATH, "Bearer hf_secret"), (CONFIG_PATH, "Bearer hf_secret"), ("models/toy.pth", None)}
    assert "hf_secret" not in "".join(path.read_text() for path in home.folder(spec).glob("*.json"))


def test_a_mirror_gets_no_token(server: UnrulyServer, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("VITREPRO_HUGGINGFACE_URL", server.url("copy"))
    server.serve(f"copy/{HUB_PATH}", GOOD)
    home.bring(HUB)
    assert {seen.authorization for seen in server.requests} == {None}
    monkeypatch.setenv("VITREPRO_HUGGINGFACE_URL", "my-mirror")
    with pytest.raises(UsageError, match=r"\$VITREPRO_HUGGINGFACE_URL is 'my-mirror'"):
        Home(Workspace(home=home.workspace.home.with_name("other"))).bring(HUB)


# Without the network


def test_offline_says_what_is_missing_and_where_to_put_it(hub: UnrulyServer, home: Home) -> None:
    home.offline = True
    name = digits_name(GOOD)
    spec = checkpoint(data_file(HUB_PATH, GOOD), data_file(name, host="pytorch"), DataFile(host="fbaipublic", path="toy.pth"))
    told = home.refusal(spec)
    for part in (
        f"{hub.url(HUB_PATH)} ({len(GOOD):,} bytes, sha256 {sha256(GOOD)})",
        f"https://download.pytorch.org/models/{name} (sha256 beginning with {sha256(GOOD)[:8]})",
        "https://dl.fbaipublicfiles.com/toy.pth (no size or digest is published)",
        f"put it into DIR/{spec.key}/",
        "--from DIR",
    ):
        assert part in told
    assert not hub.requests
    home.source_dir = home.workspace.home.with_name("mine")
    (home.source_dir / spec.key).mkdir(parents=True)
    (home.source_dir / spec.key / "model.safetensors").write_bytes(GOOD)
    assert home.bring(spec).sha256 == sha256(GOOD)
    assert not hub.requests


def test_weights_that_nobody_lists(home: Home) -> None:
    spec = CheckpointSpec(name="mine", architecture="toy", family="vit")
    assert "no place is known" in home.refusal(spec, IN_HOUSE)
    assert REPOSITORY not in home.refusal(spec, IN_HOUSE)
