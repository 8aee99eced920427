"""How many images go through a model at once: what a training step keeps of each for its backward pass, against free memory.

Must not know how free memory is told (`repro.hardware`). Read `saved_bytes_per_image` first.
"""

import torch
from torch import Tensor, nn

from repro.training.precision import Precision
from repro.training.seeds import generator_for


def saved_bytes_per_image(model: nn.Module, *, shape: tuple[int, int, int], precision: Precision, num_images: int = 2) -> int:
    """Bytes that a training step keeps from forward to backward pass for each image of `shape` (C, H, W), rounded up.

    The difference between two forward passes, of `num_images` and of twice as many random images, so that what is kept once
    for all images (parameters, buffers, their bfloat16 copies) does not count. What the passes hold only for a moment does not
    count either. Nothing is kept for frozen parameters alone. The model is afterwards as it was.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.train()
        fewer, more = (_saved_bytes(model, (count, *shape), precision) for count in (num_images, 2 * num_images))
    finally:
        for module, is_training in modes:
            module.training = is_training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return max(0, -(-(more - fewer) // num_images))


def _saved_bytes(model: nn.Module, shape: tuple[int, int, int, int], precision: Precision) -> int:
    """Bytes that one forward pass keeps, each storage counted once."""
    x_BCHW = torch.randn(shape, generator=generator_for(0)).to(precision.device_type, memory_format=precision.memory_format)
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:
        # The storage, not the tensor: a result that its own graph keeps would never be freed. Held, its address is its name.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    def never_asked(_: None) -> Tensor:
        raise AssertionError("there is no backward pass")

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, never_asked), precision.autocast():
        model(x_BCHW)
    return sum(storage.nbytes() for storage in kept.values())


def fitting_micro_batch(batch_size: int, bytes_per_image: int, budget_bytes: int) -> int:
    """The largest divisor of `batch_size` of which so many images fit into the budget; at least 1."""
    divisors = (number for number in range(1, batch_size + 1) if batch_size % number == 0)
    return max((number for number in divisors if number * bytes_per_image <= budget_bytes), default=1)
