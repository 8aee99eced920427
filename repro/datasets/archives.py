"""Reads members of a .tar.gz or .zip into memory, or the same files from the folder that it unpacks to; nothing is extracted.

An archive is refused as a whole, before a member is unpacked, when its names, kinds or sizes show that it is not plain data: it
comes from another machine, and may be anything. Must not know what the members mean. Read `read_members` first.
"""

import gzip
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro.errors import DataError

Wanted = Callable[[str], bool]
"""Whether a member is read, by its name below the top folder."""

READING_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error),
)
"""What the standard library raises for a broken archive; NotImplementedError and RecursionError are RuntimeErrors."""
GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK"
TAR_BLOCK_BYTES = 512
MAX_TAR_HEADER_BYTES = 2**20
"""All headers of one member together; a block and a long name are usual."""
CHUNK_BYTES = 2**20
ZIP_ENCRYPTED = 0x1 | 0x40 | 0x2000
"""Flag bits: encrypted, strongly encrypted, encrypted directory."""
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others let a few bytes unpack to very many at once."""
FILE_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
TAR_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
}
AGAIN = "Get the file again from its official source, and check its digest."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may hold."""

    total_bytes: int = 2 * 2**30
    """Unpacked bytes of all members together, and so of a single one."""
    ratio: int = 200
    """Unpacked bytes for each byte of the archive, on top of `spare_bytes`."""
    spare_bytes: int = 64 * 2**20
    """Unpacked bytes that the smallest archive may hold."""
    num_members: int = 500_000
    """Members, folders counted."""

    def for_archive(self, path: Path) -> int:
        """Unpacked bytes that this archive may hold."""
        return min(self.total_bytes, self.ratio * path.stat().st_size + self.spare_bytes)


DEFAULT_LIMITS = Limits()


