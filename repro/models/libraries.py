"""The one door to torchvision and timm.

The registry's torchvision is a CUDA build; beside a CPU-only torch its import dies because the operators `nms` and `qnms` are
missing, and timm's dies with it. The kit uses neither operator, so on exactly that error their schemas are declared and the
import is tried again. Must not know which models are wanted. Read `import_torchvision` first.
"""

import importlib
import sys
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []
"""Keeps the declared schemas alive; torch forgets them with the Library object."""


def import_torchvision() -> ModuleType:
    """torchvision, with its import mended beside a CPU-only torch. Raises whatever else its import raises."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _declared.append(library)
    return importlib.import_module("torchvision")


def import_timm() -> ModuleType:
    """timm, after torchvision has been made importable."""
    import_torchvision()
    return importlib.import_module("timm")
