"""Files of weights are read whatever they are called, and never run."""

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from repro.errors import CorruptFile
from repro.models.weights_file import read_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


class Calls:
    """Pickles as a call: what unpickles it without care runs that call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def assert_state(path: Path) -> None:
    found = read_weights(path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def refused(path: Path) -> str:
    with pytest.raises(CorruptFile) as caught:
        read_weights(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": torch.ones(1)}},
        {"model_state_dict": STATE},
        {"model": {"state_dict": STATE}},
        {"model": STATE, "args": argparse.Namespace(lr=0.1)},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()}},
    ],
    ids=["bare", "deit", "state_dict", "model_state_dict", "nested", "namespace", "module", "compiled"],
)
def test_the_usual_containers_are_opened(tmp_path: Path, content: object, is_zip: bool) -> None:
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    assert_state(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "no-ending"])
def test_the_content_counts_not_the_name(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    assert_state(tmp_path / name)
    torch.save(STATE, tmp_path / name)
    assert_state(tmp_path / name)


def test_a_length_that_looks_like_another_format_is_still_a_length(tmp_path: Path) -> None:
    beginnings = set()
    for number in range(300):
        save_file(STATE, tmp_path / "w", metadata={"filler": "x" * number})
        beginnings.add((tmp_path / "w").read_bytes()[:1])
        assert_state(tmp_path / "w")
    assert beginnings >= {b"\x80", b" "}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("function", [os.mkdir, eval], ids=["mkdir", "eval"])
def test_code_is_never_run(tmp_path: Path, function: Callable[..., object], is_zip: bool) -> None:
    trace = tmp_path / "trace"
    argument = str(trace) if function is os.mkdir else f"__import__('os').mkdir({str(trace)!r})"
    for content in (Calls(function, argument), {"model": STATE, "args": Calls(function, argument)}):
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
        assert "holds code" in refused(tmp_path / "w.pth")
        assert "which the kit does not run" in refused(tmp_path / "w.pth")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"w": Calls(function, argument)}))
    refused(tmp_path / "plain.bin")
    assert not trace.exists()


def test_the_trap_would_have_sprung(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Calls(os.mkdir, str(tmp_path / "trace"))))
    assert (tmp_path / "trace").exists()


def test_a_whole_module_is_code_too(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    assert "holds code (torch.nn.modules.linear.Linear)" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path, state = tmp_path / "w", {f"weight{number}": torch.randn(100, 10) for number in range(20)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut off" in refused(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>Rate limit exceeded</body></html>", "is a web page, not weights"),
        (b"\n  <html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "only points to weights"),
        (b"Entry not found", "cannot be read as safetensors"),
        (bytes(range(256)) * 8, "cannot be read as safetensors"),
        (b"PK\x03\x04" + bytes(100), "cannot be read as tensors of torch"),
        (b"\x80\x02garbage", "cannot be read as tensors of torch"),
    ],
)
def test_what_is_no_file_of_weights_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    assert message in refused(tmp_path / "w.safetensors")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "nothing.pth")
    assert "Is a directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "args": {}}, "holds no tensors by name; it holds args, epoch"),
        ([torch.ones(2)], "holds no tensors by name; it holds a list"),
        ({}, "holds no tensors by name; it holds nothing"),
        ({"w": torch.tensor([1.0, float("nan")])}, "holds numbers that are not finite in w"),
        ({"w": torch.tensor([1.0, float("inf")]).half()}, "holds numbers that are not finite in w"),
        ({"w": torch.ones(2).to_sparse()}, "holds something other than plain numbers in w"),
        ({"w": torch.ones(1).expand(10**12)}, "holds fewer numbers than it promises in w"),
    ],
    ids=str,
)
def test_what_cannot_be_weights_is_told(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert message in refused(tmp_path / "w.pth")


def test_a_container_that_holds_itself_ends(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "w.pth")
    assert "holds no tensors" in refused(tmp_path / "w.pth")


def test_non_finite_numbers_in_safetensors_are_told(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([float("nan")])}, tmp_path / "w.safetensors")
    assert "not finite in w" in refused(tmp_path / "w.safetensors")
