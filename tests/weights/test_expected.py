"""What a file of weights is held to."""

from pathlib import Path

import pytest
from toy_weights import GOOD, OTHER, data_file, digits_name, sha256

from repro.download import KnownBytes
from repro.download.locks import DownloadLock
from repro.weights.expected import Unfit, digits_in, known_bytes, verified
from repro.workspace import Workspace


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("deit_tiny_patch16_224-a1311bcf.pth", "a1311bcf"),
        ("a-01234567.pt", "01234567"),
        ("a-01234567.bin", "01234567"),
        ("a-20211314.safetensors", "20211314"),
        ("a-20210528-bd6371c8.pth", "bd6371c8"),
        ("a-20240131.pth", None),
        ("a-f37072fd.npz", None),
        ("a-F37072FD.pth", None),
        ("a-f37072fd0.pth", None),
        ("f37072fd.pth", None),
        ("model.safetensors", None),
    ],
)
def test_digits_in_a_name(name: str, digits: str | None) -> None:
    assert digits_in(name) == digits


def test_a_first_download_counts_where_nothing_is_published(workspace: Workspace) -> None:
    lock = DownloadLock(workspace)
    unpinned, pinned, named = data_file("a/b.pth"), data_file("a/c.pth", GOOD), data_file(digits_name(GOOD))
    for file in (unpinned, pinned, named):
        lock.record_file(file, sha256=sha256(OTHER), md5="0" * 32, size_bytes=7, url="u")
    assert known_bytes(unpinned, lock) == KnownBytes(size_bytes=7, sha256=sha256(OTHER), md5="0" * 32)
    assert known_bytes(pinned, lock) == KnownBytes(size_bytes=len(GOOD), sha256=sha256(GOOD), md5=None)
    assert known_bytes(named, lock).sha256_prefix == sha256(GOOD)[:8], "the digits count besides"


def test_a_file_is_read_and_held_to_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(GOOD)
    nothing = KnownBytes(size_bytes=None, sha256=None, md5=None)
    assert verified(path, nothing).sha256 == sha256(GOOD)
    assert verified(path, KnownBytes(size_bytes=len(GOOD), sha256=sha256(GOOD), md5=None)).size_bytes == len(GOOD)
    for known, said in (
        (KnownBytes(size_bytes=3, sha256=None, md5=None), "instead of 3"),
        (KnownBytes(size_bytes=None, sha256=sha256(OTHER), md5=None), f"expected sha256 {sha256(OTHER)}"),
        (KnownBytes(size_bytes=None, sha256=None, md5="0" * 32), "expected md5 0000"),
        (KnownBytes(size_bytes=None, sha256=None, md5=None, sha256_prefix="00000000"), "begins with 00000000"),
    ):
        with pytest.raises(Unfit, match=said):
            verified(path, known)
    with pytest.raises(Unfit, match="No such file"):
        verified(tmp_path / "absent", nothing)
