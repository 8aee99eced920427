"""Published weights: into a model, or looked into; and, from `repro.models.library_facts`, where they lie and what they want.

A file is taken whole or refused: nothing may be missing, left over or of another shape but its classifier, and nothing random
stands in for it. Must not know the network. Read `load_published` first, then `inspect_weights`.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import CorruptFile
from repro.models.build import inhouse_model
from repro.models.heads import head_of
from repro.models.key_mapping import TORCHVISION_POSITIONS, Unmappable, mapped_weights
from repro.models.library_facts import LibraryCheckpoint, input_from_config, library_checkpoint, library_input
from repro.models.library_models import skeleton
from repro.models.weights_file import read_weights
from repro.spec import ModelSpec

__all__ = [
    "Inspection",
    "LibraryCheckpoint",
    "input_from_config",
    "inspect_weights",
    "library_checkpoint",
    "library_input",
    "load_published",
    "read_weights",
]

COUNTERS = "num_batches_tracked"
"""BatchNorm's count of its batches: older files lack it, and no number depends on it."""
HARMLESS = ("pre_logits.",)
"""How the names of tensors begin that belong to a classifier of before fine-tuning (paper, section 3.1: a hidden layer)."""
MAX_DIFFERENCES = 3
"""So many of each kind are named where a file does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file of weights holds."""

    content_sha256: str
    """64 hex digits over names, types, shapes and numbers as the model has them, so that two formats of one set agree."""
    num_parameters: int
    """Parameters, with those of the file's own classifier."""
    num_classes: int
    """Classes of that classifier; 0 where the file has none."""


def load_published(model: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Fill all of a model that `build_model` made but its head, which stays zero (paper, appendix B.1.1).

    Position embeddings of another image size are interpolated in two dimensions (section 3.2), except in-house, where sizes
    must agree. Raises CorruptFile if the file cannot be read or is of another architecture.
    """
    _fill(model, spec, read_weights(path), path)


def inspect_weights(path: Path, spec: ModelSpec) -> Inspection:
    """Hold a file to the architecture that it is said to be of, at its own image size and with its own classes.

    Raises CorruptFile if it cannot be read or is of another architecture.
    """
    tensors = read_weights(path)
    try:
        model = _skeleton_for(spec, tensors)
    except (KeyError, ValueError, IndexError) as error:
        raise _misfit(path, spec, f"{error} is missing or of another shape") from error
    own_head = _fill(model, spec, tensors, path, replaces=True)
    prefix = f"{head_of(model)}."
    backbone = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(prefix)}
    parameters = (one for name, one in model.named_parameters() if not name.startswith(prefix))
    weight = own_head.get(f"{prefix}weight")
    return Inspection(
        content_sha256=_digest(backbone | own_head),
        num_parameters=sum(one.numel() for one in parameters) + sum(one.numel() for one in own_head.values()),
        num_classes=0 if weight is None else len(weight),
    )


def _fill(
    model: nn.Module, spec: ModelSpec, tensors: dict[str, Tensor], path: Path, *, replaces: bool = False
) -> dict[str, Tensor]:
    """Copy a file's weights, or put its tensors in place of the model's; returns those of the file's own classifier."""
    try:
        mapped = mapped_weights(model, spec, tensors)
    except Unmappable as error:
        raise _misfit(path, spec, str(error)) from error
    prefix = f"{head_of(model)}."
    wanted = model.state_dict()
    own_head = {name: tensor for name, tensor in wanted.items() if name.startswith(prefix)}
    file_head = {name: tensor for name, tensor in mapped.items() if name.startswith(prefix)}
    backbone = {name: one for name, one in mapped.items() if name not in file_head and not name.startswith(HARMLESS)}
    others = _other_shapes(backbone, wanted) + _head_differences(file_head, own_head)
    if not others:
        try:
            # torch's modules know the names that their older selves gave them, so they are asked rather than a list.
            result = model.load_state_dict(_as_saved(backbone | own_head, model), strict=False, assign=replaces)
        except RuntimeError as error:
            others = str(error).strip().splitlines()[1:]
        else:
            missing = [name for name in result.missing_keys if not name.endswith(COUNTERS)]
            others = _named("missing", missing) + _named("left over", result.unexpected_keys)
    if others:
        raise _misfit(path, spec, "; ".join(one.strip() for one in others[:MAX_DIFFERENCES]))
    return file_head


def _as_saved(tensors: Mapping[str, Tensor], model: nn.Module) -> OrderedDict[str, Tensor]:
    """With the version of the whole, on which torchvision's MNASNet insists, and of no part: those then try old names."""
    state: Any = OrderedDict(tensors)
    state._metadata = OrderedDict({"": {"version": model._version}})
    found: OrderedDict[str, Tensor] = state
    return found


def _other_shapes(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].shape != tensor.shape
    ]


