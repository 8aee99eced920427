"""Attention weights are those that the models use, and distances and rollout are what is known of simple ones."""

import pytest
import torch
from library_toys import BIT, DEIT, ORIGINAL_VIT, SWIN, TEST_VIT, build, trained
from torch import Tensor, nn

from repro.models.attention import Anatomy, anatomy_of, attend, attention_distances, patch_distances, rollout
from repro.models.libraries import import_timm, import_torchvision
from repro.models.vit import VisionTransformer


def with_random_weights(model: nn.Module, *, seed: int = 5) -> nn.Module:
    """Weights large enough that heads attend to few patches, each to others."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=2 if "qkv" in name or "in_proj" in name else 0.3, generator=generator)
    return model


def own_vit() -> nn.Module:
    return with_random_weights(
        VisionTransformer(image_size=12, patch_size=4, num_channels=3, num_classes=7, width=24, depth=3, num_heads=4)
    )


def timm_vit(**options: object) -> nn.Module:
    kind = import_timm().models.VisionTransformer
    shape = {"img_size": 12, "patch_size": 4, "num_classes": 7, "embed_dim": 24, "depth": 3, "num_heads": 4}
    return with_random_weights(kind(**(shape | options)))


def torchvision_vit() -> nn.Module:
    kind = import_torchvision().models.VisionTransformer
    return with_random_weights(
        kind(image_size=12, patch_size=4, num_layers=3, num_heads=4, hidden_dim=24, mlp_dim=48, num_classes=7)
    )


def distilled() -> nn.Module:
    kind = import_timm().models.deit.VisionTransformerDistilled
    return with_random_weights(kind(img_size=12, patch_size=4, num_classes=7, embed_dim=24, depth=3, num_heads=4))


def slow_weights(model: nn.Module, x_BCHW: Tensor) -> list[Tensor]:
    """Each layer's attention weights as the model itself gives them when it is asked to: not fused, or with need_weights."""
    seen: list[Tensor] = []
    if type(model).__module__.startswith("torchvision"):
        for layer in model.encoder.layers:  # type: ignore[union-attr]
            whole = layer.self_attention.forward

            def ask(*inputs: Tensor, need_weights: bool, whole: object = whole) -> tuple[Tensor, None]:
                out, weights = whole(*inputs, need_weights=True, average_attn_weights=False)  # type: ignore[operator]
                seen.append(weights)
                return out, None

            layer.self_attention.forward = ask
    else:
        for block in model.blocks:  # type: ignore[union-attr]
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(x_BCHW)
    return seen


def slow_distance(weights_NN: Tensor, num_others: int, side: int) -> float:
    total = 0.0
    for query in range(side * side):
        shares = [float(share) for share in weights_NN[num_others + query, num_others:]]
        for key, share in enumerate(shares):
            rows, columns = query // side - key // side, query % side - key % side
            total += share / sum(shares) * (rows**2 + columns**2) ** 0.5
    return total / side**2


def slow_rollout(layers: list[Tensor]) -> Tensor:
    """Of one image, from weights (A, N, N), as Abnar and Zuidema have it: each row brought to sum 1 with the identity added."""
    result = torch.eye(layers[0].shape[-1])
    for weights_ANN in layers:
        raw = weights_ANN.mean(dim=0) + torch.eye(weights_ANN.shape[-1])
        result = (raw / raw.sum(dim=1, keepdim=True)) @ result
    return result


