"""Builds the architectures of timm and torchvision, and tries them before they are used.

A model is first made on torch's meta device, which has shapes and no numbers: what it cannot be or do is known in a
fraction of a second and costs no memory. Weights from the network are never asked for. Must not know weight files, data sets
or recipes. Read `build_library_model` first.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import ProfileError
from repro.models.heads import head_of, head_parameters
from repro.models.libraries import import_timm, import_torchvision
from repro.models.names import LibraryName, parse_library_name
from repro.models.quiet import quietly
from repro.spec import ModelSpec

DIMENSIONS = {
    "patch_size": ("patch_size",),
    "width": ("embed_dim",),
    "depth": ("depth",),
    "num_heads": ("num_heads",),
    "stage_widths": ("channels", "dims"),
    "stage_depths": ("layers", "depths"),
}
"""A spec's dimensions, and what timm's classes call them."""

REFUSALS = (
    TypeError,
    ValueError,
    AssertionError,
    RuntimeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
"""What the libraries raise for dimensions or images that an architecture cannot have."""


def build_library_model(
    spec: ModelSpec, *, image_size: int, num_channels: int, num_classes: int, generator: torch.Generator
) -> nn.Module:
    """A library's architecture on the CPU, its weights drawn from `generator`, its head zero.

    The global random state is left as it was. Raises ProfileError if there is no such architecture or it cannot take such
    images, dimensions or classes.
    """
    shape = {"image_size": image_size, "num_channels": num_channels, "num_classes": num_classes}
    _try(spec, skeleton(spec, **shape), **shape)
    with _randomness_of(generator):
        model = _construct(spec, **shape)
    with torch.no_grad():
        for parameter in head_parameters(model):
            parameter.zero_()
    return model


def skeleton(spec: ModelSpec, *, image_size: int | None, num_channels: int, num_classes: int) -> nn.Module:
    """The architecture on the meta device; without an image size, at the one that the library gives it.

    Raises ProfileError if there is no such architecture or it cannot be built so.
    """
    shape: dict[str, Any] = {"image_size": image_size, "num_channels": num_channels, "num_classes": num_classes}
    with _randomness_of(torch.Generator()):
        try:
            with torch.device("meta"):
                return _construct(spec, **shape)
        except NotImplementedError:  # torchvision's RegNet reads numbers while it is built.
            return _construct(spec, **shape).to("meta")


def _construct(spec: ModelSpec, *, image_size: int | None, num_channels: int, num_classes: int) -> nn.Module:
    assert spec.library_name is not None
    name = parse_library_name(spec.library_name)
    try:
        if name.library == "timm":
            return _timm_model(spec, name, image_size=image_size, in_chans=num_channels, num_classes=num_classes)
        return _torchvision_model(spec, name, image_size=image_size, num_channels=num_channels, num_classes=num_classes)
    except REFUSALS as error:
        if isinstance(error, NotImplementedError) and torch.get_default_device().type == "meta":
            raise
        images = f" for images of {image_size} px" if image_size else ""
        raise ProfileError(
            f"{spec.name} cannot be built{images}: {_in_a_line(error)}.",
            remedy="Give the recipe another image_size, the model other dimensions, or use another model.",
        ) from error


def _timm_model(spec: ModelSpec, name: LibraryName, *, image_size: int | None, **options: Any) -> nn.Module:
    known = str(name).removeprefix("timm/")
    accepted = _timm_options(known)
    if image_size is not None and "img_size" in accepted:
        options["img_size"] = (image_size, image_size)
    for field, candidates in DIMENSIONS.items():
        value = getattr(spec, field)
        if not value:
            continue
        option = next((candidate for candidate in candidates if candidate in accepted), None)
        if option is None:
            taken = [one for one, names in DIMENSIONS.items() if accepted.intersection(names)]
            raise ProfileError(
                f"{spec.name}: timm's {name.architecture} takes no {field}; it takes {', '.join(taken) or 'no dimensions'}.",
                remedy=f"Leave {field} out, or name another architecture.",
            )
        options[option] = value
    try:
        model: nn.Module = import_timm().create_model(known, pretrained=False, **options)
    except TypeError as error:
        repeated = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
        fixed = next((one for one, names in DIMENSIONS.items() if repeated and repeated[1] in names), None)
        if fixed is None:
            raise
        raise ProfileError(
            f"{spec.name}: timm does not let anyone choose the {fixed} of {name.architecture}.",
            remedy=f"Leave {fixed} out, or name another architecture.",
        ) from error
    return model


@lru_cache(maxsize=256)
def _timm_options(known: str) -> frozenset[str]:
    """Names of what the class behind a timm name can be given."""
    with torch.device("meta"):
        kind = type(import_timm().create_model(known, pretrained=False))
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            names |= parameters.keys()
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
                break
    return frozenset(names)


def _torchvision_model(
    spec: ModelSpec, name: LibraryName, *, image_size: int | None, num_channels: int, num_classes: int
) -> nn.Module:
    if num_channels != 3:
        raise ProfileError(
            f"{spec.name} takes images of 3 channels, not {num_channels}.",
            remedy="Give grey images three equal channels, or use an in-house or timm model.",
        )
    models = import_torchvision().models
    options: dict[str, Any] = {}
    if image_size is not None and name.architecture.startswith("vit_"):
        options["image_size"] = image_size
    elif image_size is not None and name.architecture.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    model: nn.Module = models.get_model(name.architecture, weights=None, num_classes=num_classes, **options)
    return model


def _try(spec: ModelSpec, model: nn.Module, *, image_size: int, num_channels: int, num_classes: int) -> None:
    """Two images go through a skeleton, as they do while training. Raises ProfileError if no single set of logits comes out."""
    if patch := _patch_side(model):
        refuse_uneven_patches(spec, patch=patch, image_size=image_size)
    try:
        head = model.get_submodule(head_of(model))
    except ProfileError as error:
        raise ProfileError(f"{spec.name}: {error.message}", remedy=error.remedy) from error
    given: list[Tensor] = []
    head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        with quietly(), torch.no_grad():
            logits = model.train()(torch.zeros(2, num_channels, image_size, image_size, device="meta"))
    except REFUSALS as error:
        raise ProfileError(
            f"{spec.name} cannot take images of {image_size} px: {_in_a_line(error)}.",
            remedy="Give the recipe an image_size that the model takes, or use another model.",
        ) from error
    num_features = head_parameters(model)[0][0].numel()
    gives_logits = isinstance(logits, Tensor) and logits.shape == (2, num_classes)
    if not gives_logits or len(given) != 1 or given[0].numel() != 2 * num_features:
        raise ProfileError(
            f"{spec.name} does not end in one linear layer that gives one score a class.",
            remedy="Use a model without auxiliary classifiers whose last layer is its classifier.",
        )


def refuse_uneven_patches(spec: ModelSpec, *, patch: int, image_size: int) -> None:
    """Raises ProfileError if images cannot be cut into whole patches; timm would leave the rest of the image out."""
    if image_size % patch:
        raise ProfileError(
            f"{spec.name} cuts patches of {patch} px, which do not fit images of {image_size} px.",
            remedy=f"Use a model whose patch_size divides {image_size}, or resize the images with image_size.",
        )


def _patch_side(model: nn.Module) -> int | None:
    """Side of the patches, where they neither overlap nor are padded."""
    projection = getattr(getattr(model, "patch_embed", None), "proj", None)
    if isinstance(projection, nn.Conv2d) and projection.kernel_size == projection.stride and not any(projection.padding):
        return projection.kernel_size[0]
    return None


@contextmanager
def _randomness_of(generator: torch.Generator) -> Iterator[None]:
    """The libraries draw from torch's global state: lend them one that depends on `generator` alone."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _in_a_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return str(error).strip().partition("\n")[0].rstrip(".!") or type(error).__name__
