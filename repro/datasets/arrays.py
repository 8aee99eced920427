"""Images as arrays: the form in which every source hands them over, their digests and their canonical order.

Must not know where images come from, how they are stored or what is trained on them. Read `ImageArrays` first, then
`canonical_order`.

Shape letters: N images, H height, W width, C channels.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
"""uint8 (N, H, W, C)."""
Labels = npt.NDArray[np.int64]
"""int64 (N,)."""

SIXTEENTHS_TO_BYTE: npt.NDArray[np.uint8] = ((np.arange(17) * 255 + 8) // 16).astype(np.uint8)
"""Grey value 0 … 255 of a 4x4 block with 0 … 16 inked pixels: the scale of `digits` and `glyphs` alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The training or the test part of a data set."""

    images: Images
    """uint8 (N, H, W, C), H = W."""
    labels: Labels
    """int64 (N,), 0 … number of classes - 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArrays:
    """A whole data set in memory, in any order."""

    train: Part
    """The training part."""
    test: Part
    """The test part, of the same image shape."""
    class_names: tuple[str, ...]
    """Name of class k at place k."""


def image_digests(part: Part) -> list[bytes]:
    """Digest of each image with its label, 32 bytes: sha256(label as 8-byte little endian + image bytes in H, W, C order)."""
    labels = part.labels.astype("<i8")
    return [
        hashlib.sha256(label.tobytes() + np.ascontiguousarray(image).tobytes()).digest()
        for label, image in zip(labels, part.images, strict=True)
    ]


def canonical_order(digests: list[bytes]) -> npt.NDArray[np.intp]:
    """Places of the images in ascending order of their digests, (N,): whatever order a source has, this one is the same."""
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.intp)


def content_sha256(train: Part, test: Part) -> str:
    """Digest of a data set that does not depend on the order of its images; 64 hex digits.

    sha256 over the ASCII line `num_train num_test height width channels` + newline, then over the 32-byte sha256 of the sorted,
    concatenated image digests of the training part, then over the same of the test part.
    """
    shape = (len(train.images), len(test.images), *train.images.shape[1:])
    whole = hashlib.sha256((" ".join(str(number) for number in shape) + "\n").encode())
    for part in (train, test):
        whole.update(hashlib.sha256(b"".join(sorted(image_digests(part)))).digest())
    return whole.hexdigest()


def count_test_images_in_train(train: Part, test: Part) -> int:
    """Number of test images whose bytes also stand in the training part, under whatever label."""
    known = {hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in train.images}
    return sum(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() in known for image in test.images)
