"""What a finished cell leaves on disk: record, failure, predictions, training log. The one place that reads and writes them.

Reading is strict: unknown or missing keys and another schema version raise CorruptFile. `record.json` is written last; that
it exists means the cell is done. Must not know how a cell is run or what its numbers mean. Read `Record` first.
"""

import hashlib
import zipfile
import zlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from repro import documents
from repro.attempts import ATTEMPT
from repro.choices import Choice
from repro.documents import one_line, read_document, write_document
from repro.errors import CorruptFile
from repro.inside import InsideNumbers
from repro.spec import Cell, Spec
from repro.workspace import replacing, write_atomically

RECORD = "record.json"
FAILURE = "failure.json"
PREDICTIONS = "predictions.npz"
EPOCHS = "epochs.jsonl"
WEIGHTS = "weights.safetensors"
LAST = "last.pt"
LOG = "log.txt"
REMEDY = "`vitrepro run` moves it aside and runs that cell again; everything else is kept."

Accuracy = Annotated[float, Field(ge=0, le=1)]


class CellStatus(StrEnum):
    """How far a cell has come."""

    DONE = "done"
    FAILED = "failed"
    PENDING = "pending"
    UNFETCHED = "unfetched"
    BLOCKED = "blocked"


class Environment(Spec):
    """Where and with what a cell was run."""

    vitrepro: str
    """Version of this kit."""
    commit: str | None
    """Commit of the source tree, `+changes` appended where it was not clean; None outside a git checkout."""
    python: str
    """Version of Python."""
    packages: dict[str, str]
    """Versions of the packages that decide numbers."""
    platform: str
    """Operating system and machine type."""
    processor: str
    """Name of the CPU."""
    num_cores: int
    """Cores that the process may use."""
    device: str
    """`cpu` or the name of the GPU."""
    driver: str | None
    """Version of the NVIDIA driver, if any."""
    command: str
    """The command line that started the run."""


class Record(Spec):
    """The result of one finished cell."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    cell: Cell
    """What was run, fully resolved."""
    fingerprint: str
    """64 hex digits; see `Cell.fingerprint`."""
    upstream_fingerprint: str | None
    """Fingerprint of the upstream cell whose weights it started from."""
    weights_sha256: str | None = None
    """Digest of the file of published weights that it started from."""
    data_sha256: str
    """Content digest of the data set."""
    subset_sha256: str
    """Digest of the indices of the training subset."""
    num_classes: int
    """Classes of the data set."""
    num_test_images: int
    """Images in the test set."""
    test_accuracy: Accuracy | None
    """Fraction of test images classified correctly, evaluated once after the last step; None in a search for a rate."""
    test_loss: float | None
    """Mean cross-entropy on the test set, in nats; None with `test_accuracy`."""
    train_accuracy: Accuracy | None
    """Fraction of the training subset (a sample of at most 10,000) classified correctly by the final weights, unaugmented; None
    in a search for a rate."""
    train_loss: float | None
    """Mean cross-entropy on the same images by the final weights, in nats; None with `train_accuracy`."""
    dev_accuracy: Accuracy | None
    """Accuracy on the dev split by the final weights, where one was held out."""
    selected_step: int
    """Step whose weights count (the last one unless the recipe selects on the dev split)."""
    lr: float | None = None
    """Peak learning rate that it was trained with; None in records of versions that had no search for it."""
    diverged: str = ""
    """In a search for a rate: why training was given up; then nothing is measured, and the rate is not chosen."""
    num_parameters: int
    """Trainable parameters."""
    forward_macs: int
    """Multiply-adds of one image's forward pass, attention included."""
    train_flops: float
    """Floating-point operations of the whole training: 6 x multiply-adds x images seen."""
    wall_s: float
    """Seconds of training, evaluation excluded, over all parts of a resumed cell."""
    total_s: float
    """Seconds of the cell with data loading, evaluation and writing."""
    energy_j: float | None
    """Joules that the GPU took during training by NVML's counter; None where there is none."""
    peak_mem_bytes: int | None
    """Peak memory: allocated on the GPU, or resident in the worker process (which earlier cells may have raised)."""
    device_shared: bool
    """Whether other cells ran on the same device at the same time; seconds and joules are then not this cell's alone."""
    resumed_from_step: int | None
    """Step from which an interrupted cell went on; None if it ran undisturbed."""
    seeds: dict[str, int]
    """The derived seeds by purpose."""
    choices: tuple[Choice, ...]
    """What was chosen automatically."""
    environment: Environment
    """Versions and hardware."""
    started_at: str
    """UTC time of the start, ISO 8601."""
    finished_at: str
    """UTC time of the end, ISO 8601."""
    files_sha256: dict[str, str]
    """Digests of the other files of the cell."""
    inside: InsideNumbers | None = None
    """What the trained ViT looks like from within; None where it was not looked into."""


