"""Optimizers and the learning-rate schedule.

Must not know models beyond their named parameters. Read `make_optimizer` first.
"""

import math

import torch
from torch import nn

from repro.spec import Recipe

NEVER_DECAYED = ("cls_token", "pos_embed")
"""Parameters of two and more dimensions that are not weights of a layer."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD over two groups of what is not frozen: layer weights with weight decay, everything else without."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in named if parameter.ndim >= 2 and name not in NEVER_DECAYED]
    others = [parameter for name, parameter in named if parameter.ndim < 2 or name in NEVER_DECAYED]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, recipe.adam_beta2), fused=True)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of step `step` (from 0): linear warm-up to `lr`, then half a cosine down towards 0."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))
