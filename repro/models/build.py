"""From a ModelSpec to a module with seeded weights, and back from stored weights.

Must not know recipes, data sets or devices. Read `build_model` first.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from repro.errors import CorruptFile, ProfileError
from repro.models.resnet import ResNet, initialise_resnet
from repro.models.vit import VisionTransformer, initialise_vit
from repro.spec import ModelSpec

HEAD_PREFIXES = ("head.", "fc.")
"""How the classifier's parameters begin, in the ViT and in the ResNet."""


def build_model(
    spec: ModelSpec, *, image_size: int, num_channels: int, num_classes: int, generator: torch.Generator
) -> VisionTransformer | ResNet:
    """The architecture for images (B, num_channels, image_size, image_size), on the CPU, with weights drawn from `generator`.

    Raises ProfileError if the architecture cannot take such images.
    """
    if spec.family == "vit":
        assert spec.patch_size and spec.width and spec.depth and spec.num_heads
        if image_size % spec.patch_size:
            raise ProfileError(
                f"{spec.name} cuts patches of {spec.patch_size} px, which do not fit images of {image_size} px.",
                remedy=f"Use a model whose patch_size divides {image_size}, or resize the data set with image_size.",
            )
        vit = VisionTransformer(
            image_size=image_size,
            patch_size=spec.patch_size,
            num_channels=num_channels,
            num_classes=num_classes,
            width=spec.width,
            depth=spec.depth,
            num_heads=spec.num_heads,
        )
        initialise_vit(vit, generator=generator)
        return vit
    resnet = ResNet(
        num_channels=num_channels, num_classes=num_classes, stage_widths=spec.stage_widths, stage_depths=spec.stage_depths
    )
    initialise_resnet(resnet, generator=generator)
    return resnet


def load_backbone(model: nn.Module, weights: Path) -> None:
    """Take every weight except the head from a safetensors file; the head keeps its zeros (paper, appendix B.1.1).

    Raises CorruptFile when the file cannot be read or is of another architecture.
    """
    try:
        stored = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CorruptFile(f"{weights} cannot be read: {error}.", remedy="Run the upstream cell again: --force.") from error
    own = model.state_dict()
    backbone = {name: tensor for name, tensor in stored.items() if not name.startswith(HEAD_PREFIXES)}
    wanted = {name for name in own if not name.startswith(HEAD_PREFIXES)}
    misfits = sorted(wanted ^ backbone.keys()) + sorted(
        n for n in wanted & backbone.keys() if own[n].shape != backbone[n].shape
    )
    if misfits:
        raise CorruptFile(
            f"{weights} holds other weights than the model needs: {', '.join(misfits[:5])}.",
            remedy="Upstream and downstream data need the same image size and number of channels.",
        )
    model.load_state_dict(own | backbone)
