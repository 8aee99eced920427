"""What `manifest.json` of a data set holds, and whether it still fits its source. The one place that reads it.

Must not know how images are read. Read `Manifest` first.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

import repro
from repro.documents import read_document
from repro.spec import DatasetSource, Spec

MANIFEST = "manifest.json"


class Origin(Spec):
    """What a pack was made from, closely enough to see that it has changed."""

    source: DatasetSource
    """How the images are made or read."""
    path: str | None
    """Absolute path of a user's file or folder; None for a data set that comes with the kit."""
    image_size: int | None
    """Side to which a folder's pictures were resized, if they were."""
    state: str | None
    """Version and parameters of a generator; size and modification time of a file; digest of a folder's listing. None where the
    source is not there."""

    def still_holds(self, now: "Origin") -> bool:
        """Whether the source, as it is now, is that of the pack; a source that is not there any more has not changed."""
        same = self.model_copy(update={"state": None}) == now.model_copy(update={"state": None})
        return same and now.state in (None, self.state)


class SourceFile(Spec):
    """A file that a pack was made from."""

    name: str
    """Its name, or the path of an unpacked folder."""
    sha256: str | None = None
    """Its digest; None for a folder."""
    md5: str | None = None
    """Its older digest."""
    size_bytes: int | None = None
    """Its length."""
    url: str | None = None
    """From where it was downloaded; None where it lay on this machine already."""


class FileEntry(Spec):
    """One file of the pack."""

    name: str
    """Name inside the folder."""
    sha256: str
    """Digest of the file, 64 hex digits."""
    size_bytes: int
    """Size of the file."""


class Manifest(Spec):
    """A prepared data set."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    name: str
    """Name of the data set in the profile."""
    image_size: Annotated[int, Field(ge=1)]
    """Side of the images in pixels."""
    num_channels: Literal[1, 3]
    """1 (grey) or 3 (RGB)."""
    num_classes: Annotated[int, Field(ge=2)]
    """Number of classes; each has a training image."""
    class_names: tuple[str, ...]
    """Name of class k at place k."""
    num_train: Annotated[int, Field(ge=1)]
    """Images in the training part."""
    num_test: Annotated[int, Field(ge=1)]
    """Images in the test part."""
    content_sha256: str
    """Digest of images and labels that does not depend on their order; `repro.datasets.arrays.content_sha256` defines it."""
    train_sha256: str | None = None
    """Digest of the training part as outsiders compute it (`repro.datasets.arrays.part_sha256`), for what was fetched."""
    test_sha256: str | None = None
    """The same of the test part."""
    mean: tuple[float, ...]
    """Mean of each channel over the whole training part, in fractions of white."""
    std: tuple[float, ...]
    """Standard deviation of each channel over the whole training part, in fractions of white; 0 for a constant channel."""
    num_test_images_in_train: Annotated[int, Field(ge=0)]
    """Test images whose bytes also stand in the training part."""
    origin: Origin
    """What it was made from."""
    made_from: tuple[SourceFile, ...] = ()
    """The files that were fetched for it."""
    files: tuple[FileEntry, ...]
    """The other files of the pack."""
    vitrepro: str = repro.__version__
    """Version of this kit that made it."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (self.image_size, self.image_size, self.num_channels)

    @property
    def leak_warning(self) -> str:
        """One sentence where test images also stand in the training part, else empty."""
        if not self.num_test_images_in_train:
            return ""
        return (
            f"Warning: {self.num_test_images_in_train} of the {self.num_test} test images of {self.name} also stand in its "
            "training part; the test accuracy is a little too high."
        )


def parse_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`, or None if there is no file. Raises CorruptFile when it is not one of this version."""
    return read_document(path, Manifest, remedy="`vitrepro fetch` makes the data set anew.")
