"""From the files of a distribution to images, whatever their format. A new format is added here.

Must not know where files come from, or what a data set's images should be. Read `read_files` first.
"""

from collections.abc import Mapping
from pathlib import Path

from repro.datasets import cifar, tinyimagenet
from repro.datasets.arrays import ImageArrays
from repro.errors import DataError
from repro.spec.distributions import DataFormat


def read_files(data_format: DataFormat, files: Mapping[str, Path], *, image_size: int | None, official: bool) -> ImageArrays:
    """All images of one distribution, in the order of its files; with `image_size` box-resized to that side.

    `files` says where each file lies, by its name, in the distribution's order. An archive's path may also be a folder: the
    unpacked one, or one that holds it. Where `official`, the files of such a folder are held to their published md5, if any is;
    an archive and a parquet file are held to their digests before. Raises DataError for anything that is not as published.
    """
    match data_format:
        case DataFormat.CIFAR10_BINARY:
            return cifar.read_binary(_only(files), cifar.CIFAR10_BINARY, image_size=image_size, official=official)
        case DataFormat.CIFAR100_BINARY:
            return cifar.read_binary(_only(files), cifar.CIFAR100_BINARY, image_size=image_size, official=official)
        case DataFormat.CIFAR10_PYTHON:
            return cifar.read_python(_only(files), cifar.CIFAR10_PYTHON, image_size=image_size, official=official)
        case DataFormat.CIFAR100_PYTHON:
            return cifar.read_python(_only(files), cifar.CIFAR100_PYTHON, image_size=image_size, official=official)
        case DataFormat.CIFAR10_PNG:
            return cifar.read_folders(_only(files), cifar.CIFAR10_PNG, image_size=image_size)
        case DataFormat.CIFAR100_PNG:
            return cifar.read_folders(_only(files), cifar.CIFAR100_PNG, image_size=image_size)
        case DataFormat.CIFAR10_PARQUET:
            return cifar.read_parquet(files, cifar.CIFAR10_PARQUET, image_size=image_size)
        case DataFormat.CIFAR100_PARQUET:
            return cifar.read_parquet(files, cifar.CIFAR100_PARQUET, image_size=image_size)
        case DataFormat.TINY_IMAGENET_ZIP:
            return tinyimagenet.read_zip(_only(files), image_size=image_size)
        case DataFormat.TINY_IMAGENET_PARQUET:
            return tinyimagenet.read_parquet(files, image_size=image_size)


def _only(files: Mapping[str, Path]) -> Path:
    if len(files) != 1:
        raise DataError(
            f"This format is one archive; the distribution has {len(files)} files: {', '.join(files) or 'none'}.",
            remedy="Name the archive alone.",
        )
    return next(iter(files.values()))
