"""Stage `fetch` brings weights of real, small architectures from a server on this machine, and sees what they are.

Which places are looked at, and what each answer means, is tested in `tests/weights/`.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import spine
import torch
from safetensors.torch import save_file
from unruly_server import UnrulyServer

from repro.catalog import load_catalog
from repro.context import Context
from repro.download import Patience
from repro.errors import DiskFull, ProfileError
from repro.models.build import build_model
from repro.models.libraries import import_timm, import_torchvision
from repro.records import CellStatus
from repro.stages.fetch import FetchSummary, fetch

VIT, CNN = "timm/test_vit.r160_in1k", "timm/test_resnet.r160_in1k"
FAMILIES = {VIT: "vit", CNN: "cnn"}
REVISION = "a" * 40


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits, for the servers here answer at once or not at all; no tokens, no mirrors."""
    patience = Patience(connect_s=1, read_s=2, attempts=3, first_wait_s=0.01, longest_wait_s=0.05)
    monkeypatch.setattr("repro.fetching.surroundings.Patience.from_environment", lambda: patience)
    for name in ("HF_TOKEN", "VITREPRO_HUGGINGFACE_URL", "VITREPRO_PYTORCH_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnrulyServer]:
    with UnrulyServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url("").rstrip("/"))
        yield running


@cache
def tensors(name: str, seed: int = 1) -> dict[str, torch.Tensor]:
    """Weights as their authors would publish them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = import_timm().create_model(name.removeprefix("timm/"), pretrained=False)
    return dict(model.state_dict())


def as_safetensors(folder: Path, name: str, seed: int = 1) -> bytes:
    path = folder / "made.safetensors"
    save_file(tensors(name, seed), path)
    return path.read_bytes()


def as_pickle(folder: Path, content: object) -> bytes:
    path = folder / "made.pth"
    torch.save(content, path)
    return path.read_bytes()


def config_of(name: str, mean: float = 0.25) -> bytes:
    """What timm writes beside weights."""
    cfg = {"mean": [mean] * 3, "std": [0.5] * 3, "input_size": [3, 160, 160], "interpolation": "bicubic", "num_classes": 1000}
    architecture = name.removeprefix("timm/").partition(".")[0]
    return json.dumps({"architecture": architecture, "num_classes": 1000, "pretrained_cfg": cfg}).encode()


def hub_path(name: str, file: str = "model.safetensors") -> str:
    return f"{name}/resolve/{REVISION}/{file}"


def checkpoint_text(name: str, *paths: str, content: bytes | None = None) -> str:
    text = f'[[checkpoint]]\nname = "{name}"\nfamily = "{FAMILIES[name]}"\n'
    for path in paths:
        text += f'[[checkpoint.file]]\nhost = "huggingface"\npath = "{path}"\n'
        if content is not None:
            text += f'size_bytes = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    return text


def write_profile(folder: Path, entries: str, models: list[str], init: str = "pretrained") -> Path:
    text = f"""
