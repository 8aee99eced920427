"""A user's own data set as an `.npz` file: x_train, y_train, x_test, y_test.

Every bad file ends here, before any training, with what is wrong, what is legal and what to do. Must not know where a pack
lies. Read `read_npz` first; folders are in `folder.py`.

Shape letters: N images, H height, W width, C channels.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.datasets.arrays import ImageArrays, Images, Labels, Part
from repro.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
SAVE = "np.savez(path, x_train=…, y_train=…, x_test=…, y_test=…)"
MAX_LEAKED_FRACTION = 0.01
"""Test images that also stand in the training part, above which one's own data set is refused."""
LEGAL = (
    "x_train and x_test are uint8 (N, H, W, C) or (N, H, W) with H = W and C = 1 or 3; y_train and y_test are whole numbers "
    "(N,) from 0 to the number of classes - 1"
)


def read_npz(path: Path) -> ImageArrays:
    """The arrays of an `.npz`, checked; grey images (N, H, W) become (N, H, W, 1). No pickled object is ever loaded.

    Raises DataError for a missing or unreadable file, a missing key, a wrong shape, type or range, parts that do not fit each
    other, labels that are not 0 … K-1 with a training image each, and a single class.
    """
    arrays = _load(path)
    parts = {}
    for name in ("train", "test"):
        images = _images(arrays[f"x_{name}"], where=f"x_{name} of {path}")
        labels = _labels(arrays[f"y_{name}"], where=f"y_{name} of {path}")
        if len(images) != len(labels):
            raise _bad(
                f"x_{name} of {path} holds {len(images)} images and y_{name} {len(labels)} labels.",
                "Give each image one label.",
            )
        parts[name] = Part(images=images, labels=labels)
    train, test = parts["train"], parts["test"]
    if train.images.shape[1:] != test.images.shape[1:]:
        raise _bad(
            f"In {path} training images have shape (H, W, C) = {train.images.shape[1:]}, test images {test.images.shape[1:]}.",
            "Bring both parts to one size and one number of channels.",
        )
    num_classes = _count_classes(train.labels, test.labels, path)
    return ImageArrays(train=train, test=test, class_names=tuple(str(label) for label in range(num_classes)))


def check_leak(num_leaked: int, num_test: int, *, name: str) -> None:
    """Raise DataError when more than 1 % of one's own test images also stand in the training part."""
    if num_leaked > MAX_LEAKED_FRACTION * num_test:
        raise DataError(
            f"{num_leaked} of the {num_test} test images of {name} ({num_leaked / num_test:.1%}) also stand in its training "
            f"part; at most {MAX_LEAKED_FRACTION:.0%} may.",
            remedy="Remove the duplicates from one of the parts: accuracy on images that were trained on says nothing.",
        )


