"""Where the files of a data set lie, or may lie, on this machine. Must not know the network or how files are read.

Read `Located` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.datasets.manifest import SourceFile
from repro.spec import DataFile, DataFormat, DatasetSpec, Distribution, slug
from repro.workspace import Workspace

UNPACKED: Mapping[DataFormat, tuple[str, str]] = {
    DataFormat.CIFAR10_BINARY: ("cifar-10-batches-bin", "data_batch_1.bin"),
    DataFormat.CIFAR10_PYTHON: ("cifar-10-batches-py", "data_batch_1"),
    DataFormat.CIFAR10_PNG: ("cifar10", "train/airplane"),
    DataFormat.CIFAR100_BINARY: ("cifar-100-binary", "train.bin"),
    DataFormat.CIFAR100_PYTHON: ("cifar-100-python", "train"),
    DataFormat.CIFAR100_PNG: ("cifar100", "train/fish"),
    DataFormat.TINY_IMAGENET_ZIP: ("tiny-imagenet-200", "wnids.txt"),
}
"""Folder that an archive unpacks to, and something by which it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """One distribution of a data set, complete on this machine."""

    number: int
    """Its place among the data set's distributions."""
    format: DataFormat
    """How to read it."""
    paths: Mapping[str, Path]
    """Where each of its files lies, by the file's name; for an archive it may be the folder of its unpacked content."""
    is_official: bool
    """Whether the files are known by a published digest, so that an unpacked folder is held to its published content."""
    was_downloaded: bool
    """Whether the files came from their hosts; only then a first sight is worth recording."""
    provenance: tuple[SourceFile, ...]
    """The files with their digests, for the manifest."""
    unpinned: tuple[DataFile, ...]
    """Those without a published digest."""


def destination(workspace: Workspace, file: DataFile) -> Path:
    """Where a download of the file lies."""
    return workspace.downloads_dir / slug(file.host) / file.path


def candidates(workspace: Workspace, folder: Path, spec: DatasetSpec, file: DataFile) -> list[Path]:
    """Where in `folder`, the user's or that of the downloads, a file of the data set may lie, the likeliest place first."""
    if folder == workspace.downloads_dir:
        return [destination(workspace, file)]
    # A file's own name comes last: parquet files of different data sets share theirs.
    ways = (Path(spec.name) / file.name, Path(slug(file.host)) / file.path, Path(file.path), Path(file.name))
    return list(dict.fromkeys(folder / way for way in ways))


def unpacked_content(folder: Path, distribution: Distribution) -> Path | None:
    """The folder with an archive's unpacked content, if it is there."""
    name, landmark = UNPACKED.get(distribution.format, ("", ""))
    places = (folder / name, folder) if name else ()
    return next((place for place in places if (place / landmark).exists()), None)


def missing_bytes(workspace: Workspace, source_dir: Path | None, spec: DatasetSpec) -> int:
    """Bytes of the preferred distribution that must still be downloaded; files of unknown length count nothing."""
    folders = [folder for folder in (source_dir, workspace.downloads_dir) if folder]
    for distribution in spec.distribution:
        for folder in folders:
            there = all(any(path.is_file() for path in candidates(workspace, folder, spec, file)) for file in distribution.file)
            if there or unpacked_content(folder, distribution):
                return 0
    return sum(max(0, (file.size_bytes or 0) - _bytes_come(workspace, file)) for file in spec.distribution[0].file)


def _bytes_come(workspace: Workspace, file: DataFile) -> int:
    path = destination(workspace, file)
    part = path.with_name(f"{path.name}.part")
    return part.stat().st_size if part.is_file() else 0
