"""Specs become modules; stored backbones are taken whole or refused."""

from pathlib import Path

import pytest
import torch
from library_toys import DEIT, LIBRARY, SWIN, trained
from library_toys import build as library_model
from safetensors.torch import save_file

from repro.catalog import load_catalog
from repro.errors import CorruptFile, ProfileError
from repro.models.build import build_model, load_backbone
from repro.models.heads import head_of
from repro.models.vit import VisionTransformer


def build(name: str, *, num_classes: int = 10, seed: int = 0, image_size: int = 8) -> torch.nn.Module:
    spec = load_catalog().models[name]
    generator = torch.Generator().manual_seed(seed)
    return build_model(spec, image_size=image_size, num_channels=1, num_classes=num_classes, generator=generator)


@pytest.mark.parametrize("name", ["vit_micro", "resnet_micro"])
def test_the_backbone_is_taken_and_the_head_stays_zero(name: str, tmp_path: Path) -> None:
    upstream, model = build(name, num_classes=45, seed=1), build(name, num_classes=10, seed=2)
    with torch.no_grad():
        for parameter in upstream.parameters():
            parameter.add_(1.0)
    save_file(upstream.state_dict(), tmp_path / "w.safetensors")
    load_backbone(model, tmp_path / "w.safetensors")
    for key, tensor in model.state_dict().items():
        if key.startswith(("head.", "fc.")):
            assert not tensor.any()
        else:
            assert torch.equal(tensor, upstream.state_dict()[key]), key


@pytest.mark.parametrize("name", LIBRARY)
def test_the_backbone_of_a_librarys_model_is_taken_too(name: str, tmp_path: Path) -> None:
    spec = LIBRARY[name]
    upstream, model = trained(spec, image_size=64), library_model(spec, image_size=64, num_classes=3)
    save_file(upstream.state_dict(), tmp_path / "w.safetensors")
    load_backbone(model, tmp_path / "w.safetensors")
    head = f"{head_of(model)}."
    for key, tensor in model.state_dict().items():
        assert not tensor.any() if key.startswith(head) else torch.equal(tensor, upstream.state_dict()[key]), key
    other = library_model(SWIN if spec is not SWIN else DEIT, image_size=64)
    with pytest.raises(CorruptFile, match="holds other weights than the model needs"):
        load_backbone(other, tmp_path / "w.safetensors")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    save_file(build("resnet_micro").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CorruptFile, match="holds other weights than the model needs"):
        load_backbone(build("vit_micro"), tmp_path / "w.safetensors")


def test_another_image_size_is_refused(tmp_path: Path) -> None:
    save_file(build("vit_micro", image_size=16).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CorruptFile, match="pos_embed"):
        load_backbone(build("vit_micro"), tmp_path / "w.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save_file(build("vit_micro").state_dict(), tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match="cannot be read"):
        load_backbone(build("vit_micro"), tmp_path / "w.safetensors")


def test_an_image_that_the_patches_do_not_tile_is_a_profile_error() -> None:
    with pytest.raises(ProfileError, match="patches of 2 px, which do not fit images of 9 px"):
        build("vit_micro", image_size=9)


def test_classes_and_family_follow_the_spec() -> None:
    model = build("vit_micro", num_classes=3)
    assert isinstance(model, VisionTransformer)
    assert model.head.out_features == 3
