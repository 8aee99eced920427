"""What a manifest says of a part's images, found in one pass over them, piece by piece, however many they are.

The definitions of the digests stand in `arrays`. Read `examine` first.

Shape letters: N images, H height, W width, C channels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repro.datasets.arrays import DigestRows, Part, digest_rows, image_digests, pixel_digests
from repro.datasets.chunks import Tell, forget_pages, in_threads, num_cpus, pieces

MOST_THREADS = 2
"""Disks and memory hardly feed more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in a part."""

    image_digests: DigestRows
    """uint8 (N, 32), in the part's order: of each image with its label."""
    pixel_digests: DigestRows
    """uint8 (N, 32), in the part's order: of each image alone."""
    grey_counts: npt.NDArray[np.int64]
    """int64 (C, 256): how often each grey value occurs in each channel."""


def examine(part: Part, *, tell: Tell) -> Contents:
    """Read all images once; `tell` is called with the number of images that were read."""
    num_images, num_channels = len(part.images), part.images.shape[3]
    contents = Contents(
        image_digests=np.empty((num_images, 32), dtype=np.uint8),
        pixel_digests=np.empty((num_images, 32), dtype=np.uint8),
        grey_counts=np.zeros((num_channels, 256), dtype=np.int64),
    )

    def work(piece: slice) -> npt.NDArray[np.int64]:
        images = np.ascontiguousarray(part.images[piece])
        contents.image_digests[piece] = digest_rows(image_digests(Part(images=images, labels=part.labels[piece])))
        contents.pixel_digests[piece] = digest_rows(pixel_digests(images))
        counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(num_channels)]
        forget_pages(part.images)
        return np.stack(counts)

    all_pieces = pieces(num_images, part.images[:1].nbytes)
    num_done = 0
    for place, counts in in_threads(work, all_pieces, num_threads=min(MOST_THREADS, num_cpus())):
        contents.grey_counts[:] += counts
        num_done += all_pieces[place].stop - all_pieces[place].start
        tell(num_done)
    return contents


def channel_statistics(grey_counts: npt.NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in fractions of white, from exact counts of the 256 grey values."""
    grey = np.arange(256) / 255
    means = [float(count @ grey / count.sum()) for count in grey_counts]
    stds = [float(np.sqrt(count @ (grey - mean) ** 2 / count.sum())) for count, mean in zip(grey_counts, means, strict=True)]
    return tuple(means), tuple(stds)
