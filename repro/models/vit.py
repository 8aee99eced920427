"""The Vision Transformer of Dosovitskiy et al. 2020, section 3.1, equations 1 to 4.

Shape letters: B batch, C channels, H height, W width, N tokens (patches and the class token), D width, K classes.
Parameter names are timm's, so that weights can be copied either way; a test shows both to compute the same.
Must not know data, recipes or devices. Read `VisionTransformer.forward` first.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYER_NORM_EPSILON = 1e-6
"""As in the authors' code (vision_transformer, flax LayerNorm default)."""


class Attention(nn.Module):
    """Multi-head self-attention (appendix A of the paper): x_BND → (B, N, D)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        B, N, D = x_BND.shape
        q, k, v = self.qkv(x_BND).view(B, N, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        heads_BhNd = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(heads_BhNd.transpose(1, 2).reshape(B, N, D))
        return out


class Mlp(nn.Module):
    """Two layers with a GELU between, four times as wide inside: x_BND → (B, N, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x_BND)))
        return out


class Block(nn.Module):
    """Pre-norm encoder block, equations 2 and 3: x_BND → (B, N, D)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(width)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        x_BND = x_BND + self.mlp(self.norm2(x_BND))
        return x_BND


class PatchEmbedding(nn.Module):
    """Cut into patches and project each linearly, equation 1: x_BCHW → (B, patches, D)."""

    def __init__(self, patch_size: int, num_channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(num_channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        patches: Tensor = self.proj(x_BCHW)
        return patches.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Images float (B, C, H, W) with H = W = `image_size` → logits (B, K) from the class token.

    Raises ValueError if the patch size does not divide the image size.
    """

    def __init__(
        self, *, image_size: int, patch_size: int, num_channels: int, num_classes: int, width: int, depth: int, num_heads: int
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}")
        num_tokens = (image_size // patch_size) ** 2 + 1
        self.patch_embed = PatchEmbedding(patch_size, num_channels, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BND = self.patch_embed(x_BCHW)
        x_BND = torch.cat([self.cls_token.expand(len(x_BND), -1, -1), x_BND], dim=1) + self.pos_embed
        x_BND = self.blocks(x_BND)
        logits_BK: Tensor = self.head(self.norm(x_BND)[:, 0])
        return logits_BK


@torch.no_grad()
def initialise_vit(model: VisionTransformer, *, generator: torch.Generator) -> None:
    """Initial weights as in the authors' code (vit_jax/models_vit.py): every draw comes from `generator`.

    1. Linear layers: Xavier uniform, biases 0 (normal with deviation 1e-6 inside the MLP).
    2. Patch projection: LeCun normal, bias 0.
    3. Position embedding: normal with deviation .02; class token 0.
    4. Head: 0, so that training starts from equal probabilities.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if ".mlp." in name:
                module.bias.normal_(std=1e-6, generator=generator)
            else:
                module.bias.zero_()
    fan_in = model.patch_embed.proj.weight[0].numel()
    model.patch_embed.proj.weight.normal_(std=fan_in**-0.5, generator=generator)
    assert model.patch_embed.proj.bias is not None
    model.patch_embed.proj.bias.zero_()
    model.pos_embed.normal_(std=0.02, generator=generator)
    model.head.weight.zero_()
    model.head.bias.zero_()