class Failure(Spec):
    """Why a cell did not finish; the next run tries it again."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    cell_id: str
    """Readable id."""
    fingerprint: str
    """64 hex digits."""
    kind: str
    """Name of the exception, or `WorkerDied`."""
    message: str
    """What went wrong."""
    remedy: str
    """What to do next."""
    traceback: str
    """The traceback, for a report to the developers; empty for expected problems."""
    failed_at: str
    """UTC time, ISO 8601."""
    device_shared: bool = False
    """Whether other cells ran on the same device at the same time; one that ran out of memory then is tried alone next."""


class EpochRow(Spec):
    """One line of `epochs.jsonl`: training (and dev) numbers of one logging interval; never test numbers."""

    step: int
    """Optimizer steps done."""
    epoch: float
    """Passes over the training subset done."""
    lr: float
    """Learning rate of the last step."""
    train_loss: float
    """Mean training loss over the interval, as optimised (augmented, smoothed), in nats."""
    train_accuracy: Accuracy
    """Fraction of the interval's training images classified correctly while training."""
    dev_loss: float | None
    """Mean cross-entropy on the dev split, where one is held out."""
    dev_accuracy: Accuracy | None
    """Accuracy on the dev split, where one is held out."""
    elapsed_s: float
    """Training seconds so far."""


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json`, last of all files, and drop what only an unfinished cell needs."""
    write_document(folder / RECORD, record)
    for name in (FAILURE, LAST, ATTEMPT):
        (folder / name).unlink(missing_ok=True)


def read_record(folder: Path) -> Record | None:
    """The record of a finished cell, or None. Raises CorruptFile."""
    return read_document(folder / RECORD, Record, remedy=REMEDY)


def read_finished(folder: Path, fingerprint: str) -> Record | None:
    """The record of a cell that is done, or None; done means that record and test predictions are there and intact.

    Raises CorruptFile when they are not, or when the record is of another cell.
    """
    record = read_record(folder)
    if record is None:
        return None
    if record.fingerprint != fingerprint:
        raise corrupt(folder / RECORD, f"it belongs to the cell with fingerprint {record.fingerprint[:12]}…")
    if record.test_accuracy is not None:
        check_file(folder, record, PREDICTIONS)
    return record


def write_failure(folder: Path, failure: Failure) -> None:
    """Write `failure.json`."""
    write_document(folder / FAILURE, failure)


def read_failure(folder: Path) -> Failure | None:
    """Why the cell failed, or None. Raises CorruptFile."""
    return read_document(folder / FAILURE, Failure, remedy=REMEDY)


def write_predictions(folder: Path, *, labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> None:
    """Write true and predicted classes of the test images, both (N,), in the data set's own order."""
    with replacing(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, labels=labels.astype(np.int32), predicted=predicted.astype(np.int32))


def read_predictions(folder: Path) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Labels and predicted classes, both int32 (N,). Raises CorruptFile."""
    path = folder / PREDICTIONS
    try:
        # Opened here, because np.load leaves a file that it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            labels, predicted = archive["labels"], archive["predicted"]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise corrupt(path, str(error)) from error
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise corrupt(path, f"labels {labels.shape} and predictions {predicted.shape} do not match")
    return labels, predicted


def check_file(folder: Path, record: Record, name: str) -> None:
    """Raise CorruptFile unless the cell's file `name` is there with the content that the record tells."""
    path, told = folder / name, record.files_sha256.get(name)
    if told is None:
        raise corrupt(path, "the record does not know it")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise corrupt(path, error.strerror or str(error)) from error
    if found != told:
        raise corrupt(path, "its sha256 is not that of the record")


def read_epochs(folder: Path) -> list[EpochRow]:
    """The rows of `epochs.jsonl`, empty if there is none. Raises CorruptFile."""
    path = folder / EPOCHS
    if not path.exists():
        return []
    try:
        return [EpochRow.model_validate_json(line) for line in path.read_text().splitlines()]
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise corrupt(path, one_line(error)) from error


def write_epochs(folder: Path, rows: list[EpochRow]) -> None:
    """Write all rows of `epochs.jsonl`."""
    write_atomically(folder / EPOCHS, "".join(row.model_dump_json() + "\n" for row in rows))


def corrupt(path: Path, detail: str) -> CorruptFile:
    """The error for a file of a cell that is not what it should be."""
    return documents.corrupt(path, detail, remedy=REMEDY)
