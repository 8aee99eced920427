"""Every model ends in one linear layer: what it is given, times its weight, is what the model says."""

import pytest
import torch
from library_toys import LIBRARY, build, trained
from torch import nn

from repro.catalog import load_catalog
from repro.errors import ProfileError
from repro.models.heads import features, head_of, head_parameters, uses_batch_norm
from repro.models.libraries import import_timm, import_torchvision

HEADS = {
    "timm/deit_tiny_patch16_224.fb_in1k": "head",
    "timm/vit_base_patch32_224.orig_in21k": "head",
    "timm/test_vit.r160_in1k": "head",
    "timm/resnetv2_50x1_bit.goog_in21k": "head.fc",
    "timm/test_resnet.r160_in1k": "fc",
    "timm/test_convnext.r160_in1k": "head.fc",
    "timm/swin_tiny_patch4_window7_224.ms_in1k": "head.fc",
    "torchvision/resnet18.IMAGENET1K_V1": "fc",
    "torchvision/mobilenet_v3_small.IMAGENET1K_V1": "classifier.3",
}


@pytest.mark.parametrize("name", LIBRARY)
def test_features_times_the_heads_weight_are_the_logits(name: str) -> None:
    model = trained(LIBRARY[name], num_classes=7)
    image_size = 160 if "test_vit" in name else 224
    assert head_of(model) == HEADS[name]
    weight, bias = head_parameters(model)
    x_BCHW = torch.randn(2, 3, image_size, image_size)
    with torch.inference_mode():
        features_BD = features(model, x_BCHW)
        assert features_BD.shape == (2, weight[0].numel())
        torch.testing.assert_close(features_BD @ weight.flatten(1).T + bias, model(x_BCHW), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "head"), [("vit_micro", "head"), ("resnet_micro", "fc")])
def test_in_house_models_too(name: str, head: str) -> None:
    model = trained(load_catalog().models[name], image_size=8)
    assert head_of(model) == head
    weight, bias = head_parameters(model)
    x_BCHW = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(features(model, x_BCHW) @ weight.T + bias, model(x_BCHW))


def test_looking_at_features_leaves_nothing_behind() -> None:
    model = build(LIBRARY["timm/test_resnet.r160_in1k"], image_size=32)
    features(model, torch.zeros(2, 3, 32, 32)).sum().backward()
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert next(model.parameters()).grad is not None


@pytest.mark.parametrize(
    "architecture", ["vit_b_32", "swin_t", "maxvit_t", "densenet121", "vgg11", "efficientnet_b0", "convnext_tiny"]
)
def test_the_head_of_each_of_torchvisions_families_is_found(architecture: str) -> None:
    with torch.device("meta"):
        model = import_torchvision().models.get_model(architecture, weights=None, num_classes=7)
    head = model.get_submodule(head_of(model))
    assert isinstance(head, nn.Linear)
    assert head.out_features == 7


def test_two_heads_are_refused() -> None:
    with torch.device("meta"):
        model = import_timm().create_model("deit_tiny_distilled_patch16_224")
    with pytest.raises(ProfileError, match="has 2 heads \\(head, head_dist\\), not one"):
        head_of(model)


def test_a_model_without_a_classifier_is_refused() -> None:
    with torch.device("meta"):
        model = import_timm().create_model("test_vit", num_classes=0)
    for without in (model, nn.Sequential(nn.ReLU()), nn.ReLU()):
        with pytest.raises(ProfileError, match="does not end in a linear classifier"):
            head_of(without)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm/test_resnet.r160_in1k", True),
        ("torchvision/resnet18.IMAGENET1K_V1", True),
        ("torchvision/mobilenet_v3_small.IMAGENET1K_V1", True),
        ("timm/resnetv2_50x1_bit.goog_in21k", False),
        ("timm/test_convnext.r160_in1k", False),
        ("timm/deit_tiny_patch16_224.fb_in1k", False),
    ],
)
def test_batch_norm_is_seen_where_it_is(name: str, expected: bool) -> None:
    assert uses_batch_norm(build(LIBRARY[name])) is expected


def test_batch_norm_is_seen_in_house() -> None:
    models = load_catalog().models
    assert uses_batch_norm(build(models["resnet_micro"], image_size=8))
    assert not uses_batch_norm(build(models["vit_micro"], image_size=8))
