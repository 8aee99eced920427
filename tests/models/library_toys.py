"""Small models of the libraries' real classes, and files of weights as their authors publish them."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from repro.models.build import build_model
from repro.models.heads import head_parameters
from repro.spec import ModelSpec

DEIT = ModelSpec(name="timm/deit_tiny_patch16_224.fb_in1k", family="vit", width=48, depth=2, num_heads=3)
ORIGINAL_VIT = ModelSpec(name="timm/vit_base_patch32_224.orig_in21k", family="vit", width=48, depth=2, num_heads=3)
TEST_VIT = ModelSpec(name="timm/test_vit.r160_in1k", family="vit")
BIT = ModelSpec(name="timm/resnetv2_50x1_bit.goog_in21k", family="cnn", stage_widths=(128, 128, 128, 128))
TEST_RESNET = ModelSpec(name="timm/test_resnet.r160_in1k", family="cnn")
CONVNEXT = ModelSpec(name="timm/test_convnext.r160_in1k", family="cnn")
SWIN = ModelSpec(name="timm/swin_tiny_patch4_window7_224.ms_in1k", family="vit", width=12)
RESNET18 = ModelSpec(name="torchvision/resnet18.IMAGENET1K_V1", family="cnn")
MOBILENET = ModelSpec(name="torchvision/mobilenet_v3_small.IMAGENET1K_V1", family="cnn")
TORCHVISION_VIT = ModelSpec(name="torchvision/vit_b_16.IMAGENET1K_V1", family="vit")

LIBRARY = {spec.name: spec for spec in (DEIT, ORIGINAL_VIT, TEST_VIT, BIT, TEST_RESNET, CONVNEXT, SWIN, RESNET18, MOBILENET)}
"""By name; torchvision's ViT is left out, since it has one size only, and that is large."""

NATIVE_SIZE = {"timm/test_vit.r160_in1k": 160}
"""Image size of the weights, where it is not 224."""


def build(
    spec: ModelSpec, *, image_size: int | None = None, num_classes: int = 10, seed: int = 0, num_channels: int = 3
) -> nn.Module:
    return build_model(
        spec,
        image_size=image_size or NATIVE_SIZE.get(spec.name, 224),
        num_channels=num_channels,
        num_classes=num_classes,
        generator=torch.Generator().manual_seed(seed),
    )


def trained(spec: ModelSpec, *, image_size: int | None = None, num_classes: int = 11, seed: int = 1) -> nn.Module:
    """As if it had been trained: nothing in it is 0 or 1 by design, neither the head nor what BatchNorm has seen."""
    model = build(spec, image_size=image_size, num_classes=num_classes, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
        for parameter in head_parameters(model):
            parameter.normal_(generator=generator)
    return model.eval()


def save_as_hub(model: nn.Module, path: Path) -> Path:
    """As timm's repositories on the Hugging Face hub have it: safetensors with the module's own names."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path, metadata={"format": "pt"})
    return path


def save_as_torchvision(model: nn.Module, path: Path) -> Path:
    """As download.pytorch.org has it: the state dict itself."""
    torch.save(model.state_dict(), path)
    return path


def save_as_deit(model: nn.Module, path: Path) -> Path:
    """As DeiT's authors have it: the state dict under `model`."""
    torch.save({"model": model.state_dict()}, path)
    return path


def published(spec: ModelSpec, path: Path) -> Path:
    """A file as this architecture's are published."""
    return save_as_hub(trained(spec), path) if spec.name.startswith("timm/") else save_as_torchvision(trained(spec), path)


def changed(state: dict[str, Tensor], path: Path) -> Path:
    """These tensors, as safetensors."""
    save_file(state, path)
    return path
