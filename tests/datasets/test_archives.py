"""Archives are read, never extracted; one that could do harm is refused before it costs anything."""

import gzip
import io
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from data_files import write_tar_gz, write_tree, write_zip

from repro.datasets.archives import Limits, read_members
from repro.errors import DataError

MEMBERS = {"top/a.bin": b"a" * 700, "top/deep/b.bin": b"b" * 512, "top/c.txt": b"", "other/a.bin": b"x"}
WRITERS = {"tar": write_tar_gz, "zip": write_zip}


def read(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    chosen = {} if limits is None else {"limits": limits}
    return read_members(path, top="top", wanted=lambda name: name.endswith(".bin"), **chosen)


def tar_with(path: Path, *entries: tarfile.TarInfo, tar_format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=tar_format) as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(bytes(entry.size)) if entry.isreg() else None)
    return path


def entry(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


@pytest.mark.parametrize("kind", ["tar", "zip", "folder", "folder above"])
def test_wanted_members_are_read_by_their_names_below_the_top(tmp_path: Path, kind: str) -> None:
    if kind.startswith("folder"):
        path = write_tree(tmp_path / "unpacked", MEMBERS)
        path = path if kind == "folder above" else path / "top"
    else:
        path = tmp_path / "archive"
        WRITERS[kind](path, MEMBERS)
    assert read(path) == {"a.bin": b"a" * 700, "deep/b.bin": b"b" * 512}
    assert list(read(path)) == ["a.bin", "deep/b.bin"]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read_with_long_names_and_leading_dots(tmp_path: Path, tar_format: int) -> None:
    long = "top/" + "/".join(["folder" * 10] * 3) + "/file.bin"
    path = tar_with(tmp_path / "a.tgz", entry("./top/a.bin", size=700), entry(long, size=9), tar_format=tar_format)
    assert {name: len(raw) for name, raw in read(path).items()} == {"a.bin": 700, long.removeprefix("top/"): 9}


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("../top/a.bin", "leads out of its folder"),
        ("top/../../a.bin", "leads out of its folder"),
        ("C:/a.bin", "absolute or foreign"),
        ("top\\..\\a.bin", "absolute or foreign"),
    ],
)
def test_a_path_that_leads_elsewhere_refuses_the_whole(tmp_path: Path, kind: str, name: str, why: str) -> None:
    path = tmp_path / "archive"
    WRITERS[kind](path, {"top/a.bin": b"fine"})
    if kind == "tar":
        tar_with(path, entry("top/a.bin", size=4), entry(name))
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"")
    with pytest.raises(DataError, match=why) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert repr(name) in caught.value.message


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a FIFO"),
        (b"V", "is of an unknown kind"),
    ],
)
def test_a_tar_with_anything_but_files_and_folders_is_refused(tmp_path: Path, kind: bytes, why: str) -> None:
    path = tar_with(tmp_path / "a.tgz", entry("top/a.bin", size=4), entry("elsewhere/b", kind=kind, link="/etc/passwd"))
    with pytest.raises(DataError, match=why):
        read(path)


