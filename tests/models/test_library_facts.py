"""Where published weights lie and what they want is asked of the libraries, and of the hub's own configuration."""

import json
from typing import Any

import pytest

from repro.catalog import load_catalog
from repro.errors import CorruptFile, ProfileError
from repro.models.heads import head_of
from repro.models.libraries import import_timm, import_torchvision
from repro.models.library_models import skeleton
from repro.models.names import parse_library_name
from repro.models.published import input_from_config, library_checkpoint, library_input
from repro.spec import DataFile, ModelSpec

CATALOG = load_catalog()


def test_timms_weights() -> None:
    found = library_checkpoint("timm/deit_tiny_patch16_224.fb_in1k")
    assert found.files == (
        DataFile(host="huggingface", path="timm/deit_tiny_patch16_224.fb_in1k/resolve/main/model.safetensors"),
        DataFile(host="fbaipublic", path="deit/deit_tiny_patch16_224-a1311bcf.pth"),
    )
    assert (found.num_classes, found.license) == (1000, "apache-2.0")
    assert (found.input.image_size, found.input.interpolation) == (224, "bicubic")
    assert found.input.mean == (0.485, 0.456, 0.406)
    assert found.input.source == f"timm {import_timm().__version__}"


def test_torchvisions_weights() -> None:
    found = library_checkpoint("torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1")
    assert found.files == (DataFile(host="pytorch", path="vit_b_16_swag-9ac1b537.pth"),)
    assert (found.num_classes, found.input.image_size, found.input.interpolation) == (1000, 384, "bicubic")
    assert "SWAG" in found.license
    assert found.input.source == f"torchvision {import_torchvision().__version__.partition('+')[0]}"
    assert library_checkpoint("torchvision/resnet50.DEFAULT") == library_checkpoint("torchvision/resnet50.IMAGENET1K_V2")
    assert library_checkpoint("torchvision/resnet50.DEFAULT").license == ""


