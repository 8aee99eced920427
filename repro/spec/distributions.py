"""The ways in which the files of a data set can be had: which files, where they lie, what their bytes are, how they are read.

A distribution is one complete copy of a data set in one file format. Digests and sizes are published facts (the catalogue names
the source) or left out; none is made up. Must not know how files are fetched or read. Read `Distribution` first.
"""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from repro.spec.base import Name, Positive, Spec

Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""32 hex digits."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""64 hex digits."""


class DataFormat(StrEnum):
    """How the files of a distribution hold images; `repro.datasets.formats` reads each."""

    CIFAR10_BINARY = "cifar10-binary"
    """One .tar.gz of files of records: label byte, then 3,072 bytes in planes R, G, B."""
    CIFAR10_PYTHON = "cifar10-python"
    """One .tar.gz of pickled batches, each with `data` and `labels`."""
    CIFAR10_PARQUET = "cifar10-parquet"
    """A train and a test parquet file with columns `img` (PNG) and `label`."""
    CIFAR10_PNG = "cifar10-png"
    """One .tgz of train/<class>/<picture> and test/<class>/<picture>."""
    CIFAR100_BINARY = "cifar100-binary"
    """As for CIFAR-10, with a coarse and a fine label byte; the fine label counts."""
    CIFAR100_PYTHON = "cifar100-python"
    """As for CIFAR-10, with `fine_labels`."""
    CIFAR100_PARQUET = "cifar100-parquet"
    """As for CIFAR-10, with `fine_label`."""
    CIFAR100_PNG = "cifar100-png"
    """One .tgz of train/<superclass>/<class>/<picture> and test likewise."""
    TINY_IMAGENET_ZIP = "tinyimagenet-zip"
    """The official .zip; its validation part, whose labels are published, serves as the test part."""
    TINY_IMAGENET_PARQUET = "tinyimagenet-parquet"
    """A train and a valid parquet file with columns `image` (JPEG) and `label`."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "://" in path:
        raise ValueError("Input should be a path below the host's address, as in 'data/train.parquet'")
    return path


class DataFile(Spec):
    """One file to be had from one host."""

    host: Name
    """Name of a host in the catalogue, or an address that begins with http:// or https://."""
    path: Annotated[str, AfterValidator(_inside)]
    """Where it lies below the host's address."""
    size_bytes: Positive | None = None
    """Its length, where it is published."""
    sha256: Sha256 | None = None
    """Its digest, where it is published."""
    md5: Md5 | None = None
    """Its older digest, where it is published."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    @property
    def is_pinned(self) -> bool:
        """Whether a published digest holds every copy to the same bytes."""
        return self.sha256 is not None or self.md5 is not None


class Distribution(Spec):
    """One complete copy of a data set."""

    format: DataFormat
    """How to read it."""
    file: tuple[DataFile, ...] = Field(min_length=1)
    """Its files, in the order that the format wants."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [file.name for file in self.file]
        if len(set(names)) < len(names):
            raise ValueError(f"two files of a distribution have one name: {names}")
        return self


class HostSpec(Spec):
    """Where files lie."""

    name: Name
    """The name that data files use."""
    url: Annotated[str, Field(pattern="^https?://[^ ]+[^/ ]$")]
    """Address without a slash at its end; data files' paths follow it."""
    mirror_variable: Name
    """Environment variable that replaces the address by that of a mirror; it comes before `endpoint_variable`."""
    endpoint_variable: Name | None = None
    """Environment variable by which the host's own tools are told another address."""
    token_variable: Name | None = None
    """Environment variable with a token that is sent to this host, or its endpoint, and never to a mirror."""
    title: str
    """Whose host it is, for messages."""
