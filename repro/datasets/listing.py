"""The pictures of one part as a list of names, and its chunks: the unit in which pictures are read, noted and read again.

Must not know what pictures are. Read `Listing` first.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.datasets.arrays import Labels

PICTURES_PER_CHUNK = 500
"""So many are decoded again at most, for each thread, after a crash; and so many stand between two flushes of the disk."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All pictures of one part, in order of class and name. Names only, since there may be millions."""

    part: str
    """`train` or `test`."""
    folder: Path
    """Where the class folders lie."""
    class_names: tuple[str, ...]
    """Name of class k, and of its folder, at place k."""
    file_names: tuple[tuple[str, ...], ...]
    """Names of the files of class k at place k."""

    @functools.cached_property
    def labels(self) -> Labels:
        """Class of each picture, int64 (N,)."""
        return np.repeat(np.arange(len(self.file_names)), [len(names) for names in self.file_names]).astype(np.int64)

    @functools.cached_property
    def _first_places(self) -> Labels:
        return np.cumsum([0, *(len(names) for names in self.file_names)]).astype(np.int64)

    def path(self, place: int) -> Path:
        """The file of a picture."""
        label = int(self.labels[place])
        return self.folder / self.class_names[label] / self.file_names[label][place - int(self._first_places[label])]

    def chunks(self) -> list["Chunk"]:
        """All pictures in consecutive chunks."""
        starts = range(0, len(self.labels), PICTURES_PER_CHUNK)
        return [Chunk(listing=self, start=start, stop=min(start + PICTURES_PER_CHUNK, len(self.labels))) for start in starts]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some consecutive pictures of a part."""

    listing: Listing
    """The part."""
    start: int
    """Place of the first picture."""
    stop: int
    """Place behind the last."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [self.listing.path(place) for place in range(self.start, self.stop)]

    def sha256(self) -> str:
        """Digest of names, sizes and modification times of the files: another one when a picture was replaced."""
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                status = path.stat()
                state = f"{status.st_size}\0{status.st_mtime_ns}"
            except OSError:
                state = "absent"  # whoever reads its header names it
            digest.update(f"{path.relative_to(self.listing.folder)}\0{state}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()
