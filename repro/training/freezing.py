"""Training the head alone, on features that stay as they are (a linear probe).

Must not know models or recipes. Read `only_training` first.
"""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def only_training(head: nn.Module | None, model: nn.Module) -> Iterator[None]:
    """While inside, all parameters of `model` but those of its part `head` are frozen, see `freeze_all_but`; None: none are."""
    frozen = freeze_all_but(head, model)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def freeze_all_but(head: nn.Module | None, model: nn.Module) -> list[nn.Parameter]:
    """Take all parameters of `model` but those of its part `head` out of training, and return them; None: take out none.

    No gradients are computed for them then, earlier ones are dropped so that they do not count in a norm, and an optimizer that
    is made afterwards does not see them.
    """
    if head is None:
        return []
    trained = {id(parameter) for parameter in head.parameters()}
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in trained]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    return frozen


def enter_training_mode(model: nn.Module, head: nn.Module | None) -> None:
    """The model in training mode; with a `head` only that, so that BatchNorm and the like in front of it stay as they are."""
    model.train(head is None)
    if head is not None:
        head.train()