@pytest.mark.parametrize(
    ("name", "hosts", "num_classes"),
    [
        ("timm/vit_base_patch32_224.orig_in21k", ["huggingface"], 0),
        ("timm/resnetv2_50x1_bit.goog_in21k", ["huggingface"], 21843),
        ("timm/resnet18.a1_in1k", ["huggingface", "https://github.com"], 1000),
        ("timm/resnet18.tv_in1k", ["huggingface", "pytorch"], 1000),
        ("timm/vit_tiny_patch16_224.augreg_in21k", ["huggingface"], 21843),
    ],
)
def test_only_files_that_can_be_read_are_named(name: str, hosts: list[str], num_classes: int) -> None:
    found = library_checkpoint(name)
    assert [file.host for file in found.files] == hosts
    assert found.num_classes == num_classes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet18", "not which weights; there are: a1_in1k, "),
        ("torchvision/resnet18", "not which weights; there are: IMAGENET1K_V1"),
        ("timm/darknet17", "and there are none"),
        ("timm/resnet18.nothing", "has no weights 'nothing' for resnet18"),
        ("timm/resnet_18.a1_in1k", "did you mean timm/resnet18"),
        ("timm/vit_base_patch16_sapiens2.fb", "was trained on images of 3 x 1024 x 768"),
    ],
)
def test_a_name_that_pins_no_weights_is_refused(name: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        library_checkpoint(name)
    assert message in caught.value.message, caught.value.message
    assert caught.value.remedy


def test_an_architecture_alone_has_an_input_of_its_own() -> None:
    assert library_input("timm/resnet18.tv_in1k") == library_checkpoint("timm/resnet18.tv_in1k").input
    assert library_input("timm/resnet18") == library_checkpoint("timm/resnet18.a1_in1k").input
    assert library_input("torchvision/resnet50.IMAGENET1K_V1") == library_input("torchvision/resnet50")
    assert library_input("timm/darknet17") is None


def config_json(**changes: Any) -> str:
    """What timm's repositories on the hub hold beside the weights."""
    fields = {
        "tag": "fb_in1k",
        "custom_load": False,
        "input_size": [3, 224, 224],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 1000,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    document = {"architecture": "deit_tiny_patch16_224", "num_classes": 1000, "num_features": 192}
    return json.dumps(document | {"pretrained_cfg": fields | changes})


def test_the_hubs_configuration_says_what_the_library_says() -> None:
    expected = library_checkpoint("timm/deit_tiny_patch16_224.fb_in1k").input
    for name in ("timm/deit_tiny_patch16_224.fb_in1k", "timm/deit_tiny_patch16_224", "deit_tiny_patch16_224"):
        found = input_from_config(config_json(), architecture=name)
        assert found.model_copy(update={"source": expected.source}) == expected
        assert "config.json" in found.source


def test_the_older_layout_has_the_fields_at_its_top() -> None:
    document = json.loads(config_json())
    text = json.dumps(document["pretrained_cfg"] | {"architecture": document["architecture"]})
    assert input_from_config(text, architecture="timm/deit_tiny_patch16_224.fb_in1k").image_size == 224


def test_an_older_name_of_the_same_architecture_is_the_same() -> None:
    document = json.loads(config_json()) | {"architecture": "vit_base_patch16_224_in21k"}
    name = "timm/vit_base_patch16_224.augreg_in21k"
    assert input_from_config(json.dumps(document), architecture=name).image_size == 224


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "[]",
        "3",
        "null",
        "[" * 100_000,
        "{}",
        '{"architecture": "deit_tiny_patch16_224"}',
        '{"architecture": "deit_tiny_patch16_224", "pretrained_cfg": []}',
        config_json(mean=[0.5]),
        config_json(mean=0.5),
        config_json(mean=["a", "b", "c"]),
        config_json(std=[0.5, 0.5, float("nan")]),
        config_json(input_size=[1, 224, 224]),
        config_json(input_size=224),
        config_json(input_size=[3, 0, 0]),
        config_json(interpolation=3),
    ],
    ids=lambda text: text[-60:],
)
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(CorruptFile, match="no timm configuration") as caught:
        input_from_config(text, architecture="timm/deit_tiny_patch16_224.fb_in1k")
    assert caught.value.remedy


def test_the_configuration_of_another_architecture_is_refused() -> None:
    with pytest.raises(CorruptFile, match="is that of deit_tiny_patch16_224, not of deit_small_patch16_224"):
        input_from_config(config_json(), architecture="timm/deit_small_patch16_224.fb_in1k")


@pytest.mark.parametrize("name", sorted(CATALOG.checkpoints))
def test_the_catalogues_checkpoints_are_those_of_the_libraries(name: str) -> None:
    entry = CATALOG.checkpoints[name]
    found = library_checkpoint(entry.model)
    spec = ModelSpec(name=entry.model, family=entry.family)
    model = skeleton(spec, image_size=None, num_channels=3, num_classes=max(found.num_classes, 1))
    head = sum(one.numel() for one in model.get_submodule(head_of(model)).parameters())
    parameters = sum(one.numel() for one in model.parameters()) - (head if not found.num_classes else 0)
    if entry.num_parameters is not None:
        assert entry.num_parameters == parameters
    parsed = parse_library_name(entry.model)
    if parsed.library == "torchvision":
        assert parameters == import_torchvision().models.get_model_weights(parsed.architecture)[parsed.tag].meta["num_params"]
    assert entry.imagenet_top1 is None or found.num_classes == 1000
    listed = {(file.host, file.name) for file in entry.file}
    assert not entry.file or listed & {(file.host, file.name) for file in found.files}, (listed, found.files)
    hub = [file for file in entry.file if file.host == "huggingface" and file.path.startswith("timm/")]
    assert {file.path.partition("/resolve/")[0] for file in hub} <= {
        file.path.partition("/resolve/")[0] for file in found.files
    }
