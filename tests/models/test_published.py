"""Published weights go into a model whole, whatever the format, or not at all."""

import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from library_toys import (
    BIT,
    CONVNEXT,
    DEIT,
    LIBRARY,
    MOBILENET,
    NATIVE_SIZE,
    ORIGINAL_VIT,
    RESNET18,
    SWIN,
    TEST_RESNET,
    TEST_VIT,
    TORCHVISION_VIT,
    build,
    changed,
    published,
    save_as_deit,
    save_as_hub,
    save_as_torchvision,
    trained,
)
from torch import Tensor, nn

from repro.catalog import load_catalog
from repro.errors import CorruptFile
from repro.models.heads import features, head_of, head_parameters
from repro.models.libraries import import_timm, import_torchvision
from repro.models.published import inspect_weights, load_published
from repro.spec import ModelSpec


def side(spec: ModelSpec) -> int:
    return NATIVE_SIZE.get(spec.name, 224)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_published_file_gives_exactly_the_features_of_its_model(name: str, tmp_path: Path) -> None:
    spec = LIBRARY[name]
    original, model = trained(spec), build(spec, num_classes=5).eval()
    load_published(model, spec, published(spec, tmp_path / "w"))
    assert not any(parameter.any() for parameter in head_parameters(model))
    x_BCHW = torch.randn(2, 3, side(spec), side(spec))
    with torch.inference_mode():
        assert torch.equal(features(model, x_BCHW), features(original, x_BCHW))
    inspection = inspect_weights(tmp_path / "w", spec)
    assert inspection.num_classes == 11
    assert inspection.num_parameters == sum(parameter.numel() for parameter in original.parameters())


@pytest.mark.parametrize("spec", [DEIT, TEST_RESNET], ids=lambda spec: spec.name)
def test_all_formats_of_the_same_numbers_have_one_digest(spec: ModelSpec, tmp_path: Path) -> None:
    model = trained(spec)
    saves: list[Callable[[nn.Module, Path], Path]] = [save_as_hub, save_as_torchvision, save_as_deit]
    found = {inspect_weights(save(model, tmp_path / f"w{number}"), spec) for number, save in enumerate(saves)}
    assert len(found) == 1
    other = inspect_weights(save_as_hub(trained(spec, seed=2), tmp_path / "other"), spec)
    assert other.content_sha256 != found.pop().content_sha256


def test_the_digest_sees_every_tensor_and_the_classifier(tmp_path: Path) -> None:
    state = trained(TEST_RESNET).state_dict()
    digests = {inspect_weights(changed(state, tmp_path / "w"), TEST_RESNET).content_sha256}
    for name in ("fc.bias", "conv1.0.weight", "bn1.running_var"):
        other = {**state, name: state[name].clone()}
        other[name].view(-1)[0] += 1e-3
        digests.add(inspect_weights(changed(other, tmp_path / name), TEST_RESNET).content_sha256)
    assert len(digests) == 4


def test_a_file_of_half_the_precision_is_read_as_what_it_holds(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in trained(TEST_VIT).state_dict().items()}
    model = build(TEST_VIT)
    load_published(model, TEST_VIT, changed(half, tmp_path / "half"))
    assert torch.equal(model.pos_embed, half["pos_embed"].float())
    full = {name: tensor.float() for name, tensor in half.items()}
    digests = [inspect_weights(changed(one, tmp_path / "w"), TEST_VIT).content_sha256 for one in (half, full)]
    assert digests[0] == digests[1]


def test_positions_of_another_image_size_are_those_of_timm(tmp_path: Path) -> None:
    path = save_as_deit(original := trained(DEIT), tmp_path / "w.pth")
    for image_size in (96, 224, 384):
        model = build(DEIT, image_size=image_size)
        load_published(model, DEIT, path)
        grid = image_size // 16
        expected = import_timm().layers.resample_abs_pos_embed(original.pos_embed, new_size=(grid, grid))
        assert torch.equal(model.pos_embed, expected)
        assert torch.equal(model.pos_embed[:, 0], original.pos_embed[:, 0])
        assert torch.equal(model.blocks[1].mlp.fc2.weight, original.blocks[1].mlp.fc2.weight)
        assert torch.equal(model.pos_embed, original.pos_embed) == (image_size == 224)


