"""What a file of weights is held to: its published facts, the digits in its name, or what its first download looked like.

Must not know where files lie or how they come. Read `known_bytes` first.
"""

import re
from pathlib import Path

from repro.download import Downloaded, KnownBytes
from repro.download.locks import DownloadLock
from repro.download.partial import READ_BYTES, Digests
from repro.spec import DataFile

DIGITS = re.compile(r"-([0-9a-f]{8})\.(?:pth|pt|bin|safetensors)$")
"""How a file's name gives the beginning of its sha256: PyTorch's custom, `resnet18-f37072fd.pth`."""

DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")


class Unfit(Exception):
    """A file, or a place that it could come from, is of no use; the text says which, and why."""


def digits_in(name: str) -> str | None:
    """The first 8 hex digits of the sha256, as a file's name gives them; a date, as in `-20240131.pth`, is none."""
    found = DIGITS.search(name)
    return found[1] if found and not DATE.fullmatch(found[1]) else None


def known_bytes(file: DataFile, lock: DownloadLock) -> KnownBytes:
    """What is known of the file's bytes; what nobody has published is what was recorded at its first download.

    Raises Unfit where the published digest contradicts the digits in the name, so that no bytes could be right.
    """
    digits = digits_in(file.name)
    if digits and file.sha256 and not file.sha256.startswith(digits):
        raise Unfit(
            f"{file.name} cannot be right: by its name its sha256 begins with {digits}, but {file.sha256} is asked for."
        )
    recorded = None if file.is_pinned else lock.file(file)
    if recorded is not None:
        return KnownBytes(size_bytes=recorded.size_bytes, sha256=recorded.sha256, md5=recorded.md5, sha256_prefix=digits)
    return KnownBytes(size_bytes=file.size_bytes, sha256=file.sha256, md5=file.md5, sha256_prefix=digits)


def verified(path: Path, known: KnownBytes) -> Downloaded:
    """The file with its digests, read whole. Raises Unfit if it cannot be read, or is not what is known."""
    digests = Digests()
    try:
        size_bytes = path.stat().st_size
        if known.size_bytes is not None and size_bytes != known.size_bytes:
            raise Unfit(f"{path} is not the file it should be: it has {size_bytes:,} bytes instead of {known.size_bytes:,}.")
        with path.open("rb") as stream:
            while data := stream.read(READ_BYTES):
                digests.update(data)
    except OSError as error:
        raise Unfit(f"{path} cannot be read: {error.strerror or error}.") from error
    if complaint := digests.complaint(known):
        raise Unfit(f"{path} is not the file it should be: {complaint}.")
    return digests.downloaded(path, str(path))
