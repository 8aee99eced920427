"""Attention weights of Vision Transformers: how far each head looks, and what rollout says that the answer rests on.

The fused product that models compute attention with gives no weights. They are computed beside it, from what each attention
module is given, so that the model itself runs as it always does. Must not know what is made of the numbers.
Read `attend` first.

Shape letters: B batch, C channels, H height, W width, N tokens, P patches (N without class and other tokens), G patches along a
side, D width, A heads, L layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.libraries import import_timm, import_torchvision
from repro.models.vit import VisionTransformer

IMAGES_AT_ONCE = 8
"""The weights of a layer of ViT-L/16 at 384 px are then 170 MB."""
SMALLEST = 1e-12
"""What nothing is divided by less than."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Where a Vision Transformer has what is looked at."""

    projection: nn.Conv2d
    """Patches → tokens."""
    positions_PD: Tensor
    """Position embeddings of the patches, row by row."""
    attentions: tuple[nn.Module, ...]
    """Attention modules, from the lowest layer on."""
    weights: Callable[[nn.Module, Tensor], Tensor]
    """An attention module and what it is given, (B, N, D), → its attention weights (B, A, N, N); rows sum to 1."""
    num_other_tokens: int
    """Tokens before the patches."""
    reads_class_token: bool
    """Whether the classifier reads the first token; else it reads the patches."""


def anatomy_of(model: nn.Module) -> Anatomy | str:
    """Where the model has its parts; or, in words, why it is none of the layouts that are known here.

    Known are the kit's own ViT, timm's `VisionTransformer` (DeiT's among them) and torchvision's.
    """
    if isinstance(model, VisionTransformer):
        found: Anatomy | str = Anatomy(
            projection=model.patch_embed.proj,
            positions_PD=model.pos_embed[0, 1:],
            attentions=tuple(block.attn for block in model.blocks),  # type: ignore[misc]
            weights=joint_attention,
            num_other_tokens=1,
            reads_class_token=True,
        )
    elif type(model).__module__.startswith("timm."):
        found = _timm_anatomy(model)
    elif type(model).__module__.startswith("torchvision."):
        found = _torchvision_anatomy(model)
    else:
        found = f"{type(model).__name__} is no known Vision Transformer"
    if isinstance(found, str):
        return found
    if not isinstance(found.projection, nn.Conv2d) or found.projection.kernel_size != found.projection.stride:
        return f"the patches of this {type(model).__name__} are not projected each by itself"
    if round(len(found.positions_PD) ** 0.5) ** 2 != len(found.positions_PD):
        return "its patches do not form a square"
    return found


def _timm_anatomy(model: Any) -> Anatomy | str:
    kinds = import_timm().models.vision_transformer
    if not isinstance(model, kinds.VisionTransformer):
        return f"timm's {type(model).__name__} is built otherwise than the ViT of the paper"
    attentions = tuple(getattr(block, "attn", None) for block in model.blocks)
    if any(type(attention) is not kinds.Attention for attention in attentions):
        return f"the blocks of this {type(model).__name__} have no attention of the plain kind"
    if model.pos_embed is None:
        return f"this {type(model).__name__} has no learned position embeddings"
    return Anatomy(
        projection=model.patch_embed.proj,
        positions_PD=model.pos_embed[0, 0 if model.no_embed_class else model.num_prefix_tokens :],
        attentions=attentions,  # type: ignore[arg-type]
        weights=joint_attention,
        num_other_tokens=model.num_prefix_tokens,
        reads_class_token=model.global_pool == "token",
    )


def _torchvision_anatomy(model: Any) -> Anatomy | str:
    if not isinstance(model, import_torchvision().models.VisionTransformer):
        return f"torchvision's {type(model).__name__} is built otherwise than the ViT of the paper"
    return Anatomy(
        projection=model.conv_proj,
        positions_PD=model.encoder.pos_embedding[0, 1:],
        attentions=tuple(layer.self_attention for layer in model.encoder.layers),
        weights=separate_attention,
        num_other_tokens=1,
        reads_class_token=True,
    )