@pytest.mark.parametrize("spec", [SWIN, BIT, CONVNEXT, MOBILENET], ids=lambda spec: spec.name)
def test_other_architectures_take_another_image_size_as_well(spec: ModelSpec, tmp_path: Path) -> None:
    model = build(spec, image_size=64)
    load_published(model, spec, published(spec, tmp_path / "w"))
    assert torch.equal(model(torch.randn(2, 3, 64, 64)), torch.zeros(2, 10))


def test_a_file_trained_at_another_size_than_its_name_says_is_inspected_at_its_own(tmp_path: Path) -> None:
    spec = ModelSpec(
        name="mine", architecture="timm/vit_tiny_patch16_224", family="vit", patch_size=4, width=24, depth=1, num_heads=2
    )
    model = trained(spec, image_size=32)
    inspection = inspect_weights(save_as_hub(model, tmp_path / "w"), spec)
    assert inspection.num_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_names_of_deits_third_paper_are_known(tmp_path: Path) -> None:
    spec = ModelSpec(name="timm/deit3_small_patch16_224.fb_in1k", family="vit", width=48, depth=2, num_heads=3)
    original = trained(spec, image_size=64)
    state = {re.sub(r"ls([12])\.gamma", r"gamma_\1", name): one for name, one in original.state_dict().items()}
    assert "blocks.0.gamma_1" in state
    torch.save({"model": state}, tmp_path / "w.pth")
    assert inspect_weights(tmp_path / "w.pth", spec) == inspect_weights(save_as_hub(original, tmp_path / "w"), spec)
    load_published(model := build(spec, image_size=64), spec, tmp_path / "w.pth")
    assert torch.equal(model.blocks[0].ls1.gamma, original.blocks[0].ls1.gamma)
    assert torch.equal(model.pos_embed, original.pos_embed)


def test_torchvisions_older_names_are_known(tmp_path: Path) -> None:
    spec = ModelSpec(name="torchvision/densenet121.IMAGENET1K_V1", family="cnn")
    original = trained(spec, image_size=64)
    state = {re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): one for name, one in original.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    path = changed({name: one for name, one in state.items() if not name.endswith("num_batches_tracked")}, tmp_path / "w")
    load_published(model := build(spec, image_size=64), spec, path)
    x_BCHW = torch.randn(2, 3, 64, 64)
    assert torch.equal(features(model.eval(), x_BCHW), features(original, x_BCHW))


def test_torchvisions_mnasnet_is_taken_without_the_version_that_its_file_has(tmp_path: Path) -> None:
    spec = ModelSpec(name="torchvision/mnasnet0_5.IMAGENET1K_V1", family="cnn")
    assert inspect_weights(published(spec, tmp_path / "w"), spec).num_classes == 11


def test_several_files_may_be_inspected_at_once(tmp_path: Path) -> None:
    specs = [TEST_VIT, TEST_RESNET, DEIT, CONVNEXT] * 2
    paths = [save_as_deit(trained(spec), tmp_path / f"{number}.pth") for number, spec in enumerate(specs)]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(max_workers=len(specs)) as pool:
        found = list(pool.map(inspect_weights, paths, specs))
    assert len(set(found)) == 4
    assert warnings.filters == filters


def torchvision_vit(*, image_size: int, num_classes: int = 10) -> nn.Module:
    """The class behind torchvision/vit_b_16, in small."""
    model: nn.Module = import_torchvision().models.VisionTransformer(
        image_size=image_size, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=num_classes
    )
    with torch.no_grad():
        for parameter in head_parameters(model):
            parameter.zero_()
    return model.eval()


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in the published files, which are older than today's module."""
    return {name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): one for name, one in state.items()}


def test_torchvisions_vits_are_resized_as_timms(tmp_path: Path) -> None:
    original = torchvision_vit(image_size=64)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.normal_(std=0.1)
    torch.save(old_names(original.state_dict()), tmp_path / "w.pth")
    same = torchvision_vit(image_size=64, num_classes=3)
    load_published(same, TORCHVISION_VIT, tmp_path / "w.pth")
    x_BCHW = torch.randn(2, 3, 64, 64)
    assert torch.equal(features(same, x_BCHW), features(original, x_BCHW))
    larger = torchvision_vit(image_size=96)
    load_published(larger, TORCHVISION_VIT, tmp_path / "w.pth")
    positions = original.encoder.pos_embedding
    expected = import_timm().layers.resample_abs_pos_embed(positions, new_size=(12, 12))
    assert torch.equal(larger.encoder.pos_embedding, expected)
    assert torch.equal(larger.encoder.pos_embedding[:, 0], positions[:, 0])


