"""Architectures of timm and torchvision are built as the spec says, from one generator, and tried before they are used."""

import pytest
import torch
from library_toys import BIT, CONVNEXT, DEIT, LIBRARY, MOBILENET, RESNET18, SWIN, TEST_RESNET, TEST_VIT, build

from repro.errors import ProfileError
from repro.models.build import build_model
from repro.models.heads import head_parameters
from repro.models.library_models import skeleton
from repro.spec import ModelSpec


@pytest.mark.parametrize("name", LIBRARY)
def test_one_score_a_class_and_a_head_of_zeros(name: str) -> None:
    model = build(LIBRARY[name], image_size=64, num_classes=5)
    assert not any(parameter.any() for parameter in head_parameters(model))
    assert torch.equal(model(torch.randn(2, 3, 64, 64)), torch.zeros(2, 5))


@pytest.mark.parametrize("spec", [DEIT, BIT, TEST_RESNET, MOBILENET], ids=lambda spec: spec.name)
def test_weights_depend_on_the_generator_alone_and_the_global_state_on_nothing(spec: ModelSpec) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(spec, image_size=64, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build(spec, image_size=64, seed=5).state_dict()
    other = build(spec, image_size=64, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_generator_goes_on() -> None:
    generator = torch.Generator().manual_seed(3)
    shape = {"image_size": 32, "num_channels": 3, "num_classes": 2, "generator": generator}
    first, second = build_model(TEST_RESNET, **shape).state_dict(), build_model(TEST_RESNET, **shape).state_dict()
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_dimensions_of_the_spec_replace_timms() -> None:
    vit = build(
        ModelSpec(name="timm/vit_tiny_patch16_224", family="vit", patch_size=4, width=24, depth=3, num_heads=2), image_size=32
    )
    assert (vit.embed_dim, len(vit.blocks), vit.blocks[0].attn.num_heads, vit.patch_embed.grid_size) == (24, 3, 2, (8, 8))
    spec = ModelSpec(
        name="r", architecture="timm/resnet18", family="cnn", stage_widths=(8, 16, 24, 32), stage_depths=(1, 2, 1, 1)
    )
    resnet = build(spec, image_size=32)
    assert (len(resnet.layer2), resnet.layer4[0].conv1.out_channels) == (2, 32)
    convnext = build(CONVNEXT.model_copy(update={"stage_widths": (8, 8, 16, 16), "stage_depths": (1, 1, 2, 1)}), image_size=64)
    assert (convnext.num_features, len(convnext.stages[2].blocks)) == (16, 2)


def test_grey_images_go_into_timms_models_only() -> None:
    assert build(TEST_RESNET, image_size=32, num_channels=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    with pytest.raises(ProfileError, match="takes images of 3 channels, not 1"):
        build(RESNET18, num_channels=1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="timm/regnety_002", family="cnn", stage_depths=(1, 1, 1, 1)), "takes no stage_depths"),
        (ModelSpec(name="timm/resnet18", family="vit", depth=3), "takes no depth; it takes stage_widths, stage_depths"),
        (SWIN.model_copy(update={"depth": 3}), "takes no depth; it takes"),
        (BIT.model_copy(update={"stage_depths": (1, 1, 1, 1)}), "does not let anyone choose the stage_depths"),
        (SWIN.model_copy(update={"num_heads": 3}), "cannot be built"),
        (DEIT.model_copy(update={"width": 50}), "cannot be built"),
    ],
    ids=str,
)
def test_dimensions_that_a_class_does_not_take_are_refused(spec: ModelSpec, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        build(spec)
    assert message in caught.value.message
    assert spec.name in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "image_size", "message"),
    [
        ("timm/deit_tiny_patch16_224", 33, "cuts patches of 16 px, which do not fit images of 33 px"),
        ("torchvision/vit_b_16", 33, "cannot be built for images of 33 px"),
        ("torchvision/maxvit_t", 32, "cannot be built for images of 32 px"),
        ("torchvision/alexnet", 16, "cannot take images of 16 px"),
        ("timm/test_vit", 8, "cuts patches of 16 px"),
        ("timm/deit_tiny_distilled_patch16_224", 224, "has 2 heads"),
        ("torchvision/googlenet", 224, "does not end in one linear layer"),
        ("torchvision/inception_v3", 299, "does not end in one linear layer"),
        ("torchvision/squeezenet1_0", 224, "does not end in one linear layer"),
        ("timm/resnet50_clip", 224, "does not end in one linear layer"),
    ],
)
def test_what_a_model_cannot_do_is_known_before_it_is_built(name: str, image_size: int, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        build(ModelSpec(name=name, family="vit"), image_size=image_size)
    assert caught.value.message.startswith(name)
    assert message in caught.value.message, caught.value.message
    assert caught.value.remedy


def test_patches_that_overlap_need_not_divide_the_image() -> None:
    assert build(ModelSpec(name="timm/pvt_v2_b0", family="vit"), image_size=64)(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


def test_a_skeleton_has_shapes_and_no_numbers() -> None:
    for spec in (TEST_VIT, ModelSpec(name="torchvision/regnet_x_400mf", family="cnn")):
        model = skeleton(spec, image_size=None, num_channels=3, num_classes=2)
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