def _head_differences(file_head: Mapping[str, Tensor], own_head: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with a file's classifier, its number of classes apart; that it has none is not."""
    if not file_head:
        return []
    names = _named("missing", sorted(own_head.keys() - file_head)) + _named("left over", sorted(file_head.keys() - own_head))
    sizes = {tensor.shape[:1] for tensor in file_head.values()}
    return names + [
        f"{name} is {tuple(tensor.shape)} instead of (classes, {', '.join(map(str, own_head[name].shape[1:]))})"
        for name, tensor in file_head.items()
        if name in own_head and (tensor.shape[1:] != own_head[name].shape[1:] or len(sizes) > 1)
    ]


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MAX_DIFFERENCES} more" if len(names) > MAX_DIFFERENCES else ""
    return [f"{what}: {', '.join(names[:MAX_DIFFERENCES])}{more}"]


def _misfit(path: Path, spec: ModelSpec, differences: str) -> CorruptFile:
    return CorruptFile(
        f"{path} holds weights of another architecture than {spec.name}: {differences}.",
        remedy="Name the model that the file was made for, or another file. Where only sizes differ that follow from the image "
        "size, this architecture's weights stay with the one they were trained at: set image_size to it.",
    )


def _skeleton_for(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The architecture at the image size of the weights, without numbers."""
    if spec.library_name is None:
        with torch.device("meta"):
            return _inhouse_for(spec, tensors)
    model = skeleton(spec, image_size=None, num_channels=3, num_classes=1)
    image_size = _image_size_of(model, tensors)
    return model if image_size is None else skeleton(spec, image_size=image_size, num_channels=3, num_classes=1)


def _inhouse_for(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    if spec.family == "cnn":
        return inhouse_model(spec, image_size=1, num_channels=tensors["conv1.weight"].shape[1], num_classes=1)
    assert spec.patch_size
    side = math.isqrt(tensors["pos_embed"].shape[1] - 1)
    num_channels = tensors["patch_embed.proj.weight"].shape[1]
    return inhouse_model(spec, image_size=side * spec.patch_size, num_channels=num_channels, num_classes=1)


def _image_size_of(model: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """Side of the images that a ViT's weights were trained on, by their positions; None where `model` has as many."""
    for positions, projection in (("pos_embed", "patch_embed.proj"), (TORCHVISION_POSITIONS, "conv_proj")):
        ours, theirs = model.state_dict().get(positions), tensors.get(positions)
        patches = dict(model.named_modules()).get(projection)
        if ours is None or theirs is None or theirs.ndim < 2 or not isinstance(patches, nn.Conv2d):
            continue
        num_patches = getattr(getattr(model, "patch_embed", None), "num_patches", ours.shape[1] - 1)
        side = math.isqrt(max(theirs.shape[1] - (ours.shape[1] - num_patches), 0))
        if side and theirs.shape[1] != ours.shape[1]:
            return side * patches.kernel_size[0]
    return None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.endswith(COUNTERS):
            continue
        tensor = tensors[name].detach()
        plain = (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().numpy().data)
    return digest.hexdigest()