@pytest.mark.slow
def test_torchvisions_vit_in_full(tmp_path: Path) -> None:
    original = trained(TORCHVISION_VIT, image_size=32, num_classes=1000)
    torch.save(old_names(original.state_dict()), tmp_path / "w.pth")
    assert inspect_weights(tmp_path / "w.pth", TORCHVISION_VIT).num_classes == 1000
    model = build(TORCHVISION_VIT, image_size=64)
    load_published(model, TORCHVISION_VIT, tmp_path / "w.pth")
    assert torch.equal(model.conv_proj.weight, original.conv_proj.weight)


@pytest.mark.parametrize("spec", [DEIT, BIT, RESNET18], ids=lambda spec: spec.name)
def test_a_file_without_a_classifier_is_fine(spec: ModelSpec, tmp_path: Path) -> None:
    model = trained(spec)
    head = f"{head_of(model)}."
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}
    inspection = inspect_weights(changed(state, tmp_path / "w"), spec)
    parameters = sum(one.numel() for name, one in model.named_parameters() if not name.startswith(head))
    assert (inspection.num_classes, inspection.num_parameters) == (0, parameters)
    load_published(loaded := build(spec), spec, tmp_path / "w")
    assert torch.equal(next(loaded.parameters()), next(model.parameters()))


def test_old_files_may_lack_what_batch_norm_counts(tmp_path: Path) -> None:
    state = trained(RESNET18).state_dict()
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    load_published(model := build(RESNET18), RESNET18, changed(old, tmp_path / "old"))
    assert torch.equal(model.layer4[1].bn2.running_var, state["layer4.1.bn2.running_var"])
    new = inspect_weights(changed(state, tmp_path / "new"), RESNET18)
    assert inspect_weights(tmp_path / "old", RESNET18) == new


def test_a_hidden_layer_of_an_older_classifier_is_left_out(tmp_path: Path) -> None:
    state = trained(ORIGINAL_VIT).state_dict() | {
        "pre_logits.fc.weight": torch.ones(48, 48),
        "pre_logits.fc.bias": torch.ones(48),
    }
    load_published(build(ORIGINAL_VIT), ORIGINAL_VIT, changed(state, tmp_path / "w"))


def test_inspecting_leaves_the_global_state_alone(tmp_path: Path) -> None:
    path = save_as_hub(trained(TEST_VIT), tmp_path / "w")
    before = torch.get_rng_state()
    inspect_weights(path, TEST_VIT)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["vit_micro", "resnet_micro"])
def test_files_of_in_house_models(name: str, tmp_path: Path) -> None:
    spec = load_catalog().models[name]
    original = trained(spec, image_size=16)
    path = save_as_torchvision(original, tmp_path / "w.pth")
    load_published(model := build(spec, image_size=16), spec, path)
    x_BCHW = torch.randn(2, 3, 16, 16)
    assert torch.equal(features(model.eval(), x_BCHW), features(original, x_BCHW))
    assert not any(parameter.any() for parameter in head_parameters(model))
    inspection = inspect_weights(path, spec)
    assert inspection.num_classes == 11
    assert inspection.num_parameters == sum(parameter.numel() for parameter in original.parameters())
    assert inspection == inspect_weights(save_as_hub(original, tmp_path / "w.safetensors"), spec)
    other = load_catalog().models["resnet_micro" if name == "vit_micro" else "vit_micro"]
    with pytest.raises(CorruptFile, match=f"another architecture than {other.name}"):
        inspect_weights(path, other)
    with pytest.raises(CorruptFile, match=f"another architecture than {other.name}"):
        load_published(build(other, image_size=16), other, path)


def test_in_house_image_sizes_must_agree(tmp_path: Path) -> None:
    spec = load_catalog().models["vit_micro"]
    path = save_as_hub(trained(spec, image_size=16), tmp_path / "w")
    with pytest.raises(CorruptFile, match="pos_embed is"):
        load_published(build(spec, image_size=8), spec, path)
