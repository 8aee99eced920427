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
DigestRows = npt.NDArray[np.uint8]
"""uint8 (N, 32): a sha256 in each row."""

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


def pixel_digests(images: Images) -> list[bytes]:
    """Digest of each image, whatever its label, 32 bytes: sha256(image bytes in H, W, C order)."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]


def digest_rows(digests: list[bytes]) -> DigestRows:
    """Digests as an array: a third of the memory."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def canonical_order(digests: list[bytes] | DigestRows) -> npt.NDArray[np.intp]:
    """Places of the images in ascending order of their digests, (N,): whatever order a source has, this one is the same."""
    rows = digest_rows(digests) if isinstance(digests, list) else np.ascontiguousarray(digests)
    # Four big-endian numbers compare as their 32 bytes do; the last key of a lexsort is the first to count.
    return np.lexsort(rows.view(">u8").astype(np.uint64).T[::-1])


def content_sha256(train: Part, test: Part) -> str:
    """Digest of a data set that does not depend on the order of its images; 64 hex digits.

    sha256 over the ASCII line `num_train num_test height width channels` + newline, then over the 32-byte sha256 of the sorted,
    concatenated image digests of the training part, then over the same of the test part.
    """
    rows = (digest_rows(image_digests(part)) for part in (train, test))
    return content_sha256_of(*rows, image_shape=train.images.shape[1:])


def content_sha256_of(train: DigestRows, test: DigestRows, *, image_shape: tuple[int, ...]) -> str:
    """As `content_sha256`, from the image digests of both parts in any order; `image_shape` is (H, W, C)."""
    whole = hashlib.sha256((" ".join(str(number) for number in (len(train), len(test), *image_shape)) + "\n").encode())
    for rows in (train, test):
        whole.update(hashlib.sha256(rows[canonical_order(rows)].tobytes()).digest())
    return whole.hexdigest()


def part_sha256(part: Part) -> str:
    """Digest of one part that does not depend on the order of its images; 64 hex digits.

    sha256 over the sorted, concatenated sha256(label + image bytes in H, W, C order). The label is little endian, in as few
    whole bytes as the largest label of the part needs: 1 below 256, else 2, and so on; 1 for an empty part.
    """
    width = max(1, (int(part.labels.max(initial=0)).bit_length() + 7) // 8)
    digests = [
        hashlib.sha256(int(label).to_bytes(width, "little") + np.ascontiguousarray(image).tobytes()).digest()
        for label, image in zip(part.labels, part.images, strict=True)
    ]
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def count_test_images_in_train(train: Part, test: Part) -> int:
    """Number of test images whose bytes also stand in the training part, under whatever label."""
    return count_shared(digest_rows(pixel_digests(train.images)), digest_rows(pixel_digests(test.images)))


def count_shared(train: DigestRows, test: DigestRows) -> int:
    """As `count_test_images_in_train`, from the pixel digests of both parts."""
    # A set of the smaller part only: one of a million digests takes more than 100 MB.
    of_test = {row.tobytes() for row in test}
    in_both = {digest for row in train if (digest := row.tobytes()) in of_test}
    return sum(row.tobytes() in in_both for row in test)
