"""A data set on disk: four arrays and a manifest, made once from its source and mapped into memory afterwards.

    data/<name>/  x_train.npy  y_train.npy  x_test.npy  y_test.npy  manifest.json (written last: it means complete)

Images are uint8 (N, H, W, C), labels int64 (N,), both in canonical order, so that everything later depends on the content and
not on the source's row order. Must not know what is trained. Read `prepare` first.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from repro.datasets.arrays import (
    ImageArrays,
    Images,
    Labels,
    Part,
    canonical_order,
    content_sha256_of,
    count_shared,
    part_sha256,
)
from repro.datasets.chunks import Progress, Tell, ensure_space, silent
from repro.datasets.contents import Contents, channel_statistics, examine
from repro.datasets.files import check_files, map_array, write_array
from repro.datasets.located import Located
from repro.datasets.manifest import MANIFEST, FileEntry, Manifest, Origin, parse_manifest
from repro.datasets.own import check_leak
from repro.datasets.sources import current_origin, is_own, read_source
from repro.documents import write_document
from repro.download.locks import LockedContent
from repro.errors import CorruptFile, DataError
from repro.spec import DatasetSpec, slug
from repro.workspace import Workspace, writing

SMALL_FILES_BYTES = 2**16
"""Room for the manifest and the headers of the arrays."""


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


def read_manifest(workspace: Workspace, spec: DatasetSpec, *, trusts_source: bool = False) -> Manifest | None:
    """The manifest of a data set's pack; None when there is none or when it was made from another source or specification.

    A source that is no longer there counts as unchanged; with `trusts_source` it is not looked at. Raises CorruptFile when the
    manifest cannot be read.
    """
    manifest = parse_manifest(_folder(workspace, spec) / MANIFEST)
    if manifest is None or manifest.name != spec.name or _contradictions(manifest, spec):
        return None
    return manifest if trusts_source or manifest.origin.still_holds(current_origin(spec)) else None


def load_pack(workspace: Workspace, spec: DatasetSpec, *, verify: bool = False, trusts_source: bool = False) -> Pack:
    """Map a prepared data set; with `verify` every file's sha256 is checked first, with `trusts_source` its source is not.

    Raises DataError when it has not been prepared, CorruptFile when a file is not what the manifest says.
    """
    manifest = read_manifest(workspace, spec, trusts_source=trusts_source)
    if manifest is None:
        raise DataError(
            f"The data set {spec.name} has not been prepared in {_folder(workspace, spec)}, or its source has changed since.",
            remedy="Run `vitrepro fetch` with the same profile and home.",
        )
    folder = _folder(workspace, spec)
    check_files(folder, manifest.files, digests=verify)
    return Pack(
        manifest=manifest,
        x_train=map_array(folder / "x_train.npy", np.uint8, (manifest.num_train, *manifest.image_shape)),
        y_train=np.array(map_array(folder / "y_train.npy", np.int64, (manifest.num_train,))),
        x_test=map_array(folder / "x_test.npy", np.uint8, (manifest.num_test, *manifest.image_shape)),
        y_test=np.array(map_array(folder / "y_test.npy", np.int64, (manifest.num_test,))),
    )


def prepare(
    workspace: Workspace,
    spec: DatasetSpec,
    *,
    located: Located | None = None,
    recorded: LockedContent | None = None,
    force: bool = False,
    log: Callable[[str], None],
    progress: Progress | None = None,
) -> Manifest:
    """Make the pack from its source, unless an intact one of the same source is there; `force` makes it anew in any case.

    `located` are the files of a data set that is fetched, `recorded` what its images were when they first came. `log` is called
    with one line for each thing a user should know, `progress` as `chunks.Progress` says. The pack is built in a folder beside
    its place and renamed, so a reader sees the old pack, the new one or none; a second folder beside it keeps decoded pictures
    until then, so that an interrupted decoding goes on where it was. Two processes take turns. Raises DataError for bad data,
    DiskFull (before anything big is written, where that can be known), and EnvironmentProblem where the home cannot be written.
    """
    folder = _folder(workspace, spec)
    told: Progress = partial(_told, progress or silent, spec.name)
    scratch = folder.with_name(f".{folder.name}.decoding")
    with writing(folder, f"The data set {spec.name}"), _turn(folder):
        manifest = None if force else intact_manifest(workspace, spec, log, progress=told)
        if manifest is None:
            origin = current_origin(spec)
            source = read_source(spec, located=located, scratch=scratch, progress=told)
            manifest = _make(folder, spec, origin, source, told, located=located, recorded=recorded)
            if manifest.leak_warning:
                log(manifest.leak_warning)
        shutil.rmtree(scratch, ignore_errors=True)
        return manifest


def intact_manifest(
    workspace: Workspace, spec: DatasetSpec, log: Callable[[str], None], *, progress: Progress = silent
) -> Manifest | None:
    """The manifest of a pack that is of this source and specification and undamaged, else None; reads all of its files.

    `log` is called with one line for each thing a user should know.
    """
    try:
        manifest = read_manifest(workspace, spec)
        if manifest is not None:
            read = partial(progress, "checking the pack (MB)")
            check_files(_folder(workspace, spec), manifest.files, digests=True, progress=read)
    except CorruptFile as error:
        log(f"{error.message} The data set {spec.name} is made anew.")
        return None
    if manifest is not None and manifest.leak_warning:
        log(manifest.leak_warning)
    return manifest


def pack_bytes(spec: DatasetSpec) -> int:
    """Bytes of the training images of a pack, which are most of it, as far as the specification tells; 0 where it does not."""
    return (spec.num_train_images or 0) * (spec.image_size or 0) ** 2 * (spec.num_channels or 3)


def _make(
    folder: Path,
    spec: DatasetSpec,
    origin: Origin,
    source: ImageArrays,
    progress: Progress,
    *,
    located: Located | None,
    recorded: LockedContent | None,
) -> Manifest:
    train, test = source.train, source.test
    num_train, num_images = len(train.images), len(train.images) + len(test.images)

    def tell(what: str, num_before: int) -> Tell:
        return lambda num_done: progress(what, num_before + num_done, num_images)

    in_train = examine(train, tell=tell("examining images", 0))
    in_test = examine(test, tell=tell("examining images", num_train))
    num_leaked = count_shared(in_train.pixel_digests, in_test.pixel_digests)
    if is_own(spec):
        check_leak(num_leaked, len(test.images), name=spec.name)
    mean, std = channel_statistics(in_train.grey_counts)
    image_shape = train.images.shape[1:]
    manifest = Manifest(
        name=spec.name,
        image_size=image_shape[0],
        num_channels=1 if image_shape[2] == 1 else 3,
        num_classes=len(source.class_names),
        class_names=source.class_names,
        num_train=num_train,
        num_test=len(test.images),
        content_sha256=content_sha256_of(in_train.image_digests, in_test.image_digests, image_shape=image_shape),
        train_sha256=part_sha256(train) if located else None,
        test_sha256=part_sha256(test) if located else None,
        mean=mean,
        std=std,
        num_test_images_in_train=num_leaked,
        origin=origin,
        made_from=located.provenance if located else (),
        files=(),
    )
    if wrong := _contradictions(manifest, spec):
        raise DataError(
            f"The data set {spec.name} is not what its specification says: {'; '.join(wrong)}.",
            remedy="Restore the original source, or correct or leave out these fields if the new content is meant.",
        )
    if recorded and (manifest.train_sha256, manifest.test_sha256) != (recorded.train_sha256, recorded.test_sha256):
        raise DataError(
            f"The images of {spec.name} are not those of its first download, of {recorded.recorded_at} from {recorded.source}.",
            remedy="Get the files from another host; or, if the new content is meant, remove its entry in downloads/lock.json.",
        )
    with _staged(folder) as staging:
        ensure_space(staging, _size_bytes(train) + _size_bytes(test) + SMALL_FILES_BYTES, purpose=f"The data set {spec.name}")
        staging.mkdir(parents=True)
        entries = (
            *_write_part(staging, "train", train, in_train, tell("writing images", 0)),
            *_write_part(staging, "test", test, in_test, tell("writing images", num_train)),
        )
        complete = manifest.model_copy(update={"files": entries})
        write_document(staging / MANIFEST, complete)
        _swap(staging, folder)
    return complete


def _write_part(folder: Path, name: str, part: Part, contents: Contents, tell: Tell) -> tuple[FileEntry, FileEntry]:
    """Write images and labels of a part in canonical order."""
    order = canonical_order(contents.image_digests)
    images = write_array(folder / f"x_{name}.npy", part.images, order=order, tell=tell)
    return images, write_array(folder / f"y_{name}.npy", part.labels, order=order)


def _size_bytes(part: Part) -> int:
    return part.images.nbytes + part.labels.nbytes


def _told(progress: Progress, name: str, what: str, done: int, total: int) -> None:
    progress(f"{name}: {what}", done, total)


def _contradictions(manifest: Manifest, spec: DatasetSpec) -> list[str]:
    """What the specification states of the data set, and is not so."""
    stated = {
        "num_train_images": (spec.num_train_images, manifest.num_train),
        "image_size": (spec.image_size, manifest.image_size),
        "num_channels": (spec.num_channels, manifest.num_channels),
        "num_classes": (spec.num_classes, manifest.num_classes),
        "content_sha256": (spec.content_sha256, manifest.content_sha256),
        "train_sha256": (spec.train_sha256, manifest.train_sha256),
        "test_sha256": (spec.test_sha256, manifest.test_sha256),
    }
    return [f"{field} is {is_so}, not {said}" for field, (said, is_so) in stated.items() if said not in (None, is_so)]


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A path beside the pack's, free for a folder to be built there; whatever is left there at the end is removed."""
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
