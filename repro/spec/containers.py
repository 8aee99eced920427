"""The container image's variants, and which GPUs and drivers each of them serves.

Must not know how images are built or GPUs asked. Read `ContainerImage` first.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from repro.spec.base import Name, Spec

Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]
"""Numbers with points between them."""
Architecture = Annotated[str, Field(pattern=r"^(sm|compute)_[0-9]{2,3}[af]?$")]
"""As torch lists them: `sm_90` is machine code, `compute_90` code that a driver can compile for later GPUs."""


class ContainerImage(Spec):
    """One variant of the image."""

    lock: Name
    """Which `requirements/*.lock.txt` it is built from."""
    torch: Version
    """Version of torch."""
    torchvision: Version
    """Version of torchvision that goes with it."""
    cuda: Version
    """CUDA version that this torch brings along."""
    min_driver: Version
    """Oldest NVIDIA driver that runs it."""
    archs: tuple[Architecture, ...] = Field(min_length=1)
    """What its torch is compiled for."""
    generations: str
    """The GPU generations that these are, in words."""

    def serves(self, *, driver: str, capability: tuple[int, int] | None) -> bool:
        """Whether it runs with this driver, on a GPU of this compute capability (None: of any)."""
        runs = version_numbers(driver) >= version_numbers(self.min_driver)
        return runs and (capability is None or is_covered(capability, self.archs))


def version_numbers(version: str) -> tuple[int, ...]:
    """`535.161.08` → (535, 161, 8): versions compare as these."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def is_covered(capability: tuple[int, int], archs: Sequence[str]) -> bool:
    """Whether a GPU of this compute capability can run code compiled for one of `archs` (CUDA programming guide, 5.1).

    Machine code runs on the same major version from its minor version on, with the suffix `a` on its very version only;
    `compute_…` can be compiled by the driver for any later GPU.
    """
    for arch in archs:
        found = re.fullmatch(r"(sm|compute)_([0-9]+)([0-9])([af]?)", arch)
        if found is None:
            continue
        kind, version, suffix = found[1], (int(found[2]), int(found[3])), found[4]
        if version == capability:
            return True
        is_later = version < capability and suffix == ""
        if is_later and (kind == "compute" or version[0] == capability[0]):
            return True
    return False
