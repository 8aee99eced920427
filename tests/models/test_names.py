"""A name is one that the installed library knows, or the message says what it would be."""

import pytest

from repro.errors import ProfileError
from repro.models.names import architectures, parse_library_name, weights_of


@pytest.mark.parametrize(
    ("name", "architecture", "tag"),
    [
        ("timm/deit_tiny_patch16_224.fb_in1k", "deit_tiny_patch16_224", "fb_in1k"),
        ("timm/deit_tiny_patch16_224", "deit_tiny_patch16_224", ""),
        ("torchvision/resnet50.IMAGENET1K_V2", "resnet50", "IMAGENET1K_V2"),
        ("torchvision/resnet50.DEFAULT", "resnet50", "DEFAULT"),
        ("torchvision/vit_b_16", "vit_b_16", ""),
    ],
)
def test_a_legal_name_is_taken_apart(name: str, architecture: str, tag: str) -> None:
    found = parse_library_name(name)
    assert (found.library, found.architecture, found.tag) == (name.partition("/")[0], architecture, tag)
    assert str(found) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/deit_tiny_patch16_244.fb_in1k", "did you mean timm/deit_tiny_patch16_224"),
        ("timm/deit_tiny_patch16_224.fb_in21k", "did you mean 'fb_in1k'"),
        ("timm/vit_base_patch16_224_in21k", "did you mean timm/vit_base_patch16_224"),
        ("timm/vit_b_16.IMAGENET1K_V1", "did you mean torchvision/vit_b_16?"),
        ("timm/resnet18.a1in1k", "known here: a1_in1k, "),
        ("timm/", "no image classifier called ''"),
        ("timm/hf-hub:somebody/model", "no image classifier"),
        ("torchvision/ResNet50", "did you mean torchvision/resnet50 or "),
        ("torchvision/resnet50.IMAGENET1K_V3", "known here: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
        ("torchvision/fcn_resnet50", "no image classifier called 'fcn_resnet50'"),
        ("torchvision/nothing_like_it_at_all", "no image classifier called 'nothing_like_it_at_all'"),
        ("timm/darknet17.a1_in1k", "has no weights for darknet17"),
        ("resnet18", "names no library"),
    ],
)
def test_a_wrong_name_is_told_with_what_is_near(name: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_library_name(name)
    assert message in caught.value.message, caught.value.message
    assert "timm/ARCHITECTURE" in caught.value.remedy or "torchvision/NAME" in caught.value.remedy
    assert len(caught.value.message) < 1000


def test_only_image_classifiers_of_torchvision_are_known() -> None:
    assert not [name for name in architectures("torchvision") if "rcnn" in name or "r3d" in name or "quantized" in name]


def test_tags_that_name_no_weights_do_not_count() -> None:
    assert list(weights_of("timm", "deit_tiny_patch16_224")) == ["fb_in1k"]
