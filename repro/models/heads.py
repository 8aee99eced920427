"""The linear classifier at the end of a model, and what it is given.

Shape letters: B batch, C channels, H height, W width, D features, K classes. Must not know who built the model or from what.
Read `head_of` first.
"""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repro.errors import ProfileError

LINEAR = (nn.Linear, nn.Conv2d)
"""What a head is made of; a convolution of one pixel is a linear layer (BiT has one)."""


def head_of(model: nn.Module) -> str:
    """Dotted name of the linear layer that maps features to classes: its parameters are `NAME.weight` and `NAME.bias`.

    timm writes it down; everywhere else it is the last linear layer of the last part. Raises ProfileError where there is
    not exactly one.
    """
    configuration = getattr(model, "pretrained_cfg", None)
    name = configuration.get("classifier") if isinstance(configuration, dict) else _last_linear(model)
    remedy = "Use a model that ends in one linear layer; of a distilled model, the one without distillation."
    if name is not None and not isinstance(name, str):
        raise ProfileError(f"{type(model).__name__} has {len(name)} heads ({', '.join(name)}), not one.", remedy=remedy)
    head = dict(model.named_modules()).get(name) if name else None
    if name is None or not isinstance(head, LINEAR):
        raise ProfileError(f"{type(model).__name__} does not end in a linear classifier.", remedy=remedy)
    return name


def _last_linear(model: nn.Module) -> str | None:
    children = list(model.named_children())
    if not children:
        return None
    outer, last = children[-1]
    inside = [name for name, module in last.named_modules(prefix=outer) if isinstance(module, LINEAR)]
    return inside[-1] if inside else None


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Weight of the head, (K, D), or (K, D, 1, 1) where it is a convolution, and its bias, (K,), if it has one."""
    return list(model.get_submodule(head_of(model)).parameters())


def features(model: nn.Module, x_BCHW: Tensor) -> Tensor:
    """What the head is given for images float (B, C, H, W): (B, D). Gradients and mode are the caller's."""
    given: list[Tensor] = []
    head = model.get_submodule(head_of(model))
    handle = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        model(x_BCHW)
    finally:
        handle.remove()
    (features_BD,) = given
    return features_BD.flatten(1)


def uses_batch_norm(model: nn.Module) -> bool:
    """Whether the images of one batch influence one another while training, so that the micro-batch matters."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())
