"""Multiply-adds are counted in full, and the pairs of the catalogue are matched."""

import pytest
import torch

from repro.catalog import load_catalog
from repro.models.build import build_model
from repro.models.libraries import import_timm
from repro.models.macs import count_forward_macs, count_parameters

DEIT_TINY_GMACS = 1.26
"""Multiply-adds of DeiT-Ti at 224 px, attention included (timm results/model_metadata-in1k.csv)."""


def macs_of(name: str, *, image_size: int, num_channels: int) -> int:
    spec = load_catalog().models[name]
    model = build_model(
        spec, image_size=image_size, num_channels=num_channels, num_classes=10, generator=torch.Generator().manual_seed(0)
    )
    return count_forward_macs(model, image_size=image_size, num_channels=num_channels)


@pytest.mark.parametrize(
    ("vit", "cnn", "image_size", "num_channels"), [("vit_micro", "resnet_micro", 8, 1), ("vit_cifar", "resnet18_cifar", 32, 3)]
)
def test_pairs_agree_within_ten_percent(vit: str, cnn: str, image_size: int, num_channels: int) -> None:
    shape = {"image_size": image_size, "num_channels": num_channels}
    ratio = macs_of(vit, **shape) / macs_of(cnn, **shape)
    assert 0.9 <= ratio <= 1.1


def test_resnet18_has_its_published_size() -> None:
    # .56 GMAC and 11.17 M parameters with the small-image stem (mmpretrain configs/resnet).
    assert macs_of("resnet18_cifar", image_size=32, num_channels=3) / 1e9 == pytest.approx(0.56, abs=0.005)
    spec = load_catalog().models["resnet18_cifar"]
    generator = torch.Generator().manual_seed(0)
    model = build_model(spec, image_size=32, num_channels=3, num_classes=10, generator=generator)
    assert count_parameters(model) == 11_173_962


def test_fused_attention_is_counted() -> None:
    model = import_timm().create_model("deit_tiny_patch16_224", pretrained=False)
    assert count_forward_macs(model, image_size=224, num_channels=3) / 1e9 == pytest.approx(DEIT_TINY_GMACS, abs=0.01)


def test_counting_leaves_the_model_as_it_was() -> None:
    spec = load_catalog().models["resnet_micro"]
    model = build_model(spec, image_size=8, num_channels=1, num_classes=10, generator=torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_forward_macs(model, image_size=8, num_channels=1)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