MODELS = {
    "timm": (timm_vit, 1),
    "timm, patches read": (lambda: timm_vit(global_pool="avg"), 1),
    "timm, no class token": (lambda: timm_vit(global_pool="avg", class_token=False), 0),
    "timm, registers": (lambda: timm_vit(reg_tokens=2), 3),
    "timm, class token without position": (lambda: timm_vit(no_embed_class=True), 1),
    "timm, queries normalised": (lambda: timm_vit(qk_norm=True), 1),
    "timm, distilled": (distilled, 2),
    "torchvision": (torchvision_vit, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_distances_and_rollout_are_those_of_the_weights_that_the_model_gives_itself(name: str) -> None:
    make, num_others = MODELS[name]
    model = make()
    x_BCHW = torch.randn(11, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    anatomy = anatomy_of(model)
    assert isinstance(anatomy, Anatomy), anatomy
    assert anatomy.positions_PD.shape == (9, 24)
    distances_LA, rollouts_IP = attend(model, anatomy, x_BCHW, num_rollouts=9)
    layers = slow_weights(make(), x_BCHW)
    assert len(layers) == 3
    for layer, weights_BANN in enumerate(layers):
        for head in range(4):
            each = [slow_distance(weights_BANN[image, head], num_others, 3) for image in range(11)]
            assert float(distances_LA[layer, head]) == pytest.approx(sum(each) / 11, rel=1e-4)
    assert rollouts_IP.shape == (9, 9)
    for image in range(9):
        rolled_NN = slow_rollout([weights_BANN[image] for weights_BANN in layers])
        row = rolled_NN[num_others:].mean(dim=0) if "patches" in name or "no class" in name else rolled_NN[0]
        torch.testing.assert_close(rollouts_IP[image], row[num_others:], rtol=1e-4, atol=1e-6)


def test_the_kits_own_vit_attends_as_timms_with_the_same_weights() -> None:
    ours, theirs = own_vit(), timm_vit()
    theirs.load_state_dict(ours.state_dict())
    x_BCHW = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    found = []
    for model in (ours, theirs):
        anatomy = anatomy_of(model)
        assert isinstance(anatomy, Anatomy)
        found.append(attend(model, anatomy, x_BCHW, num_rollouts=5))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0].std() > 0.05


@pytest.mark.parametrize("spec", [DEIT, ORIGINAL_VIT, TEST_VIT], ids=lambda spec: spec.name)
def test_published_architectures_are_known(spec: object) -> None:
    model = trained(spec)  # type: ignore[arg-type]
    anatomy = anatomy_of(model)
    assert isinstance(anatomy, Anatomy), anatomy
    side = model.patch_embed.img_size[0]  # type: ignore[union-attr, index]
    distances_LA, rollouts_IP = attend(model, anatomy, torch.zeros(1, 3, side, side), num_rollouts=1)
    assert len(distances_LA) == len(model.blocks)  # type: ignore[arg-type]
    assert rollouts_IP.shape[1] == len(anatomy.positions_PD)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: build(SWIN), "SwinTransformer is built otherwise"),
        (lambda: build(BIT, image_size=64), "ResNetV2 is built otherwise"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), "Sequential is no known Vision Transformer"),
        (lambda: timm_vit(pos_embed="none"), "no learned position embeddings"),
        (lambda: timm_vit(block_fn=import_timm().models.vision_transformer.ParallelThingsBlock), "no attention of the plain"),
        (lambda: timm_vit(img_size=(12, 8)), "do not form a square"),
    ],
)
def test_what_is_built_otherwise_is_refused_in_words(model: object, reason: str) -> None:
    found = anatomy_of(model())  # type: ignore[operator]
    assert isinstance(found, str)
    assert reason in found


def test_the_model_is_left_as_it_was() -> None:
    model = own_vit().train()
    model.blocks[1].eval()  # type: ignore[index, union-attr]
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    anatomy = anatomy_of(model)
    assert isinstance(anatomy, Anatomy)
    attend(model, anatomy, torch.zeros(2, 3, 12, 12), num_rollouts=1)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(RuntimeError):
        attend(model, anatomy, torch.zeros(2, 1, 12, 12), num_rollouts=1)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_uniform_attention_has_the_mean_distance_of_all_pairs() -> None:
    # Of the 4 patches of a 2 x 2 image each has one at 0, two at 1 and one at the diagonal.
    weights_BANN = torch.full((2, 3, 5, 5), 0.2)
    found = attention_distances(weights_BANN, patch_distances(4))
    torch.testing.assert_close(found, torch.full((3,), (0 + 1 + 1 + 2**0.5) / 4))


def test_attention_to_oneself_has_distance_0_and_to_a_neighbour_1() -> None:
    itself = torch.eye(5)
    beside = torch.eye(5)[:, [0, 2, 1, 4, 3]]
    found = attention_distances(torch.stack([itself, beside])[None], patch_distances(4))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]))


def test_what_goes_to_the_class_token_has_no_distance() -> None:
    weights_BANN = torch.zeros(1, 1, 5, 5)
    weights_BANN[..., 0] = 0.9
    weights_BANN[0, 0, 1:, 1:] = 0.1 * torch.eye(4)[[1, 0, 3, 2]]
    torch.testing.assert_close(attention_distances(weights_BANN, patch_distances(4)), torch.ones(1))
    weights_BANN = torch.zeros(1, 1, 5, 5)
    weights_BANN[..., 0] = 1
    torch.testing.assert_close(attention_distances(weights_BANN, patch_distances(4)), torch.zeros(1))


def test_rollout_of_known_matrices() -> None:
    identity, swap = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(rollout([identity[None]] * 3)[0], identity)
    # Half of what passes a layer that swaps stays, half is swapped.
    torch.testing.assert_close(rollout([swap[None]])[0], torch.full((2, 2), 0.5))
    lower, upper = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    # Upper layer first: its second row, (0, 1), is what the lower makes of token 2, (½, ½); its first mixes both.
    expected = torch.tensor([[0.5, 0.5], [0.0, 1.0]]) @ torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(rollout([lower[None], upper[None]])[0], expected)