@pytest.mark.parametrize(
    ("mode", "why"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a FIFO"), (stat.S_IFCHR, "is a device")]
)
def test_a_zip_with_anything_but_files_and_folders_is_refused(tmp_path: Path, mode: int, why: str) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("elsewhere/b")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/a.bin", b"fine")
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(DataError, match=why):
        read(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {"top/a.bin": b"secret"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02", raw.index(b"secret") if b"secret" in raw else 0) + 8] |= 1
    # The flags of the last entry: the file's.
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_a_method_that_cannot_be_bounded_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("top/a.bin", bytes(1000))
    with pytest.raises(DataError, match="is compressed by method"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    if kind == "tar":
        tar_with(path, entry("top/a.bin", size=4), entry("./top/a.bin", size=4))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("top/a.bin", b"one")
            archive.writestr("top/a.bin", b"two")
    with pytest.raises(DataError, match="is there twice"):
        read(path)


def gzip_of_zeros(path: Path, header: bytes, num_bytes: int) -> Path:
    """A header and very many zeros, written without holding them."""
    block = bytes(2**20)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(num_bytes // len(block)):
            file.write(block)
    return path


@pytest.mark.slow
def test_a_bomb_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    header = entry("elsewhere/zeros", size=2**30).tobuf()
    path = gzip_of_zeros(tmp_path / "a.tgz", header, 2**30)
    assert path.stat().st_size < 10 * 2**20
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"declares 1,073,741,824 bytes, with which the whole passes the limit of"):
        read(path, Limits(ratio=10))
    assert time.perf_counter() - start < 1


@pytest.mark.slow
@pytest.mark.parametrize("num_header_bytes", [0, 1024])
def test_a_bomb_behind_the_end_is_not_unpacked_to_its_end(tmp_path: Path, num_header_bytes: int) -> None:
    path = gzip_of_zeros(tmp_path / "a.tgz", bytes(num_header_bytes), 2**29)
    with pytest.raises(DataError, match=r"unpacks to more than"):
        read(path, Limits(ratio=2))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_count_together(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    WRITERS[kind](path, {f"top/{number}.bin": bytes(5000) for number in range(10)})
    assert len(read(path, Limits(total_bytes=70_000))) == 10
    with pytest.raises(DataError, match="passes the limit of 40,000 unpacked bytes"):
        read(path, Limits(total_bytes=40_000))
    with pytest.raises(DataError, match=r"one of (more than )?(11|10)"):
        read(path, Limits(num_members=10))
    folder = write_tree(tmp_path / "folder", {f"top/{number}.bin": bytes(5000) for number in range(10)})
    with pytest.raises(DataError, match="passes the limit of 40,000 unpacked bytes"):
        read(folder, Limits(total_bytes=40_000))


def test_the_limit_grows_with_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(bytes(1000))
    assert Limits(ratio=3, spare_bytes=10).for_archive(path) == 3010
    assert Limits(ratio=3, spare_bytes=10, total_bytes=50).for_archive(path) == 50


def test_a_zip_member_longer_than_declared_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("top/a.bin", bytes(2**24))
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<I", raw, directory + 24, 100)
    path.write_bytes(raw)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def long_header(kind: bytes, size: int) -> bytes:
    return entry("././@header", kind=kind, size=size).tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_without_end_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tgz"
    with gzip.open(path, "wb") as file:
        file.write(long_header(kind, 2**23) + bytes(2**23))
    with pytest.raises(DataError, match="a header has more than 1,048,576 bytes"):
        read(path)


def test_headers_that_follow_one_another_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    with gzip.open(path, "wb") as file:
        for _ in range(5000):
            file.write(long_header(tarfile.GNUTYPE_LONGNAME, 512) + b"name".ljust(512, b"\0"))
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def cut(raw: bytes) -> bytes:
    return raw[:-20]


def damaged(raw: bytes) -> bytes:
    return raw[:60] + bytes([raw[60] ^ 0xFF]) + raw[61:]


def web_page(_: bytes) -> bytes:
    return b"<!DOCTYPE html><title>404</title>"


def empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("change", [cut, damaged, web_page, empty])
def test_what_is_no_whole_archive_cannot_be_read(tmp_path: Path, kind: str, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "archive"
    WRITERS[kind](path, {"top/a.bin": bytes(range(256)) * 20})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(path)
    assert str(path) in caught.value.message


def test_a_wrong_checksum_at_the_end_of_a_tar_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    write_tar_gz(path, MEMBERS)
    raw = path.read_bytes()
    path.write_bytes(raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:])
    with pytest.raises(DataError, match="CRC check failed"):
        read(path)


def test_a_tar_that_was_cut_before_it_was_compressed_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    write_tar_gz(path, MEMBERS)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: whole.rindex(b"top/c.txt")]))
    with pytest.raises(DataError, match="ends before its end mark"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file .*/absent\.tgz"):
        read(tmp_path / "absent.tgz")