def _load(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        with path.open("rb") as file:
            beginning = file.read(2)
            if beginning != b"PK":
                raise _bad(f"{path} is not an .npz archive: it begins with {beginning!r}, not b'PK'.", f"Save it with {SAVE}.")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                if missing := [key for key in KEYS if key not in archive.files]:
                    held = ", ".join(archive.files) or "nothing"
                    raise _bad(f"{path} lacks {', '.join(missing)}; it holds {held}.", "Add what is missing.")
                arrays = {key: archive[key] for key in KEYS}
    except FileNotFoundError as error:
        raise _bad(
            f"There is no file {path}.", "Correct `path` in the profile; it counts from the profile's folder."
        ) from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise _bad(
                f"{path} holds pickled Python objects, which are never loaded, since loading one can run any code.",
                "Save plain arrays: images of one size stacked to one uint8 array, labels as int64.",
            ) from error
        raise _unreadable(path, error) from error
    except (
        OSError,
        EOFError,
        KeyError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise _unreadable(path, error) from error
    if strangers := [key for key, values in arrays.items() if not isinstance(values, np.ndarray)]:
        raise _bad(f"{', '.join(strangers)} of {path} is not an array.", f"Save it with {SAVE}.")
    return arrays


def _images(values: npt.NDArray[np.generic], *, where: str) -> Images:
    if values.dtype != np.uint8:
        extremes = f" with values {values.min()} … {values.max()}" if values.size and values.dtype.kind in "biuf" else ""
        how = "(x * 255).round().astype(np.uint8) if they lie in 0 … 1" if values.dtype.kind == "f" else "x.astype(np.uint8)"
        raise _bad(
            f"{where} has type {values.dtype}{extremes}, not uint8.", f"Store grey values 0 … 255 as uint8, for instance {how}."
        )
    if values.ndim not in (3, 4):
        raise _bad(f"{where} has shape {values.shape}.", "Stack the images to (N, H, W, C), or (N, H, W) if they are grey.")
    if values.size == 0:
        raise _bad(f"{where} is empty: its shape is {values.shape}.", "Give at least one image a class.")
    images = values[..., None] if values.ndim == 3 else values
    _, height, width, channels = images.shape
    if values.ndim == 4 and values.shape[1] in (1, 3) and height != width:
        raise _bad(
            f"{where} has shape {values.shape}, which looks like channels first.", "Store np.transpose(x, (0, 2, 3, 1))."
        )
    if height != width:
        raise _bad(
            f"{where} holds images of {height}x{width} (shape {values.shape}), not square ones.", "Crop or pad them to squares."
        )
    if channels not in (1, 3):
        raise _bad(
            f"{where} holds images of {channels} channels (shape {values.shape}).", "Store 1 (grey) or 3 (RGB) channels."
        )
    return np.ascontiguousarray(images, dtype=np.uint8)


def _labels(values: npt.NDArray[np.generic], *, where: str) -> Labels:
    if values.ndim != 1:
        raise _bad(f"{where} has shape {values.shape}, not (N,).", "Store y.reshape(-1), or y.argmax(axis=1) if it is one-hot.")
    if values.dtype.kind not in "iu":
        raise _bad(f"{where} has type {values.dtype}, not a whole-number one.", "Store y.astype(np.int64).")
    if values.size and (int(values.min()) < 0 or int(values.max()) > np.iinfo(np.int64).max):
        raise _bad(f"{where} holds labels {values.min()} … {values.max()}.", "Number the classes from 0 without gaps.")
    return values.astype(np.int64)


def _count_classes(train: Labels, test: Labels, path: Path) -> int:
    present = np.unique(train)
    num_classes = int(present[-1]) + 1
    if len(present) != num_classes:
        gaps = [str(label) for label in _first_missing(present)]
        raise _bad(
            f"y_train of {path} goes up to {num_classes - 1}, but has no image of class {', '.join(gaps)}"
            f"{' and others' if num_classes - len(present) > len(gaps) else ''}.",
            "Number the classes from 0 without gaps (np.unique(y, return_inverse=True)[1]), with a training image each.",
        )
    if num_classes == 1:
        raise _bad(f"{path} has a single class.", "Give at least two classes.")
    unknown = np.unique(test[test >= num_classes])
    if len(unknown):
        raise _bad(
            f"y_test of {path} holds {int(unknown[0])}; the classes in y_train are 0 … {num_classes - 1}.",
            "Give every class in the test part training images, or remove it.",
        )
    return num_classes


def _first_missing(present: Labels, limit: int = 5) -> list[int]:
    """The first few numbers that are missing below the largest of the sorted, distinct labels."""
    edges = np.concatenate([[-1], present])
    missing: list[int] = []
    for before, after in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        missing.extend(range(before + 1, min(after, before + 1 + limit - len(missing))))
    return missing


def _bad(message: str, remedy: str) -> DataError:
    return DataError(message, remedy=f"{remedy} Legal: {LEGAL}.")


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read as an .npz file: {str(error) or type(error).__name__}.",
        remedy=f"Check the file's permissions; if it was cut off while copying, copy it again, else save it anew with {SAVE}.",
    )
