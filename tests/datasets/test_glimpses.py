"""A few test images of a pack, and a sentence where there are none."""

from pathlib import Path

import numpy as np
import pytest

from repro.datasets import prepare
from repro.datasets.glimpses import glimpse
from repro.spec import DatasetSpec
from repro.workspace import Workspace


def packed(workspace: Workspace, folder: Path, *, shape: tuple[int, ...] = (8, 8)) -> tuple[DatasetSpec, Path, np.ndarray]:
    """A data set of 40 test images in the home: its specification, its folder and its labels in the pack's order."""
    rng = np.random.default_rng(3)
    arrays = {}
    for part, num_images in (("train", 30), ("test", 40)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (num_images, *shape), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(num_images) % 3
    np.savez(folder / "own.npz", **arrays)
    spec = DatasetSpec(name="my own", path=folder / "own.npz")
    prepare(workspace, spec, log=lambda line: None)
    pack = workspace.dataset_dir("my_own")
    return spec, pack, np.load(pack / "y_test.npy")


@pytest.mark.parametrize(("shape", "seen"), [((8, 8), (8, 8, 1)), ((64, 64, 3), (64, 64, 3))])
def test_the_images_asked_for_are_those_of_the_pack(
    workspace: Workspace, tmp_path: Path, shape: tuple[int, ...], seen: tuple[int, int, int]
) -> None:
    spec, pack, labels = packed(workspace, tmp_path, shape=shape)
    # Neither the training part nor the source is needed.
    (pack / "x_train.npy").unlink()
    (tmp_path / "own.npz").unlink()
    found = glimpse(workspace, spec, places=[7, 39], labels=labels.astype(np.int32))
    assert found.problem == "" and found.images.keys() == {7, 39}
    for place, image in found.images.items():
        assert image.shape == seen and image.dtype == np.uint8
        assert np.array_equal(image, np.load(pack / "x_test.npy")[place])


def test_without_a_pack_there_is_a_reason(workspace: Workspace, tmp_path: Path) -> None:
    found = glimpse(
        workspace, DatasetSpec(name="gone", path=tmp_path / "x.npz"), places=[0], labels=np.zeros(3, dtype=np.int32)
    )
    assert found.images == {} and found.problem == "the data set is not in this home"


@pytest.mark.parametrize("spoil", ["missing", "cut", "labels", "manifest"])
def test_a_damaged_pack_shows_nothing(workspace: Workspace, tmp_path: Path, spoil: str) -> None:
    spec, pack, labels = packed(workspace, tmp_path)
    images = pack / "x_test.npy"
    if spoil == "missing":
        images.unlink()
    elif spoil == "cut":
        images.write_bytes(images.read_bytes()[:-10])
    elif spoil == "manifest":
        (pack / "manifest.json").write_text("{")
    else:
        content = bytearray((pack / "y_test.npy").read_bytes())
        content[-8] ^= 1
        (pack / "y_test.npy").write_bytes(content)
    found = glimpse(workspace, spec, places=[0], labels=labels)
    assert found.images == {} and "incomplete or damaged" in found.problem


def test_another_data_set_of_the_same_name_shows_nothing(workspace: Workspace, tmp_path: Path) -> None:
    spec, _, labels = packed(workspace, tmp_path)
    for other in (labels[::-1], labels[:-1], (labels + 1) % 3):
        assert "not the one" in glimpse(workspace, spec, places=[0], labels=other).problem
