"""Weights that do not fit are refused with what is wrong, and nothing random stands in for them."""

from pathlib import Path

import pytest
import torch
from library_toys import (
    CONVNEXT,
    DEIT,
    MOBILENET,
    ORIGINAL_VIT,
    RESNET18,
    TEST_RESNET,
    TEST_VIT,
    build,
    changed,
    published,
    save_as_deit,
    trained,
)

from repro.errors import CorruptFile
from repro.models.libraries import import_timm
from repro.models.published import inspect_weights, load_published
from repro.spec import ModelSpec


def refused(spec: ModelSpec, path: Path) -> str:
    """What both loading and inspecting say."""
    messages = set()
    for attempt in (lambda: load_published(build(spec), spec, path), lambda: inspect_weights(path, spec)):
        with pytest.raises(CorruptFile) as caught:
            attempt()
        assert caught.value.remedy
        messages.add(caught.value.message)
    assert f"{path} holds weights of another architecture than {spec.name}: " in messages.pop()
    return caught.value.message


@pytest.mark.parametrize("spec", [DEIT, TEST_RESNET, MOBILENET], ids=lambda spec: spec.name)
def test_a_missing_name_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    state = trained(spec).state_dict()
    name = next(name for name in state if name.endswith("weight"))
    assert f"missing: {name}" in refused(spec, changed({k: v for k, v in state.items() if k != name}, tmp_path / "w"))


@pytest.mark.parametrize("spec", [DEIT, TEST_RESNET, MOBILENET], ids=lambda spec: spec.name)
def test_a_name_too_many_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    state = trained(spec).state_dict() | {"something.else": torch.ones(2)}
    assert "left over: something.else" in refused(spec, changed(state, tmp_path / "w"))


@pytest.mark.parametrize(
    ("spec", "name"),
    [(DEIT, "blocks.0.attn.qkv.weight"), (MOBILENET, "features.0.0.weight")],
    ids=lambda one: getattr(one, "name", one),
)
def test_another_shape_is_refused(spec: ModelSpec, name: str, tmp_path: Path) -> None:
    state = trained(spec).state_dict()
    state = {**state, name: state[name][:-1]}
    assert f"{name} is {tuple(state[name].shape)} instead of" in refused(spec, changed(state, tmp_path / "w"))


@pytest.mark.parametrize(
    ("file_of", "spec", "reason"),
    [
        (DEIT, ORIGINAL_VIT, "patch_embed.proj.weight is (48, 3, 16, 16) instead of (48, 3, 32, 32)"),
        (TEST_VIT, DEIT, "instead of"),
        (TEST_RESNET, DEIT, "missing"),
        (DEIT, TEST_RESNET, "missing"),
        (RESNET18, MOBILENET, "missing"),
        (RESNET18, CONVNEXT, "timm does not know its names, conv1.weight, bn1.weight"),
        (DEIT.model_copy(update={"depth": 3}), DEIT, "left over: blocks.2"),
        (DEIT.model_copy(update={"width": 96}), DEIT, "instead of"),
    ],
    ids=lambda one: getattr(one, "name", one),
)
def test_another_architecture_is_refused(file_of: ModelSpec, spec: ModelSpec, reason: str, tmp_path: Path) -> None:
    message = refused(spec, published(file_of, tmp_path / "w"))
    assert reason in message, message
    assert len(message) < 1000


def test_a_distilled_file_is_another_architecture(tmp_path: Path) -> None:
    distilled = import_timm().create_model("deit_tiny_distilled_patch16_224", embed_dim=48, depth=2, num_heads=3)
    refused(DEIT, save_as_deit(distilled, tmp_path / "w.pth"))


def test_a_classifier_that_does_not_fit_the_features_is_refused(tmp_path: Path) -> None:
    state = trained(TEST_RESNET).state_dict()
    for wrong in ({"fc.weight": torch.ones(11, 3)}, {"fc.bias": torch.ones(12)}, {"fc.other": torch.ones(11)}):
        assert "fc." in refused(TEST_RESNET, changed(state | wrong, tmp_path / "w"))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x02 garbage"])
def test_what_cannot_be_read_is_refused_here_too(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"w\.pth"):
        load_published(build(TEST_VIT), TEST_VIT, tmp_path / "w.pth")
    with pytest.raises(CorruptFile, match=r"w\.pth"):
        inspect_weights(tmp_path / "w.pth", TEST_VIT)
