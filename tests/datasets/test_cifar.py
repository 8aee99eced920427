"""The official binary layout is decoded rightly and nothing but the official bytes is taken."""

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest

from repro.datasets import cifar
from repro.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10"


def records(num_images: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (num_images, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, num_images)
    rows = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images, strict=True)]
    return b"".join(rows), images, labels


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Made files, with their digests in place of the published ones."""
    files = {name: records(4, seed)[0] for seed, name in enumerate([*cifar.TRAIN_MD5, *cifar.TEST_MD5])}
    digests = {name: hashlib.md5(raw).hexdigest() for name, raw in files.items()}
    monkeypatch.setattr(cifar, "TRAIN_MD5", {name: digests[name] for name in cifar.TRAIN_MD5})
    monkeypatch.setattr(cifar, "TEST_MD5", {name: digests[name] for name in cifar.TEST_MD5})
    return files


def lay_out(folder: Path, files: dict[str, bytes], layout: str) -> None:
    if layout == "archive":
        with tarfile.open(folder / cifar.ARCHIVE, "w:gz") as tar:
            for name, raw in files.items():
                member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
                member.size = len(raw)
                tar.addfile(member, io.BytesIO(raw))
        return
    target = folder / cifar.FOLDER if layout == "folder" else folder
    target.mkdir(exist_ok=True)
    for name, raw in files.items():
        (target / name).write_bytes(raw)


@pytest.mark.parametrize("layout", ["archive", "folder", "files"])
def test_every_layout_gives_the_same_images(tmp_path: Path, official: dict[str, bytes], layout: str) -> None:
    lay_out(tmp_path, official, layout)
    arrays = cifar.read_cifar10(tmp_path)
    assert arrays.train.images.shape == (20, 32, 32, 3)
    assert arrays.test.images.shape == (4, 32, 32, 3)
    _, images, labels = records(4, 2)
    assert np.array_equal(arrays.train.images[8:12], images)
    assert np.array_equal(arrays.train.labels[8:12], labels)


def test_other_bytes_are_refused(tmp_path: Path, official: dict[str, bytes]) -> None:
    lay_out(tmp_path, official | {"data_batch_3.bin": records(4, 99)[0]}, "folder")
    with pytest.raises(DataError, match=r"data_batch_3\.bin .* is not the official file"):
        cifar.read_cifar10(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, official: dict[str, bytes]) -> None:
    lay_out(tmp_path, {name: raw for name, raw in official.items() if name != "test_batch.bin"}, "folder")
    with pytest.raises(DataError, match=r"test_batch\.bin is not in"):
        cifar.read_cifar10(tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path, official: dict[str, bytes]) -> None:
    lay_out(tmp_path, official, "archive")
    archive = tmp_path / cifar.ARCHIVE
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        cifar.read_cifar10(tmp_path)


def test_a_cut_record_is_refused() -> None:
    with pytest.raises(DataError, match="5000 bytes, which is no multiple of a record's 3073"):
        cifar.decode_records(bytes(5000))


def test_without_files_the_remedy_names_from_and_demo() -> None:
    with pytest.raises(DataError) as caught:
        cifar.read_cifar10(None)
    assert "--from DIR" in caught.value.remedy
    assert "--profile demo" in caught.value.remedy


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official training batches do not lie beside this checkout")
def test_the_official_training_batch_is_accepted(tmp_path: Path) -> None:
    name = "data_batch_1.bin"
    raw = lzma.decompress((SHARED / f"{name}.xz").read_bytes())
    (tmp_path / name).write_bytes(raw)
    part = cifar._read_part(tmp_path, {name: cifar.TRAIN_MD5[name]})
    assert part.images.shape == (10_000, 32, 32, 3)
    # Channel means of all five batches are 0.491, 0.482, 0.447; one batch lies close by.
    assert part.images.mean(axis=(0, 1, 2)) / 255 == pytest.approx([0.491, 0.482, 0.447], abs=0.01)
