"""Stands for `torch.cuda.make_graphed_callables` on a CPU: as that does it warms up, replaces `forward`, and keeps what goes in
and comes out in buffers of its own, which the next pass overwrites."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Change = Callable[[Tensor], Tensor]


class Recording:
    """The stand-in, to be put in torch's place; counts what is played back."""

    def __init__(
        self,
        *,
        logits: Change = lambda logits_BK: logits_BK,
        gradient: Change = lambda gradient: gradient,
        copies_images: bool = True,
        reads_weights: bool = True,
    ) -> None:
        """`logits` and `gradient` change what each pass gives; what is not copied or read stays as it was recorded."""
        self.change_logits, self.change_gradient = logits, gradient
        self.copies_images, self.reads_weights = copies_images, reads_weights
        self.num_forward = self.num_backward = 0

    def __call__(self, module: nn.Module, sample_args: tuple[Tensor, ...], num_warmup_iters: int = 3) -> nn.Module:
        assert not (torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled()), "torch refuses that"
        (x_BCHW,) = sample_args
        parameters = tuple(module.parameters())
        for _ in range(num_warmup_iters):
            torch.rand(3)
            outputs = module(x_BCHW)
            torch.autograd.grad(outputs, parameters, torch.empty_like(outputs))
        before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        forward = module.forward
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        recording = self

        def played(x_BCHW: Tensor) -> Tensor:
            if recording.reads_weights:
                return forward(x_BCHW)
            # What was put in place of `forward` must not be called for it.
            copied = {name: tensor.requires_grad_() for name, tensor in before.items()}
            inner = {name.removeprefix("model."): tensor for name, tensor in copied.items()}
            return functional_call(module.model, inner, x_BCHW)

        class Played(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, new_BCHW: Tensor, *_: Tensor) -> Tensor:
                recording.num_forward += 1
                if recording.copies_images:
                    x_BCHW.copy_(new_BCHW)
                with torch.enable_grad():
                    ctx.logits_BK = recording.change_logits(played(x_BCHW))
                return ctx.logits_BK.detach()

            @staticmethod
            def backward(ctx: Any, outputs_gradient_BK: Tensor) -> tuple[Tensor | None, ...]:
                recording.num_backward += 1
                leaves = parameters if recording.reads_weights else tuple(before.values())
                found = torch.autograd.grad(ctx.logits_BK, leaves, outputs_gradient_BK)
                for buffer, gradient in zip(gradients, found, strict=True):
                    buffer.copy_(recording.change_gradient(gradient))
                return None, *(buffer.detach() for buffer in gradients)

        module.forward = lambda new_BCHW: Played.apply(new_BCHW, *parameters)
        return module
