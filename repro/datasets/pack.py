"""A data set on disk: four arrays and a manifest, made once from its source and mapped into memory afterwards.

    data/<name>/  x_train.npy  y_train.npy  x_test.npy  y_test.npy  manifest.json (written last: it means complete)

Images are uint8 (N, H, W, C), labels int64 (N,), both in canonical order, so that everything later depends on the content and
not on the source's row order. Must not know what is trained. Read `prepare` first.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from repro.datasets.arrays import (
    Images,
    Labels,
    Part,
    canonical_order,
    content_sha256,
    count_test_images_in_train,
    image_digests,
)
from repro.datasets.manifest import MANIFEST, FileEntry, Manifest, parse_manifest
from repro.datasets.own import check_leak
from repro.datasets.sources import current_origin, is_own, read_source
from repro.errors import NO_SPACE_ERRNOS, CorruptFile, DataError, EnvironmentProblem
from repro.spec import DatasetSpec, slug
from repro.workspace import Workspace, disk_full, write_atomically

Number = TypeVar("Number", np.uint8, np.int64)
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A data set ready to train on; images lie on disk and are mapped, labels in memory."""

    manifest: Manifest
    """What it holds."""
    x_train: Images
    """uint8 (num_train, H, W, C), mapped, read-only."""
    y_train: Labels
    """int64 (num_train,)."""
    x_test: Images
    """uint8 (num_test, H, W, C), mapped, read-only."""
    y_test: Labels
    """int64 (num_test,)."""


def read_manifest(workspace: Workspace, spec: DatasetSpec) -> Manifest | None:
    """The manifest of a data set's pack; None when there is none or when it was made from another source or specification.

    A source that is no longer there counts as unchanged. Raises CorruptFile when the manifest cannot be read.
    """
    manifest = parse_manifest(_folder(workspace, spec) / MANIFEST)
    if manifest is None or manifest.name != spec.name or _contradictions(manifest, spec):
        return None
    return manifest if manifest.origin.still_holds(current_origin(spec)) else None


def load_pack(workspace: Workspace, spec: DatasetSpec, *, verify: bool = False) -> Pack:
    """Map a prepared data set; with `verify` every file's sha256 is checked first.

    Raises DataError when it has not been prepared, CorruptFile when a file is not what the manifest says.
    """
    manifest = read_manifest(workspace, spec)
    if manifest is None:
        raise DataError(
            f"The data set {spec.name} has not been prepared in {_folder(workspace, spec)}, or its source has changed since.",
            remedy="Run `vitrepro fetch` with the same profile and home.",
        )
    folder = _folder(workspace, spec)
    _check_files(folder, manifest, digests=verify)
    return Pack(
        manifest=manifest,
        x_train=_map_array(folder / "x_train.npy", np.uint8, (manifest.num_train, *manifest.image_shape)),
        y_train=np.array(_map_array(folder / "y_train.npy", np.int64, (manifest.num_train,))),
        x_test=_map_array(folder / "x_test.npy", np.uint8, (manifest.num_test, *manifest.image_shape)),
        y_test=np.array(_map_array(folder / "y_test.npy", np.int64, (manifest.num_test,))),
    )


def prepare(
    workspace: Workspace,
    spec: DatasetSpec,
    *,
    source_dir: Path | None = None,
    force: bool = False,
    log: Callable[[str], None],
) -> Manifest:
    """Make the pack from its source, unless an intact one of the same source is there; `force` makes it anew in any case.

    `source_dir` holds the files of a data set that is neither made here nor named by a path. `log` is called with one line for
    each thing a user should know. The pack is built in a folder beside its place and renamed,
    so a reader sees the old pack, the new one or none. Two processes take turns. Raises DataError for bad data, DiskFull, and
    EnvironmentProblem where the home cannot be written.
    """
    folder = _folder(workspace, spec)
    try:
        with _turn(folder):
            manifest = None if force else _intact_manifest(workspace, spec, log)
            return manifest or _make(folder, spec, source_dir, log)
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            raise disk_full(folder) from error
        raise EnvironmentProblem(
            f"The data set {spec.name} cannot be written to {folder}: {error.strerror or error}.",
            remedy="Make the folder writable for this user, or give another --home.",
        ) from error


def _intact_manifest(workspace: Workspace, spec: DatasetSpec, log: Callable[[str], None]) -> Manifest | None:
    try:
        manifest = read_manifest(workspace, spec)
        if manifest is not None:
            _check_files(_folder(workspace, spec), manifest, digests=True)
    except CorruptFile as error:
        log(f"{error.message} The data set {spec.name} is made anew.")
        return None
    if manifest is not None and manifest.leak_warning:
        log(manifest.leak_warning)
    return manifest


