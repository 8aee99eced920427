"""What a cell writes beside its record: log, resumable state, weights; and the surroundings that the record tells.

Must not know how a cell trains. Read `resumable_state` first.
"""

import hashlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from repro import __version__
from repro.attempts import UNTOLD, Attempt, read_attempt, write_attempt
from repro.choices import PRECISION, Choice, chosen
from repro.errors import CorruptFile
from repro.hardware import processor_name, usable_cores
from repro.inside import INSIDE
from repro.messages import Job, Trial
from repro.records import EPOCHS, FAILURE, LAST, PREDICTIONS, RECORD, WEIGHTS, Environment, EpochRow
from repro.training.checkpoint import load_state, save_state
from repro.workspace import move_aside, write_atomically

LARGE_WEIGHTS_BYTES = 64 * 2**20
"""From here on a state is large, and its first one waits too."""
STATE_EVERY_S = 60.0
"""What a kill may cost at most, beside the interval that it falls into."""
STATE_PART = 400
"""One part in so many of the time may go into states, where they are not that old: a quarter of a per cent."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "matplotlib", "pillow")
"""Packages whose versions can change numbers."""


def describe_environment(job: Job | Trial) -> Environment:
    """Versions and hardware as the record keeps them."""
    return Environment(
        vitrepro=__version__,
        commit=job.commit,
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor_name(),
        num_cores=usable_cores(),
        device=job.device_name,
        driver=job.driver,
        command=job.command,
    )


class Log:
    """Appends timed lines to the cell's `log.txt`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{now()} {line}\n")


class StateKeeper:
    """Keeps what a killed cell goes on from: the first state that it is given, and then as many as a quarter of a per cent of
    the time suffices for, or one a minute; of a large model one a minute.

    ViT-B's state has 0.7 GB; written after every interval of a short run it would take longer than the training. On a GPU that
    makes an interval in a second, so it is with 0.1 GB.
    """

    def __init__(self, path: Path, fingerprint: str, model: nn.Module) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._is_large = sum(tensor.nbytes for tensor in model.state_dict().values()) > LARGE_WEIGHTS_BYTES
        self._written_at = time.monotonic()
        self._writing_s = 0.0

    def __call__(self, make_state: Callable[[], dict[str, Any]]) -> None:
        """Make the state and write it, or leave it."""
        due_after_s = STATE_EVERY_S if self._is_large else min(STATE_EVERY_S, STATE_PART * self._writing_s)
        started_at = time.monotonic()
        if started_at - self._written_at < due_after_s:
            return
        save_state(self._path, make_state(), fingerprint=self._fingerprint)
        self._written_at = time.monotonic()
        self._writing_s = self._written_at - started_at


def follower(log: Log, progress: Callable[[int], None]) -> Callable[[int, EpochRow], None]:
    """What the loop calls after each interval: logs the row, and passes the steps on."""

    def follow(step: int, row: EpochRow) -> None:
        log(f"step {step} loss {row.train_loss:.4f} training accuracy {row.train_accuracy:.4f}")
        progress(step)

    return follow


def resumable_state(folder: Path, fingerprint: str, log: Log) -> dict[str, object] | None:
    """What an interrupted run has left, or None; everything else that an earlier attempt has left is removed."""
    # What a killed worker was writing, and what belongs to an earlier result that is being redone.
    for path in (*folder.glob(".*.tmp"), *(folder / name for name in (FAILURE, RECORD, PREDICTIONS, EPOCHS, WEIGHTS, INSIDE))):
        path.unlink(missing_ok=True)
    try:
        state = load_state(folder / LAST, fingerprint=fingerprint)
    except CorruptFile as error:
        aside = move_aside(folder / LAST)
        log(f"{error.message} Moved to {aside.name}; the cell starts again.")
        print(f"{error.message} Moved to {aside.name}; the cell starts again.", file=sys.stderr)  # noqa: T201
        return None
    if state is not None:
        log(f"resumed after step {state['step']}")
    return state


def begin_attempt(folder: Path, job: Job, *, is_resumed: bool) -> tuple[Choice, ...]:
    """Note with what the cell is begun, and return what its record has to tell of the attempt that it goes on from."""
    before, precision = read_attempt(folder, job.fingerprint), chosen(job.choices, PRECISION)
    told: tuple[Choice, ...] = ()
    if is_resumed and before is None:
        told = (UNTOLD,)
    elif is_resumed and before and precision:
        told = before.first_steps(device=job.device_name, precision=precision.value)
    attempt = Attempt(
        fingerprint=job.fingerprint,
        device=job.device_name,
        processor=processor_name(),
        choices=(*job.choices, *told),
        started_at=now(),
    )
    write_attempt(folder, attempt)
    return told


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all weights as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, save(tensors))


def sha256_of(path: Path) -> str:
    """Digest of a file, read piece by piece: weights have gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """UTC time, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
