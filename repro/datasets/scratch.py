"""Decoded pictures on their way into a pack: raw arrays on disk, filled chunk by chunk, and what is known of them.

    <scratch>/  train.raw  test.raw  (uint8 (N, H, W, C), sparse until decoded)
                decoded.txt          (one line a finished chunk, written when its bytes are on the disk)
                headers.jsonl        (what the headers of a chunk's files say)

Both notes name a chunk by a digest of its files' names, sizes and times, so that what was done before an interruption is done
once, and a picture that was replaced costs its own chunk only. Whoever uses the folder keeps others away from it. Must not
know how a folder of pictures is laid out. Read `decode_all` first.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from repro.datasets import pictures
from repro.datasets.arrays import Images
from repro.datasets.chunks import Progress, ensure_space, in_threads, num_cpus, pieces
from repro.datasets.listing import Chunk, Listing
from repro.datasets.pictures import Headers
from repro.workspace import write_atomically, writing

DECODED = "decoded.txt"
HEADERS = "headers.jsonl"
DIGEST_LENGTH = 64


def read_all_headers(scratch: Path, listing: Listing, *, progress: Progress) -> tuple[Headers, dict[int, str]]:
    """What the headers of all pictures of a part say, and each chunk's digest by its first place.

    What was read before is not read again. Raises DataError for the first file that is broken already there.
    """
    known = _known_headers(scratch / HEADERS)
    chunks = listing.chunks()
    what, total = f"reading the headers of the {listing.part} pictures", len(listing.labels)

    def work(chunk: Chunk) -> tuple[str, Headers]:
        if stop.is_set():
            raise CancelledError
        digest = chunk.sha256()
        return digest, _parse_headers(known.get(digest, "")) or pictures.read_headers(chunk.paths)

    stop = threading.Event()
    found: dict[int, Headers] = {}
    digests: dict[int, str] = {}
    num_done = 0
    for place, (digest, headers) in in_threads(work, chunks, num_threads=num_cpus(), stop=stop):
        chunk = chunks[place]
        found[place], digests[chunk.start] = headers, digest
        if headers.are_good and digest not in known:
            _note_headers(scratch, digest, headers)
        num_done += len(chunk)
        progress(what, num_done, total)
    in_order = [found[place] for place in range(len(chunks))]
    sizes: Counter[tuple[int, int]] = Counter()
    for headers in in_order:
        sizes.update(headers.sizes)
    together = Headers(
        sizes=sizes,
        modes=frozenset().union(*(headers.modes for headers in in_order)),
        strangers=tuple(path for headers in in_order for path in headers.strangers),
        deep=tuple(path for headers in in_order for path in headers.deep),
    )
    return together, digests


def decode_all(
    scratch: Path,
    listings: list[Listing],
    digests: dict[str, dict[int, str]],
    *,
    side: int,
    grey: bool,
    progress: Progress,
) -> dict[str, Images]:
    """The pictures of each part, uint8 (N, side, side, 1 or 3), mapped, read-only; chunks that are there already are kept.

    `digests` are the chunks' digests by part and first place. Raises DataError for the first broken picture, DiskFull before
    anything is written when the disk has no room for these arrays and as much again for the pack.
    """
    shape = (side, side, 1 if grey else 3)
    image_bytes = int(np.prod(shape))
    chunks = [chunk for listing in listings for chunk in listing.chunks()]
    notes = [_note(chunk, digests[chunk.listing.part][chunk.start], shape) for chunk in chunks]
    raws = {listing.part: scratch / f"{listing.part}.raw" for listing in listings}
    sizes_bytes = {listing.part: len(listing.labels) * image_bytes for listing in listings}
    there = {part: _stat_size(path) for part, path in raws.items()}
    noted = _noted(scratch / DECODED)
    finished = {
        place
        for place, (chunk, note) in enumerate(zip(chunks, notes, strict=True))
        if note in noted and chunk.stop * image_bytes <= there[chunk.listing.part]
    }
    with writing(scratch):
        if not finished:
            for path in (*raws.values(), scratch / DECODED):
                path.unlink(missing_ok=True)
        needed_bytes = sum(2 * size - min(size, _allocated(raws[part])) for part, size in sizes_bytes.items())
        ensure_space(scratch, needed_bytes, purpose=f"Decoding {sum(len(chunk) for chunk in chunks):,} pictures")
        scratch.mkdir(parents=True, exist_ok=True)
        # A chunk that is about to be overwritten must not be taken for its former self after a crash.
        write_atomically(scratch / DECODED, "".join(f"{notes[place]}\n" for place in sorted(finished)))
        with contextlib.ExitStack() as stack:
            files = {part: stack.enter_context(path.open("ab")) for part, path in raws.items()}
            for part, file in files.items():
                file.truncate(sizes_bytes[part])
    left = [place for place in range(len(chunks)) if place not in finished]
    _decode_chunks(scratch, chunks, notes, left, shape, progress)
    return {
        listing.part: np.memmap(raws[listing.part], dtype=np.uint8, mode="r", shape=(len(listing.labels), *shape))
        for listing in listings
    }


def _decode_chunks(
    scratch: Path, chunks: list[Chunk], notes: list[str], left: list[int], shape: tuple[int, int, int], progress: Progress
) -> None:
    """Decode the chunks at the places that are left, and note each of them."""
    stop = threading.Event()

    def work(chunk: Chunk) -> None:
        _decode_chunk(chunk, scratch / f"{chunk.listing.part}.raw", shape, stop)

    total = sum(len(chunk) for chunk in chunks)
    num_done = total - sum(len(chunks[place]) for place in left)
    progress("decoding pictures", num_done, total)
    with (scratch / DECODED).open("a") as decoded:
        for position, _ in in_threads(work, [chunks[place] for place in left], num_threads=num_cpus(), stop=stop):
            with writing(scratch):
                decoded.write(f"{notes[left[position]]}\n")
                decoded.flush()
                os.fsync(decoded.fileno())
            num_done += len(chunks[left[position]])
            progress("decoding pictures", num_done, total)


def _decode_chunk(chunk: Chunk, raw: Path, shape: tuple[int, int, int], stop: threading.Event) -> None:
    image_bytes = int(np.prod(shape))
    paths = chunk.paths
    with writing(raw), raw.open("r+b", buffering=0) as file:
        for piece in pieces(len(chunk), image_bytes):
            images = np.empty((piece.stop - piece.start, *shape), dtype=np.uint8)
            for place, path in enumerate(paths[piece]):
                if stop.is_set():
                    raise CancelledError
                images[place] = pictures.decode_picture(path, side=shape[0], grey=shape[2] == 1)
            # Not through a map: there a full disk would be a signal that kills the process.
            _write_at(file.fileno(), images, (chunk.start + piece.start) * image_bytes)
        os.fdatasync(file.fileno())


def _write_at(descriptor: int, images: npt.NDArray[np.uint8], offset: int) -> None:
    left = images.reshape(-1).data
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _note(chunk: Chunk, files_sha256: str, shape: tuple[int, int, int]) -> str:
    """The line that says that a chunk is decoded: in this place, to this shape, from these files, by this version of Pillow."""
    made = hashlib.sha256(f"{files_sha256} {shape} Pillow {PIL.__version__}".encode()).hexdigest()
    return f"{chunk.listing.part} {chunk.start} {chunk.stop} {made}"


def _noted(path: Path) -> set[str]:
    """The finished chunks' lines; one that was cut off is no line."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {line for line in lines if len(line.rpartition(" ")[2]) == DIGEST_LENGTH}


def _known_headers(path: Path) -> dict[str, str]:
    """Lines about headers by the digest of their chunk."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {line[:DIGEST_LENGTH]: line[DIGEST_LENGTH:] for line in lines if line}


def _parse_headers(text: str) -> Headers | None:
    try:
        document = json.loads(text)
        sizes = Counter({(int(width), int(height)): int(number) for width, height, number in document["sizes"]})
        return Headers(sizes=sizes, modes=frozenset(str(mode) for mode in document["modes"]))
    except (ValueError, KeyError, TypeError):
        return None


def _note_headers(scratch: Path, digest: str, headers: Headers) -> None:
    document = {"sizes": [[*size, number] for size, number in headers.sizes.items()], "modes": sorted(headers.modes)}
    # They save time, and that is all; a disk that is too full for them is told where it matters.
    with contextlib.suppress(OSError):
        scratch.mkdir(parents=True, exist_ok=True)
        with (scratch / HEADERS).open("a") as file:
            file.write(f"\n{digest}{json.dumps(document)}\n")


def _stat_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _allocated(path: Path) -> int:
    """Bytes that a sparse file takes on the disk."""
    return path.stat().st_blocks * 512 if path.is_file() else 0