def _make(folder: Path, spec: DatasetSpec, source_dir: Path | None, log: Callable[[str], None]) -> Manifest:
    origin = current_origin(spec)
    source = read_source(spec, source_dir=source_dir)
    train, test = (_in_canonical_order(part) for part in (source.train, source.test))
    num_leaked = count_test_images_in_train(train, test)
    if is_own(spec):
        check_leak(num_leaked, len(test.images), name=spec.name)
    mean, std = _channel_statistics(train.images)
    manifest = Manifest(
        name=spec.name,
        image_size=train.images.shape[1],
        num_channels=1 if train.images.shape[3] == 1 else 3,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        num_train=len(train.images),
        num_test=len(test.images),
        content_sha256=content_sha256(train, test),
        mean=mean,
        std=std,
        num_test_images_in_train=num_leaked,
        origin=origin,
        files=(),
    )
    if wrong := _contradictions(manifest, spec):
        raise DataError(
            f"The data set {spec.name} is not what its specification says: {'; '.join(wrong)}.",
            remedy="Restore the original source, or correct or leave out these fields if the new content is meant.",
        )
    manifest = _store(folder, manifest, train, test)
    if manifest.leak_warning:
        log(manifest.leak_warning)
    return manifest


def _store(folder: Path, manifest: Manifest, train: Part, test: Part) -> Manifest:
    """Write the pack and its manifest, completed by the list of files, and put them in place."""
    arrays: dict[str, npt.NDArray[np.generic]] = dict(
        zip(ARRAYS, (train.images, train.labels, test.images, test.labels), strict=True)
    )
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        for name, values in arrays.items():
            write_array(staging / f"{name}.npy", values)
        complete = manifest.model_copy(update={"files": tuple(_entry(staging / f"{name}.npy") for name in ARRAYS)})
        write_atomically(staging / MANIFEST, complete.model_dump_json(indent=1) + "\n")
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return complete


def _contradictions(manifest: Manifest, spec: DatasetSpec) -> list[str]:
    """What the specification states of the data set, and is not so."""
    stated = {
        "num_train_images": (spec.num_train_images, manifest.num_train),
        "image_size": (spec.image_size, manifest.image_size),
        "num_channels": (spec.num_channels, manifest.num_channels),
        "num_classes": (spec.num_classes, manifest.num_classes),
        "content_sha256": (spec.content_sha256, manifest.content_sha256),
    }
    return [f"{field} is {is_so}, not {said}" for field, (said, is_so) in stated.items() if said not in (None, is_so)]


def _in_canonical_order(part: Part) -> Part:
    order = canonical_order(image_digests(part))
    return Part(images=part.images[order], labels=part.labels[order])


def _channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in fractions of white, from exact counts of the 256 grey values."""
    grey = np.arange(256) / 255
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[3])]
    means = [float(count @ grey / count.sum()) for count in counts]
    stds = [float(np.sqrt(count @ (grey - mean) ** 2 / count.sum())) for count, mean in zip(counts, means, strict=True)]
    return tuple(means), tuple(stds)


def write_array(path: Path, values: npt.NDArray[np.generic]) -> None:
    """Write a `.npy` file and flush it to the disk; unlike `np.save`, a full disk is an OSError that says so."""
    values = np.ascontiguousarray(values)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(values.data)
        file.flush()
        os.fsync(file.fileno())


def _map_array(path: Path, dtype: type[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    try:
        values: npt.NDArray[Number] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _corrupt(path, str(error)) from error
    if values.dtype != dtype or values.shape != shape:
        raise _corrupt(path, f"it holds {values.dtype} {values.shape} instead of {np.dtype(dtype)} {shape}")
    return values


def _check_files(folder: Path, manifest: Manifest, *, digests: bool) -> None:
    for entry in manifest.files:
        path = folder / entry.name
        try:
            size_bytes = path.stat().st_size
            if size_bytes != entry.size_bytes:
                raise _corrupt(path, f"it has {size_bytes} bytes instead of {entry.size_bytes}")
            if digests and _sha256(path) != entry.sha256:
                raise _corrupt(path, "its sha256 is not that of the manifest")
        except OSError as error:
            raise _corrupt(path, error.strerror or str(error)) from error


def _entry(path: Path) -> FileEntry:
    return FileEntry(name=path.name, sha256=_sha256(path), size_bytes=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(staging: Path, folder: Path) -> None:
    """Put the new pack in place of the old one; whoever has mapped the old files keeps them."""
    retired = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(retired, ignore_errors=True)
    if folder.exists():
        folder.rename(retired)
    staging.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold this data set's lock; waits while another process makes the same pack. The system releases it with its holder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _folder(workspace: Workspace, spec: DatasetSpec) -> Path:
    return workspace.dataset_dir(slug(spec.name))


def _corrupt(path: Path, detail: str) -> CorruptFile:
    return CorruptFile(f"{path} is not what its manifest says: {detail}.", remedy="`vitrepro fetch` makes the data set anew.")
