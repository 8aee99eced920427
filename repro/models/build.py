"""From a ModelSpec to a module with seeded weights, and back from weights that were trained here.

Must not know recipes, data sets or devices. Read `build_model` first.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from repro.errors import CorruptFile
from repro.models.heads import head_of
from repro.models.library_models import build_library_model, refuse_uneven_patches
from repro.models.resnet import ResNet, initialise_resnet
from repro.models.vit import VisionTransformer, initialise_vit
from repro.spec import ModelSpec

LIBRARY_CHANNELS = 3
"""What the libraries' published weights take."""


def build_model(
    spec: ModelSpec, *, image_size: int, num_channels: int, num_classes: int, generator: torch.Generator
) -> nn.Module:
    """The architecture for images (B, num_channels, image_size, image_size), on the CPU, with weights drawn from `generator`.

    Its head is zero (paper, appendix B.1.1). Raises ProfileError if there is no such architecture or it cannot take such
    images.
    """
    if spec.library_name is not None:
        return build_library_model(
            spec, image_size=image_size, num_channels=num_channels, num_classes=num_classes, generator=generator
        )
    if spec.patch_size is not None:
        refuse_uneven_patches(spec, patch=spec.patch_size, image_size=image_size)
    model = inhouse_model(spec, image_size=image_size, num_channels=num_channels, num_classes=num_classes)
    if isinstance(model, VisionTransformer):
        initialise_vit(model, generator=generator)
    else:
        initialise_resnet(model, generator=generator)
    return model


def channels_of(spec: ModelSpec, num_channels: int) -> int:
    """Channels that the model is given of images with `num_channels`: the libraries' models take three, grey is repeated."""
    return num_channels if spec.library_name is None else LIBRARY_CHANNELS


def inhouse_model(spec: ModelSpec, *, image_size: int, num_channels: int, num_classes: int) -> VisionTransformer | ResNet:
    """The kit's own architecture, with weights that mean nothing yet."""
    if spec.family == "vit":
        assert spec.patch_size and spec.width and spec.depth and spec.num_heads
        return VisionTransformer(
            image_size=image_size,
            patch_size=spec.patch_size,
            num_channels=num_channels,
            num_classes=num_classes,
            width=spec.width,
            depth=spec.depth,
            num_heads=spec.num_heads,
        )
    return ResNet(
        num_channels=num_channels, num_classes=num_classes, stage_widths=spec.stage_widths, stage_depths=spec.stage_depths
    )


def load_backbone(model: nn.Module, weights: Path) -> None:
    """Take every weight except the head from a safetensors file of an upstream cell; the head keeps its zeros.

    Raises CorruptFile when the file cannot be read or is of another architecture.
    """
    try:
        stored = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CorruptFile(f"{weights} cannot be read: {error}.", remedy="Run the upstream cell again: --force.") from error
    head = f"{head_of(model)}."
    own = model.state_dict()
    backbone: dict[str, Tensor] = {name: tensor for name, tensor in stored.items() if not name.startswith(head)}
    wanted = {name for name in own if not name.startswith(head)}
    misfits = sorted(wanted ^ backbone.keys()) + sorted(
        n for n in wanted & backbone.keys() if own[n].shape != backbone[n].shape
    )
    if misfits:
        raise CorruptFile(
            f"{weights} holds other weights than the model needs: {', '.join(misfits[:5])}.",
            remedy="Upstream and downstream data need the same image size and number of channels.",
        )
    model.load_state_dict(own | backbone)
