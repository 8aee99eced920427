"""Derived seeds: every random choice has its own generator, named by its purpose.

Both families of one (data set, size, seed) get the same batches and the same augmentation draws, so that their difference is
paired. Must not know models. Read `derive_seed` first.
"""

import hashlib

import torch


def derive_seed(purpose: str, *words: object) -> int:
    """A 63-bit seed from a purpose and what it belongs to; other words give an independent seed."""
    text = "/".join([purpose, *(str(word) for word in words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int, *, device: str = "cpu") -> torch.Generator:
    """A fresh generator on `device`."""
    return torch.Generator(device).manual_seed(seed)


class BatchStream:
    """Which images make up each step: successive random permutations of the training set, cut into equal batches.

    Every batch is full, also when the set is smaller than a batch, and over a run every image is used equally often (give or
    take one). Step t's batch depends on the seed and t only, so a resumed run continues exactly.
    """

    def __init__(self, num_images: int, batch_size: int, *, seed: int, positions_N: torch.Tensor | None = None) -> None:
        """`positions_N` are the images' positions in a larger set, int64 (num_images,); None: they are that set."""
        self.num_images = num_images
        self.batch_size = batch_size
        self._positions_N = positions_N
        self.seed = seed
        self._pass = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> torch.Tensor:
        """Positions int64 (batch_size,) of the images of step `step`, counted from 0."""
        position, missing = step * self.batch_size, self.batch_size
        number, offset = divmod(position, self.num_images)
        if offset + missing <= self.num_images:
            return self._permutation(number)[offset : offset + missing]
        parts: list[torch.Tensor] = []
        while missing:
            number, offset = divmod(position, self.num_images)
            taken = self._permutation(number)[offset : offset + missing]
            parts.append(taken)
            position += len(taken)
            missing -= len(taken)
        return torch.cat(parts)

    def _permutation(self, number: int) -> torch.Tensor:
        if number != self._pass:
            generator = generator_for(derive_seed("permutation", self.seed, number))
            order = torch.randperm(self.num_images, generator=generator)
            # Once a pass, so that a step only cuts.
            self._pass, self._order = number, order if self._positions_N is None else self._positions_N[order]
        return self._order