def joint_attention(attention: Any, x_BND: Tensor) -> Tensor:
    """Weights (B, A, N, N) of an attention module of the kit's own or timm's: one linear layer gives query, key and value."""
    B, N, _ = x_BND.shape
    q_BANd, k_BANd, _ = attention.qkv(x_BND).reshape(B, N, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if hasattr(attention, "q_norm"):
        q_BANd, k_BANd = attention.q_norm(q_BANd), attention.k_norm(k_BANd)
    return _softmax(q_BANd, k_BANd)


def separate_attention(attention: Any, x_BND: Tensor) -> Tensor:
    """Weights (B, A, N, N) of torch's `nn.MultiheadAttention`, which torchvision has."""
    B, N, _ = x_BND.shape
    qkv = nn.functional.linear(x_BND, attention.in_proj_weight, attention.in_proj_bias)
    q_BANd, k_BANd, _ = qkv.reshape(B, N, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return _softmax(q_BANd, k_BANd)


def _softmax(q_BANd: Tensor, k_BANd: Tensor) -> Tensor:
    weights_BANN: Tensor = (q_BANd * float(q_BANd.shape[-1]) ** -0.5 @ k_BANd.transpose(-2, -1)).softmax(dim=-1)
    return weights_BANN


@torch.inference_mode()
def attend(model: nn.Module, anatomy: Anatomy, x_BCHW: Tensor, *, num_rollouts: int) -> tuple[Tensor, Tensor]:
    """Mean attention distance over normalised images float (B, C, H, W), and rollout for the first of them.

    Distances are float32 (L, A), in patches; rollouts float32 (num_rollouts, P); both on the CPU. The model is in evaluation
    mode meanwhile and left as it was. Raises ValueError where its tokens are not what `anatomy` says.
    """
    between_PP = patch_distances(len(anatomy.positions_PD), device=x_BCHW.device)
    num_tokens = len(between_PP) + anatomy.num_other_tokens
    distances: list[Tensor] = []
    rollouts: list[Tensor] = []
    with _in_evaluation_mode(model):
        for chunk in torch.split(x_BCHW, IMAGES_AT_ONCE):
            of_chunk: list[Tensor] = []
            means: list[Tensor] = []
            wants_rollout = len(rollouts) * IMAGES_AT_ONCE < num_rollouts

            def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                weights_BANN = anatomy.weights(module, inputs[0])
                if weights_BANN.shape[-1] != num_tokens:
                    raise ValueError(f"there are {weights_BANN.shape[-1]} tokens, not {num_tokens}")
                of_chunk.append(attention_distances(weights_BANN, between_PP))  # noqa: B023 (called within the turn)
                if wants_rollout:  # noqa: B023
                    means.append(weights_BANN.mean(dim=1))  # noqa: B023

            with _watching(anatomy.attentions, see):
                model(chunk)
            if len(of_chunk) != len(anatomy.attentions):
                raise ValueError(f"{len(of_chunk)} of {len(anatomy.attentions)} layers were passed")
            distances.append(torch.stack(of_chunk).cpu() * len(chunk))
            if wants_rollout:
                rolled_BNN = rollout(means)
                row = rolled_BNN[:, 0] if anatomy.reads_class_token else rolled_BNN[:, anatomy.num_other_tokens :].mean(dim=1)
                rollouts.append(row[:, anatomy.num_other_tokens :].cpu())
    return torch.stack(distances).sum(dim=0) / len(x_BCHW), torch.cat(rollouts)[:num_rollouts]


def patch_distances(num_patches: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Distance between the centres of every two patches of a square image, in patches, float32 (P, P)."""
    side = round(num_patches**0.5)
    numbers = torch.arange(num_patches, device=device)
    places_P2 = torch.stack([numbers // side, numbers % side], dim=1).float()
    return torch.cdist(places_P2, places_P2, compute_mode="donot_use_mm_for_euclid_dist")


def attention_distances(weights_BANN: Tensor, between_PP: Tensor) -> Tensor:
    """Mean distance, weighted by attention, from a patch to those that it attends to: float32 (A,), over images and patches.

    What a patch gives to the class token has no distance; the rest is taken for the whole.
    """
    num_others = weights_BANN.shape[-1] - len(between_PP)
    among_BAPP = weights_BANN[:, :, num_others:, num_others:]
    given_BAP = among_BAPP.sum(dim=-1).clamp(min=SMALLEST)
    return ((among_BAPP * between_PP).sum(dim=-1) / given_BAP).mean(dim=(0, 2))


def rollout(means: list[Tensor]) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020): heads averaged, the skip connection added, multiplied through the layers.

    `means` holds each layer's weights (B, N, N), heads averaged, from the lowest on; so has the result: row i says what token
    i of the last layer rests on, and sums to 1.
    """
    rolled_BNN = identity = torch.eye(means[0].shape[-1], device=means[0].device)
    for mean_BNN in means:
        rolled_BNN = (0.5 * mean_BNN + 0.5 * identity) @ rolled_BNN
    return rolled_BNN


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _watching(modules: tuple[nn.Module, ...], see: Callable[[nn.Module, tuple[Tensor, ...]], None]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(partial(see)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
