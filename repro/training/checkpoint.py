"""The resumable state of one training, `last.pt`.

Written at the end of every logging interval; a state that cannot be read, or is of another cell, counts as none. Must not know
what the state means. Read `load_state` first.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from repro.errors import CorruptFile
from repro.workspace import write_atomically


def save_state(path: Path, state: dict[str, Any], *, fingerprint: str) -> None:
    """Write the state atomically. Raises DiskFull."""
    # Through memory, because torch's own file writer turns a full disk into a RuntimeError. Not flushed to the disk: a state
    # that a power cut tears is found out when it is read, and costs this cell's progress only.
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    write_atomically(path, buffer.getvalue(), durable=False)


def load_state(path: Path, *, fingerprint: str) -> dict[str, Any] | None:
    """The state that `save_state` wrote, on the CPU, or None if there is none. Raises CorruptFile.

    Loaded with `weights_only=True`: tensors and plain values, never code.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise _corrupt(path, " ".join(str(error).split())[:200]) from error
    if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
        raise _corrupt(path, "it belongs to another cell")
    return state


def _corrupt(path: Path, detail: str) -> CorruptFile:
    return CorruptFile(f"{path} cannot be read: {detail}.", remedy="It is moved aside and the cell starts again.")