name = "pretrained"
seeds = 1
[[dataset]]
name = "dots"
path = "dots.npz"
{entries}
[recipe.tuning]
base = "micro-scratch"
image_size = 160
[[cells]]
dataset = ["dots"]
size = [12]
model = {json.dumps(models)}
init = ["{init}"]
recipe = "tuning"
"""
    return spine.write_study(folder, text)


def both(folder: Path) -> Path:
    return write_profile(folder, checkpoint_text(VIT, hub_path(VIT)) + checkpoint_text(CNN, hub_path(CNN)), [VIT, CNN])


def fetched(profile: Path, home: Path, **options: object) -> tuple[FetchSummary, Context, list[str]]:
    context, lines = spine.make_context(profile, home)
    for name, value in options.items():
        setattr(context, name, value)
    return fetch(context), context, lines


def serve_both(hub: UnrulyServer, folder: Path) -> None:
    for name in (VIT, CNN):
        hub.serve(hub_path(name), as_safetensors(folder, name))
        hub.serve(hub_path(name, "config.json"), config_of(name))


def told(summary: FetchSummary, name: str = VIT) -> str:
    problem = summary.problems[name]
    return f"{problem.message}\n{problem.remedy}"


def states(context: Context) -> dict[str, tuple[CellStatus, str]]:
    return {entry.cell.model.name: (entry.status, entry.reason) for entry in context.plan().cells}


def manifest_of(home: Path, name: str) -> dict[str, object]:
    document: dict[str, object] = json.loads((home / "weights" / name_on_disk(name) / "manifest.json").read_text())
    return document


def name_on_disk(name: str) -> str:
    return name.replace("/", "_").replace(".", "_")


def test_from_an_empty_home_and_then_never_again(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home = both(tmp_path), tmp_path / "home"
    serve_both(hub, tmp_path)
    summary, context, lines = fetched(profile, home)
    assert not summary.problems
    assert [row.name for row in summary.fetched] == ["dots"]
    assert {row.name for row in summary.weights} == {VIT, CNN}
    for row in summary.weights:
        assert row.source == hub.url(hub_path(row.name))
        assert row.sha256 == hashlib.sha256(as_safetensors(tmp_path, row.name)).hexdigest()
        assert row.num_parameters == sum(p.numel() for p in import_timm().create_model(row.name[5:]).parameters())
    assert manifest_of(home, VIT)["input"]["mean"] == [0.25] * 3  # type: ignore[index]
    assert {status for status, _ in states(context).values()} == {CellStatus.PENDING}
    assert not [line for line in lines if line.startswith("warning")]
    num_requests = len(hub.requests)
    assert fetched(profile, home)[0] == summary
    assert len(hub.requests) == num_requests


def test_what_is_there_does_not_wait_for_torch(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home = both(tmp_path), tmp_path / "home"
    serve_both(hub, tmp_path)
    fetched(profile, home)
    code = "import sys; from repro.cli import main; code = main(); print(*sys.modules); sys.exit(code)"
    arguments = ["fetch", "--profile", profile, "--home", home, "--device", "cpu", "--offline"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=spine.environment_of(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not {"torch", "timm", "torchvision"} & set(done.stdout.split())


def test_one_that_cannot_be_had_costs_its_own_cells_only(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home = both(tmp_path), tmp_path / "home"
    serve_both(hub, tmp_path)
    hub.serve(hub_path(VIT), status_always=403)
    summary, context, _ = fetched(profile, home)
    assert [row.name for row in summary.weights] == [CNN]
    assert "403 Forbidden" in told(summary)
    assert "HF_TOKEN" in told(summary)
    status, reason = states(context)[VIT]
    assert status is CellStatus.BLOCKED
    assert "403 Forbidden" in reason
    assert states(context)[CNN][0] is CellStatus.PENDING
    num_requests = len(hub.requests)
    serve_both(hub, tmp_path)
    summary, context, _ = fetched(profile, home)
    assert not summary.problems
    assert len(summary.weights) == 2
    assert {seen.path for seen in hub.requests[num_requests:]} == {hub_path(VIT), hub_path(VIT, "config.json")}
    assert states(context)[VIT][0] is CellStatus.PENDING


class Malicious:
    """A pickle that would run a command when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["malicious", "malicious in torch's format", "other architecture", "truncated", "nothing"])
