"""CIFAR-10 from the official binary files: `data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin`.

A record is one label byte, then 3,072 pixel bytes in planes R, G, B (Krizhevsky 2009). Every file is held to its published md5
before it is used. Must not know where a pack lies. Read `read_cifar10` first.

Shape letters: N images, H height, W width, C channels.
"""

import hashlib
import tarfile
from pathlib import Path

import numpy as np

from repro.datasets.arrays import ImageArrays, Part
from repro.errors import DataError

VERSION = "official binary files"
FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
SIDE = 32
TRAIN_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
}
"""md5 of the files inside the official archive, as published by its mirrors and by torchvision's users."""
TEST_MD5 = {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"}
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""In the order of `batches.meta.txt`."""


def read_cifar10(source_dir: Path | None) -> ImageArrays:
    """All 60,000 images from a folder that holds the official archive, its unpacked folder, or the six files themselves.

    Raises DataError where they are not there or are not the official bytes.
    """
    if source_dir is None:
        raise DataError(
            "The data set cifar10 is not in the home, and this version of vitrepro does not download it.",
            remedy=f"Get {ARCHIVE} from www.cs.toronto.edu/~kriz/cifar.html and name its folder with --from DIR; or run the "
            "miniature, which needs no data: --profile demo.",
        )
    return ImageArrays(train=_read_part(source_dir, TRAIN_MD5), test=_read_part(source_dir, TEST_MD5), class_names=CLASS_NAMES)


def _read_part(source_dir: Path, md5_by_name: dict[str, str]) -> Part:
    parts = [decode_records(_read_official(source_dir, name, md5)) for name, md5 in md5_by_name.items()]
    return Part(images=np.concatenate([part.images for part in parts]), labels=np.concatenate([part.labels for part in parts]))


def decode_records(raw: bytes) -> Part:
    """The records of one file: images uint8 (N, H, W, C), labels int64 (N,). Raises DataError for a broken record."""
    length = 1 + 3 * SIDE * SIDE
    if not raw or len(raw) % length:
        raise DataError(
            f"A CIFAR-10 file holds {len(raw)} bytes, which is no multiple of a record's {length}.",
            remedy=f"Get {ARCHIVE} again; the file was cut off.",
        )
    table = np.frombuffer(raw, np.uint8).reshape(-1, length)
    images_NHWC = np.ascontiguousarray(table[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return Part(images=images_NHWC, labels=table[:, 0].astype(np.int64))


def _read_official(source_dir: Path, name: str, md5: str) -> bytes:
    raw = _find(source_dir, name)
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(
            f"{name} in {source_dir} is not the official file: its md5 is {found}, it should be {md5}.",
            remedy=f"Get {ARCHIVE} again from www.cs.toronto.edu/~kriz/cifar.html.",
        )
    return raw


def _find(source_dir: Path, name: str) -> bytes:
    for path in (source_dir / name, source_dir / FOLDER / name):
        if path.is_file():
            return path.read_bytes()
    archive = source_dir / ARCHIVE
    if archive.is_file():
        try:
            # Members are read, never extracted, so their paths cannot lead anywhere.
            with tarfile.open(archive) as tar:
                member = tar.extractfile(f"{FOLDER}/{name}")
                if member is not None:
                    return member.read()
        except (tarfile.TarError, KeyError, EOFError) as error:
            raise DataError(f"{archive} cannot be read: {error}.", remedy="Get the archive again.") from error
    raise DataError(
        f"{name} is not in {source_dir}.",
        remedy=f"Give with --from a folder that holds {ARCHIVE}, {FOLDER}/, or the six .bin files.",
    )
