"""From the names that a file of weights uses to those of the module that takes them, position embeddings resized on the way.

timm knows what its authors' files look like; its own functions are asked. Must not know files. Read `mapped_weights` first.
"""

import inspect
import re
import sys
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.libraries import import_timm
from repro.models.library_models import REFUSALS
from repro.models.names import LibraryName, parse_library_name
from repro.models.quiet import quietly
from repro.spec import ModelSpec

TIMM_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
"""What timm's modules call the function that maps names."""
FILTER_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("deit", {"adapt_layer_scale": True}),
    ("flexivit", {"interpolation": "bilinear", "antialias": False}),
)
"""What timm passes to it, by the beginning of the architecture's name."""
PATCHES = ("patch_embed.proj.weight", "visual.conv1.weight")
"""How the name of the patch projection ends, in timm's and in CLIP's files."""
TORCHVISION_POSITIONS = "encoder.pos_embedding"
"""The position embedding of torchvision's ViTs, class token first: (1, 1 + patches, width)."""


class Unmappable(Exception):
    """The file is of another architecture; the text says why."""


def mapped_weights(model: nn.Module, spec: ModelSpec, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that `model` has for them; what it has no names for keeps its own.

    Only position embeddings and position biases change their shape, where the image size is another. Raises Unmappable.
    """
    if spec.library_name is None:
        return tensors
    name = parse_library_name(spec.library_name)
    try:
        with quietly(), torch.no_grad():
            if name.library == "timm":
                return _by_timm(model, name, dict(tensors))
            return _for_torchvision(model, name, dict(tensors))
    except REFUSALS as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        raise Unmappable(
            f"{name.library} does not know its names, {', '.join(list(tensors)[:3])} and so on ({reason})"
        ) from error


def _by_timm(model: nn.Module, name: LibraryName, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # timm would resize these too; but a network with other patches is another architecture.
    own = getattr(getattr(getattr(model, "patch_embed", None), "proj", None), "weight", None)
    if own is not None and own.ndim == 4:
        for key, tensor in tensors.items():
            if key.endswith(PATCHES) and tensor.ndim == 4 and tensor.shape[2:] != own.shape[2:]:
                raise Unmappable(f"{key} is {tuple(tensor.shape)} instead of {tuple(own.shape)}")
    module = sys.modules[import_timm().models.model_entrypoint(name.architecture).__module__]
    function = next((found for one in TIMM_FILTERS if (found := getattr(module, one, None))), None)
    if function is None:
        return tensors
    options = next((options for start, options in FILTER_OPTIONS if name.architecture.startswith(start)), {})
    takes_model = len(inspect.signature(function).parameters) > 1
    found = function(tensors, model, **options) if takes_model else function(tensors)
    return {key: tensor for key, tensor in found.items() if isinstance(tensor, Tensor)}


def _for_torchvision(model: nn.Module, name: LibraryName, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if name.architecture.startswith("densenet"):  # the published files are older than today's names
        tensors = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): one for key, one in tensors.items()}
    own = model.state_dict().get(TORCHVISION_POSITIONS)
    if own is not None and TORCHVISION_POSITIONS in tensors:
        side = round((own.shape[1] - 1) ** 0.5)
        resample = import_timm().layers.resample_abs_pos_embed
        tensors[TORCHVISION_POSITIONS] = resample(tensors[TORCHVISION_POSITIONS], new_size=(side, side), num_prefix_tokens=1)
    return tensors