def test_a_file_that_is_not_what_it_should_be_is_left_for_the_next_place(hub: UnrulyServer, tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "executed"
    good = as_safetensors(tmp_path, VIT)
    content = {
        "malicious": lambda: pickle.dumps(Malicious(mark)),
        "malicious in torch's format": lambda: as_pickle(tmp_path, {"model": Malicious(mark)}),
        "other architecture": lambda: as_pickle(tmp_path, tensors(CNN)),
        "truncated": lambda: as_pickle(tmp_path, tensors(VIT))[:-5000],
        "nothing": lambda: b"",
    }[kind]()
    hub.serve("other/files/vit.pth", content, states_length=False)
    hub.serve(hub_path(VIT), good)
    alone = write_profile(tmp_path, checkpoint_text(VIT, "other/files/vit.pth"), [VIT])
    summary, _, _ = fetched(alone, tmp_path / "home")
    assert not summary.weights
    for part in ("vit.pth", "127.0.0.1", "--from DIR"):
        assert part in told(summary)
    assert not mark.exists()
    assert not list((tmp_path / "home" / "weights").rglob("vit.pth*"))
    with_another = write_profile(tmp_path, checkpoint_text(VIT, "other/files/vit.pth", hub_path(VIT)), [VIT])
    summary, _, lines = fetched(with_another, tmp_path / "home")
    assert [row.source for row in summary.weights] == [hub.url(hub_path(VIT))]
    assert [line for line in lines if line.startswith("warning") and "vit.pth" in line]
    assert not mark.exists()


def test_one_content_has_one_digest_in_every_file_format(hub: UnrulyServer, tmp_path: Path) -> None:
    hub.serve("other/files/vit.pth", as_pickle(tmp_path, {"model": tensors(VIT)}))
    hub.serve(hub_path(VIT), as_safetensors(tmp_path, VIT))
    digests = set()
    for number, path in enumerate(["other/files/vit.pth", hub_path(VIT)]):
        summary, context, _ = fetched(write_profile(tmp_path, checkpoint_text(VIT, path), [VIT]), tmp_path / f"home{number}")
        assert not summary.problems, told(summary)
        [entry] = context.plan().cells
        digests.add(entry.fingerprint)
    assert len(digests) == 1, "the cells are the same"


def test_a_file_of_the_users_own_that_changes_makes_other_cells(tmp_path: Path) -> None:
    entries = f'[[model]]\nname = "{VIT}"\nfamily = "vit"\n'
    profile = write_profile(tmp_path, entries, [VIT], init="file:mine.safetensors")
    mine, home = tmp_path / "mine.safetensors", tmp_path / "home"
    summary, context, _ = fetched(profile, home)
    assert f"{mine} cannot be used as weights" in told(summary)
    assert states(context)[VIT][0] is CellStatus.BLOCKED
    mine.write_bytes(as_safetensors(tmp_path, VIT))
    summary, context, _ = fetched(profile, home)
    assert [row.source for row in summary.weights] == [str(mine)]
    [before] = context.plan().cells
    mine.write_bytes(as_safetensors(tmp_path, VIT, seed=2))
    os.utime(mine, ns=(1, 1))
    context.forget_facts()
    assert states(context)[VIT][0] is CellStatus.UNFETCHED
    summary, context, _ = fetched(profile, home)
    [after] = context.plan().cells
    assert before.fingerprint != after.fingerprint
    mine.unlink()
    context.forget_facts()
    status, reason = states(context)[VIT]
    assert status is CellStatus.BLOCKED
    assert f"{mine} is gone" in reason


def test_the_library_is_asked_for_what_nobody_lists(hub: UnrulyServer, tmp_path: Path) -> None:
    from repro.models.published import library_checkpoint

    entries = f'[[model]]\nname = "{VIT}"\nfamily = "vit"\n'
    profile = write_profile(tmp_path, entries, [VIT])
    library = library_checkpoint(VIT)
    content = as_safetensors(tmp_path, VIT)
    for file in library.files:
        hub.serve(file.path, content)
    summary, _, _ = fetched(profile, tmp_path / "home")
    assert not summary.problems, told(summary)
    [row] = summary.weights
    assert row.source == hub.url(library.files[0].path)
    assert manifest_of(tmp_path / "home", VIT)["input"] == library.input.model_dump(mode="json")


def test_a_tag_that_the_library_does_not_know_ends_the_command(hub: UnrulyServer, tmp_path: Path) -> None:
    name = "timm/test_vit.no_such_tag"
    profile = write_profile(tmp_path, f'[[model]]\nname = "{name}"\nfamily = "vit"\n', [name])
    with pytest.raises(ProfileError, match="no_such_tag"):
        fetched(profile, tmp_path / "home")
    assert not hub.requests


def test_a_configuration_of_another_model_is_named(hub: UnrulyServer, tmp_path: Path) -> None:
    serve_both(hub, tmp_path)
    hub.serve(hub_path(VIT, "config.json"), config_of(CNN))
    summary, _, _ = fetched(both(tmp_path), tmp_path / "home")
    assert [row.name for row in summary.weights] == [CNN]
    for part in ("model.safetensors from 127.0.0.1", "config.json beside it is wrong", "that of test_resnet"):
        assert part in told(summary)


def test_a_file_for_an_architecture_without_a_tag(tmp_path: Path) -> None:
    bare = "timm/test_vit"
    profile = write_profile(tmp_path, f'[[model]]\nname = "{bare}"\nfamily = "vit"\n', [bare], init="file:mine.safetensors")
    (tmp_path / "mine.safetensors").write_bytes(as_safetensors(tmp_path, VIT))
    summary, context, _ = fetched(profile, tmp_path / "home")
    assert not summary.problems
    [(checkpoint, _)] = context.checkpoints().values()
    facts = context.weight_facts(checkpoint)
    assert facts is not None
    assert facts.input is not None
    assert facts.input.source.startswith("timm ")


def test_a_file_for_an_architecture_of_the_kits_own(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    spec = load_catalog().models["vit_cifar"]
    model = build_model(spec, image_size=32, num_channels=3, num_classes=10, generator=generator)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    summary, context, _ = fetched(write_profile(tmp_path, "", ["vit_cifar"], init="file:mine.safetensors"), tmp_path / "home")
    assert not summary.problems
    [(checkpoint, _)] = context.checkpoints().values()
    facts = context.weight_facts(checkpoint)
    assert facts is not None
    assert (facts.input, facts.path) == (None, tmp_path / "mine.safetensors")


TORCHVISION = "torchvision/resnet18.IMAGENET1K_V1"


def test_torchvisions_weights_come_from_its_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = import_torchvision().models.resnet18(weights=None)
    content = as_pickle(tmp_path, model.state_dict())
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / name).write_bytes(content)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    text = f'[[checkpoint]]\nname = "{TORCHVISION}"\nfamily = "cnn"\n[[checkpoint.file]]\nhost = "pytorch"\npath = "{name}"\n'
    summary, context, _ = fetched(write_profile(tmp_path, text, [TORCHVISION]), tmp_path / "home", offline=True)
    assert not summary.problems
    assert [(row.source, row.num_parameters) for row in summary.weights] == [(str(cache / name), 11_689_512)]
    [(checkpoint, _)] = context.checkpoints().values()
    facts = context.weight_facts(checkpoint)
    assert facts is not None
    assert facts.input is not None
    assert facts.input.mean == (0.485, 0.456, 0.406)


def test_force_inspects_anew_what_is_there(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home = both(tmp_path), tmp_path / "home"
    serve_both(hub, tmp_path)
    before, _, _ = fetched(profile, home)
    file = home / "weights" / name_on_disk(VIT) / "model.safetensors"
    state = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    num_requests = len(hub.requests)
    after, _, lines = fetched(profile, home, force=True)
    assert after == before
    assert [line for line in lines if str(file) in line and "fetched anew" in line]
    assert {seen.path for seen in hub.requests[num_requests:]} == {hub_path(VIT), hub_path(VIT, "config.json")}


def test_only_the_selected_cells_weights_are_fetched(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home = both(tmp_path), tmp_path / "home"
    serve_both(hub, tmp_path)
    summary, _, _ = fetched(profile, home, only="*test_resnet*")
    assert [row.name for row in summary.weights] == [CNN]
    assert not [seen for seen in hub.requests if "test_vit" in seen.path]


def test_offline_from_the_users_folder(hub: UnrulyServer, tmp_path: Path) -> None:
    profile, home, mine = both(tmp_path), tmp_path / "home", tmp_path / "mine"
    summary, _, _ = fetched(profile, home, offline=True)
    assert set(summary.problems) == {VIT, CNN}
    assert hub.url(hub_path(VIT)) in told(summary)
    for name in (VIT, CNN):
        (mine / name_on_disk(name)).mkdir(parents=True)
        (mine / name_on_disk(name) / "model.safetensors").write_bytes(as_safetensors(tmp_path, name))
    summary, _, _ = fetched(profile, home, offline=True, source_dir=mine)
    assert len(summary.weights) == 2
    assert not hub.requests
    shutil.rmtree(mine)
    assert fetched(profile, home, offline=True)[0].weights == summary.weights


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: UnrulyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = as_safetensors(tmp_path, VIT)
    hub.serve(hub_path(VIT), content)
    profile = write_profile(tmp_path, checkpoint_text(VIT, hub_path(VIT), content=content), [VIT])
    monkeypatch.setattr("repro.fetching.surroundings.free_disk_bytes", lambda workspace: len(content) - 1)
    with pytest.raises(DiskFull, match="MB must be downloaded"):
        fetched(profile, tmp_path / "home")
    assert not hub.requests


@pytest.mark.slow
def test_an_interrupted_fetch_goes_on_where_it_was(hub: UnrulyServer, tmp_path: Path) -> None:
    content = as_safetensors(tmp_path, VIT)
    profile = write_profile(tmp_path, checkpoint_text(VIT, hub_path(VIT), content=content), [VIT])
    hub.serve(hub_path(VIT), content, hang_after=len(content) // 2)
    options = ["--profile", profile, "--home", tmp_path / "home", "--device", "cpu"]
    process = subprocess.Popen(
        spine.command("fetch", *options), env=spine.environment_of(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size >= len(content) // 2 for path in (tmp_path / "home").rglob("*.safetensors.part")):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
    process.terminate()
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 143, complaint
    assert "Traceback" not in complaint
    hub.serve(hub_path(VIT), content)
    assert spine.vitrepro("fetch", *options).returncode == 0
    assert hub.ranges(hub_path(VIT)) == [None, f"bytes={len(content) // 2}-"]
