"""A state comes back as it was; anything that cannot be trusted is refused, and code is never run."""

import pickle
from pathlib import Path

import pytest
import torch

from repro.errors import CorruptFile
from repro.training.checkpoint import load_state, save_state


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "rows": ["a"], "model": {"w": torch.arange(4.0)}, "best": None}
    save_state(tmp_path / "last.pt", state, fingerprint="f")
    loaded = load_state(tmp_path / "last.pt", fingerprint="f")
    assert loaded is not None
    assert loaded["step"] == 3
    assert torch.equal(loaded["model"]["w"], torch.arange(4.0))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "last.pt", fingerprint="f") is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"step": 3, "model": {"w": torch.arange(4000.0)}}, fingerprint="f")
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "truncated": whole[:middle],
            "empty": b"",
            "text": b"not a state",
            "flipped": b"\x00" * 200 + whole[200:],
        }[damage]
    )
    with pytest.raises(CorruptFile, match=r"last\.pt cannot be read"):
        load_state(path, fingerprint="f")


def test_another_cells_state_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path / "last.pt", {"step": 3}, fingerprint="f")
    with pytest.raises(CorruptFile, match="belongs to another cell"):
        load_state(tmp_path / "last.pt", fingerprint="g")


class _Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(self.target),))  # type: ignore[attr-defined]


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    malice = _Malice()
    malice.target = str(tmp_path / "owned")  # type: ignore[attr-defined]
    torch.save({"fingerprint": "f", "step": malice}, tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(malice, protocol=2))
    for name in ("last.pt", "plain.pt"):
        with pytest.raises(CorruptFile):
            load_state(tmp_path / name, fingerprint="f")
    assert not (tmp_path / "owned").exists()
