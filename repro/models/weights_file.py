"""Reads a file of weights: safetensors, or what torch.save wrote, without ever running what it holds.

What the file is shows in its first bytes; its name may say anything. Must not know models. Read `read_weights` first.
"""

import argparse
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from repro.errors import CorruptFile
from repro.models.quiet import quietly

CONTAINERS = ("model", "state_dict", "model_state_dict")
"""Under which key training scripts keep the weights beside other things; DeiT's files have `model`."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
MAX_NESTING = 3
"""Containers within containers that are opened; a hostile file may hold itself."""
BREAKAGES = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
)
"""What torch raises for files that are cut off or were never its own."""
REMEDY = "Delete the file and fetch it again, or name another one: .safetensors, or a .pth with nothing but tensors."


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, taken out of the usual containers.

    Raises CorruptFile for a file that cannot be read, is something else, would have to run code, or holds no tensors or
    numbers that are not finite.
    """
    start = _start_of(path)
    is_zip = start.startswith(b"PK\x03\x04")
    is_torch = not _is_safetensors(start) and (is_zip or start.startswith(b"\x80"))
    loaded = _load_torch(path, is_zip=is_zip) if is_torch else _load_safetensors(path)
    for _ in range(MAX_NESTING):
        inner = next((loaded[key] for key in CONTAINERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    tensors = {str(name): tensor.detach() for name, tensor in loaded.items() if isinstance(tensor, Tensor)}
    if not tensors:
        held = ", ".join(sorted(map(str, loaded))[:5]) or "nothing"
        raise CorruptFile(f"{path} holds no tensors by name; it holds {held}.", remedy=REMEDY)
    for wrapper in WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if flaw := _flaw_of(tensor):
            raise CorruptFile(f"{path} holds {flaw} in {name}.", remedy=REMEDY)
    return tensors


def _start_of(path: Path) -> bytes:
    """The first bytes. Raises CorruptFile for what is plainly no file of weights."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error.strerror or error}.", remedy=REMEDY) from error
    if not start:
        raise CorruptFile(f"{path} is empty.", remedy=REMEDY)
    if start.lstrip().startswith(b"<") and not _is_safetensors(start):
        raise CorruptFile(f"{path} is a web page, not weights.", remedy=REMEDY)
    if start.startswith(b"version https://git-lfs"):
        raise CorruptFile(f"{path} only points to weights that Git LFS keeps elsewhere.", remedy=REMEDY)
    return start


def _is_safetensors(start: bytes) -> bool:
    """A length comes first, whose bytes may look like anything, then JSON."""
    return start[8:9] == b"{"


def _load_safetensors(path: Path) -> Mapping[Any, Any]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, *BREAKAGES) as error:
        raise CorruptFile(
            f"{path} cannot be read as safetensors, it is cut off or something else: {_in_short(error)}.", remedy=REMEDY
        ) from error


def _load_torch(path: Path, *, is_zip: bool) -> Mapping[Any, Any]:
    try:
        # DeiT's training script keeps its options beside the weights; a Namespace holds values and does nothing.
        with quietly(), torch.serialization.safe_globals([argparse.Namespace]):
            if is_zip and path.suffix != ".safetensors":
                loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            else:  # by the open file: torch goes by the name
                with path.open("rb") as file:
                    loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *BREAKAGES) as error:
        if found := re.search(r"GLOBAL ([\w.]*)|TorchScript", str(error)):
            code = f" ({found[1]})" if found[1] else ""
            cut_off = "" if is_zip else ", or is cut off"
            raise CorruptFile(f"{path} holds code{code}, which the kit does not run{cut_off}.", remedy=REMEDY) from error
        raise CorruptFile(
            f"{path} cannot be read as tensors of torch, it is cut off or something else: {_in_short(error)}.", remedy=REMEDY
        ) from error
    return loaded if isinstance(loaded, Mapping) else {f"a {type(loaded).__name__}": None}


def _flaw_of(tensor: Tensor) -> str | None:
    """What makes a tensor useless as a weight, or None."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        return "something other than plain numbers"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "fewer numbers than it promises"
    if tensor.is_floating_point() and not (tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all():
        return "numbers that are not finite"
    return None


def _in_short(error: Exception) -> str:
    """The part of an error's text that says what is wrong; torch surrounds it with advice to trust the file."""
    text = str(error)
    found = re.search(r"WeightsUnpickler error:\s+([^\n]+)", text)
    line = found[1] if found else text.strip().partition("\n")[0]
    return line.partition(". ")[0].strip().rstrip(".")[:200] or type(error).__name__