def read_members(path: Path, *, top: str, wanted: Wanted, limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Content of the wanted members below the folder `top` of an archive, by their names below it, sorted.

    `path` is a .tar.gz or a .zip (its first bytes tell), or a folder: the unpacked `top` itself or one that holds it. Raises
    DataError for a missing or unreadable file, and for an archive that is encrypted, too large, or has a member outside its own
    folder, a duplicate, a link, a device or a FIFO, wanted or not.
    """
    try:
        if path.is_dir():
            found = _read_folder(path, top, wanted, limits)
        else:
            with path.open("rb") as file:
                beginning = file.read(9)
            if beginning.startswith(GZIP_MAGIC):
                found = _read_tar(path, top, wanted, limits)
            elif beginning.startswith(ZIP_MAGIC):
                found = _read_zip(path, top, wanted, limits)
            else:
                raise DataError(
                    f"{path} cannot be read: it is neither a .tar.gz nor a .zip, for it begins with {beginning!r}.",
                    remedy=AGAIN,
                )
    except FileNotFoundError as error:
        raise DataError(f"There is no file {error.filename or path}.", remedy="Correct the path, or get the file.") from error
    except READING_ERRORS as error:
        raise DataError(f"{path} cannot be read: {str(error) or type(error).__name__}.", remedy=AGAIN) from error
    return dict(sorted(found.items()))


def _read_tar(path: Path, top: str, wanted: Wanted, limits: Limits) -> dict[str, bytes]:
    limit = limits.for_archive(path)
    found: dict[str, bytes] = {}
    names: set[str] = set()
    with _Unpacked(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
        num_members = 0
        while (member := tar.next()) is not None:
            # The archive would keep a description of every member.
            tar.members = []  # type: ignore[attr-defined]
            unpacked.begin_member()
            num_members += 1
            if num_members > limits.num_members:
                raise _refused(path, member.name, f"is one of more than {limits.num_members:,} members")
            name = _checked_name(path, member.name)
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise _refused(path, member.name, f"is {TAR_KINDS.get(member.type, 'of an unknown kind')}")
            if member.size < 0 or member.offset_data + member.size > limit:
                raise _too_large(path, member.name, member.size, limit)
            if member.isdir():
                continue
            _add_name(path, name, names)
            if (inside := _below(name, top)) is not None and wanted(inside):
                found[inside] = unpacked.read_member(member.offset_data, member.size)
        if unpacked.last_read != bytes(TAR_BLOCK_BYTES):
            raise EOFError("it ends before its end mark")
        if not unpacked.skip_to_end(limit):
            raise DataError(f"{path} is refused: it unpacks to more than {limit:,} bytes.", remedy=AGAIN)
    return found


class _Unpacked(gzip.GzipFile):
    """The unpacked stream of a .tar.gz, of which tarfile reads headers only, and none that is long.

    Extended headers hold long names, are read whole at whatever length they declare, and can follow one another.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.last_read = b""
        """What was last read as a header."""
        self._header_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes of a header. Raises ValueError where a member's headers have too many, or a negative number."""
        self._header_bytes += MAX_TAR_HEADER_BYTES + 1 if size is None or size < 0 else size
        if self._header_bytes > MAX_TAR_HEADER_BYTES:
            raise ValueError(f"a header has more than {MAX_TAR_HEADER_BYTES:,} bytes")
        self.last_read = super().read(size)
        return self.last_read

    def begin_member(self) -> None:
        """A new header may follow."""
        self._header_bytes = 0

    def skip_to_end(self, limit: int) -> bool:
        """Read on to the end, where the checksum of the whole stands; False where it lies beyond `limit`."""
        while super().read(CHUNK_BYTES):
            if self.tell() > limit:
                return False
        return True

    def read_member(self, offset: int, size: int) -> bytes:
        """The member at `offset` of the unpacked stream. Raises EOFError when the stream is shorter."""
        self.seek(offset)
        content = super().read(size)
        if len(content) != size:
            raise EOFError("it was cut off")
        return content


def _read_zip(path: Path, top: str, wanted: Wanted, limits: Limits) -> dict[str, bytes]:
    limit = limits.for_archive(path)
    chosen: dict[str, zipfile.ZipInfo] = {}
    names: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > limits.num_members:
            raise _refused(path, members[-1].filename, f"is one of {len(members):,} members, more than {limits.num_members:,}")
        total = 0
        for member in members:
            name = _checked_name(path, member.orig_filename)
            if kind := FILE_KINDS.get(stat.S_IFMT(member.external_attr >> 16)):
                raise _refused(path, name, f"is {kind}")
            if member.flag_bits & ZIP_ENCRYPTED:
                raise _refused(path, name, "is encrypted")
            if member.compress_type not in ZIP_METHODS:
                raise _refused(path, name, f"is compressed by method {member.compress_type}, not deflated or stored")
            total += member.file_size
            if total > limit:
                raise _too_large(path, name, member.file_size, limit)
            if member.is_dir():
                continue
            _add_name(path, name, names)
            if (inside := _below(name, top)) is not None and wanted(inside):
                chosen[inside] = member
        return {inside: _read_zip_member(archive, member) for inside, member in chosen.items()}


def _read_zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        # Asked for a number, zipfile unpacks no more, even where the member holds more than it declares.
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise EOFError(f"{member.filename} is not as long as declared")
    return content


def _read_folder(path: Path, top: str, wanted: Wanted, limits: Limits) -> dict[str, bytes]:
    root = path / top if (path / top).is_dir() else path
    chosen: dict[str, Path] = {}
    total = 0
    for folder, folder_names, file_names in os.walk(root):
        folder_names.sort()
        for file_name in sorted(file_names):
            file = Path(folder, file_name)
            inside = file.relative_to(root).as_posix()
            if wanted(inside):
                total += file.stat().st_size
                if total > limits.total_bytes:
                    raise _too_large(root, inside, file.stat().st_size, limits.total_bytes)
                chosen[inside] = file
    return {inside: file.read_bytes() for inside, file in chosen.items()}


def _checked_name(path: Path, name: str) -> str:
    """The member's name without `./`. Raises DataError where it could lead out of the archive's own folder."""
    if name.startswith("/") or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise _refused(path, name, "has an absolute or foreign path")
    if ".." in name.split("/"):
        raise _refused(path, name, "leads out of its folder")
    return PurePosixPath(name).as_posix()


def _add_name(path: Path, name: str, names: set[str]) -> None:
    if name in names:
        raise _refused(path, name, "is there twice")
    names.add(name)


def _below(name: str, top: str) -> str | None:
    inside = name.removeprefix(f"{top}/")
    return None if inside == name else inside


def _refused(path: Path, name: str, why: str) -> DataError:
    return DataError(f"{path} is refused: its member {name[:200]!r} {why}.", remedy=AGAIN)


def _too_large(path: Path, name: str, size: int, limit: int) -> DataError:
    why = f"declares {size:,} bytes, with which the whole passes the limit of {limit:,} unpacked bytes"
    return _refused(path, name, why)
