"""From a data set's specification to its source: which reader, and in what state the source is. A new kind is added here.

Must not know where a pack lies. Read `read_source` first.
"""

from pathlib import Path

from repro.datasets import digits, folder, formats, glyphs, own
from repro.datasets.arrays import ImageArrays
from repro.datasets.chunks import Progress
from repro.datasets.located import Located
from repro.datasets.manifest import Origin
from repro.download.locks import content_key
from repro.errors import DataError
from repro.spec import DatasetSource, DatasetSpec

OWN = (DatasetSource.NPZ, DatasetSource.FOLDER)


def read_source(spec: DatasetSpec, *, located: Located | None, scratch: Path, progress: Progress) -> ImageArrays:
    """All images of a data set, in the source's order; `located` are the files of one that is fetched.

    What may be too large for memory is written to the folder `scratch` and mapped; the caller removes it. Raises DataError for
    anything that cannot be used.
    """
    try:
        match source_of(spec):
            case DatasetSource.DIGITS:
                return digits.read_digits()
            case DatasetSource.GLYPHS:
                return glyphs.draw_glyphs(_num_glyphs(spec))
            case DatasetSource.FETCHED:
                if located is None:
                    raise DataError(
                        f"The data set {spec.name} is not in the home.",
                        remedy="Run `vitrepro fetch` with the same profile and home.",
                    )
                return formats.read_files(
                    located.format, located.paths, image_size=spec.image_size, official=located.is_official
                )
            case DatasetSource.NPZ:
                return own.read_npz(_path(spec))
            case DatasetSource.FOLDER:
                return folder.read_folder(_path(spec), image_size=spec.image_size, scratch=scratch, progress=progress)
    except OSError as error:
        raise _unreachable(spec, error) from error


def source_of(spec: DatasetSpec) -> DatasetSource:
    """The kind of source, from `source`, else from `distribution` or `path`. Raises DataError where they do not fit."""
    if spec.distribution:
        return DatasetSource.FETCHED
    if spec.source is not None:
        if spec.path is not None and spec.source not in OWN:
            raise DataError(
                f"The data set {spec.name} gives a path, which the source {spec.source.value} does not use.",
                remedy='Leave path out, or give source = "npz" or "folder".',
            )
        return spec.source
    path = _path(spec)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise _unreachable(spec, error) from error
    if path.suffix.lower() == ".npz" and not is_folder:
        return DatasetSource.NPZ
    if is_file:
        raise DataError(
            f"{path}, the path of the data set {spec.name}, is neither an .npz file nor a folder.",
            remedy="Give an .npz with x_train, y_train, x_test, y_test, or a folder train/<class>/…, test/<class>/….",
        )
    return DatasetSource.FOLDER


def is_own(spec: DatasetSpec) -> bool:
    """Whether a data set is the user's own file or folder."""
    return source_of(spec) in OWN


def current_origin(spec: DatasetSpec) -> Origin:
    """The source as it is now; its state is None where it is not there or cannot be looked at."""
    source = source_of(spec)
    try:
        state = _state(source, spec)
    except OSError:
        state = None
    path = str(_path(spec).absolute()) if source in OWN else None
    resized_to = spec.image_size if source is DatasetSource.FOLDER else None
    return Origin(source=source, path=path, image_size=resized_to, state=state)


def _state(source: DatasetSource, spec: DatasetSpec) -> str | None:
    match source:
        case DatasetSource.DIGITS:
            return digits.VERSION
        case DatasetSource.GLYPHS:
            return f"{glyphs.VERSION}, {_num_glyphs(spec)} + {glyphs.NUM_TEST} images, seed {glyphs.SEED}"
        case DatasetSource.FETCHED:
            # Whatever mirror the files came from, they hold the same images.
            return content_key(spec)
        case DatasetSource.NPZ:
            status = _path(spec).stat()
            return f"{status.st_size} bytes, mtime_ns {status.st_mtime_ns}"
        case DatasetSource.FOLDER:
            return folder.listing_sha256(_path(spec)) if _path(spec).is_dir() else None


def _num_glyphs(spec: DatasetSpec) -> int:
    num_train = spec.num_train_images or glyphs.NUM_TRAIN
    if num_train < len(glyphs.CLASS_NAMES):
        raise DataError(
            f"num_train_images = {num_train} for the data set {spec.name} is fewer than its {len(glyphs.CLASS_NAMES)} classes.",
            remedy=f"Give at least {len(glyphs.CLASS_NAMES)}.",
        )
    return num_train


def _path(spec: DatasetSpec) -> Path:
    if spec.path is None:
        raise DataError(
            f"The data set {spec.name} gives neither a path nor a source that the kit makes itself.",
            remedy='Give path = "FILE.npz" or a folder, or source = "digits" or "glyphs".',
        )
    return spec.path


def _unreachable(spec: DatasetSpec, error: OSError) -> DataError:
    return DataError(
        f"The source of the data set {spec.name} cannot be read: {error.strerror or error}: {error.filename or spec.path}.",
        remedy="Make it, and the folders above it, readable for this user.",
    )
