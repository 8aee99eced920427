"""A pack of images that lie in memory and on no disk, for timing what takes the same time with any images.

Must not know what is timed. Read `pack_in_memory` first.
"""

from repro.datasets.arrays import Images, Labels
from repro.datasets.manifest import Manifest, Origin
from repro.datasets.pack import Pack
from repro.spec import DatasetSource


def pack_in_memory(
    x_NHWC: Images, labels_N: Labels, *, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...], num_test: int
) -> Pack:
    """Images uint8 (N, H, W, C) and labels int64 (N,), of which the first `num_test` are the test part too.

    `mean` and `std` are fractions of white, by channel. There is no digest, so that nothing can take them for a data set.
    """
    manifest = Manifest(
        name="images in memory",
        image_size=x_NHWC.shape[1],
        num_channels=1 if x_NHWC.shape[3] == 1 else 3,
        num_classes=num_classes,
        class_names=tuple(str(label) for label in range(num_classes)),
        num_train=len(x_NHWC),
        num_test=num_test,
        content_sha256="",
        mean=mean,
        std=std,
        num_test_images_in_train=num_test,
        origin=Origin(source=DatasetSource.NPZ, path=None, image_size=None, state=None),
        files=(),
    )
    return Pack(manifest=manifest, x_train=x_NHWC, y_train=labels_N, x_test=x_NHWC[:num_test], y_test=labels_N[:num_test])
