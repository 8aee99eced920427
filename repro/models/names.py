"""Names of the libraries' models: which there are, and which weights.

Must not know what is built from them. Read `parse_library_name` first.
"""

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from repro.errors import ProfileError
from repro.models.libraries import import_timm, import_torchvision
from repro.spec import alternatives, library_of

FORMS = {
    "timm": "timm/ARCHITECTURE or, with weights, timm/ARCHITECTURE.TAG, as in timm/deit_tiny_patch16_224.fb_in1k",
    "torchvision": "torchvision/NAME or, with weights, torchvision/NAME.WEIGHTS, as in torchvision/resnet50.IMAGENET1K_V2",
}
"""What a legal name looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryName:
    """A model of a library, known to be there."""

    library: str
    """`timm` or `torchvision`."""
    architecture: str
    """The library's name of the architecture."""
    tag: str
    """Which weights: a key of `weights_of`, or empty where none are named."""

    def __str__(self) -> str:
        return f"{self.library}/{self.architecture}" + (f".{self.tag}" if self.tag else "")


def parse_library_name(name: str) -> LibraryName:
    """`timm/ARCHITECTURE[.TAG]` or `torchvision/NAME[.WEIGHTS]`, looked up in the library that is installed.

    Raises ProfileError for an architecture or weights that it does not have, with those that it has.
    """
    library = library_of(name)
    if library is None:
        raise ProfileError(f"{name!r} names no library.", remedy=f"Write {FORMS['timm']}, or {FORMS['torchvision']}.")
    architecture, _, tag = name.removeprefix(f"{library}/").partition(".")
    known = architectures(library)
    if architecture not in known:
        near = [f"{one}/{architecture}" for one in FORMS if architecture in architectures(one)]
        if not near and library == "timm" and (current := current_name(architecture)) != architecture:
            near = [f"timm/{current}"]
        near = near or [f"{library}/{one}" for one in difflib.get_close_matches(architecture.lower(), known, n=3)]
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ProfileError(
            f"{library} {library_version(library)} has no image classifier called {architecture!r}{hint}",
            remedy=f"Write {FORMS[library]}.",
        )
    tags = list(weights_of(library, architecture))
    if tag and tag not in tags:
        raise ProfileError(
            f"{library} {library_version(library)} has no weights {tag!r} for {architecture}; {alternatives(tag, tags)}."
            if tags
            else f"{library} {library_version(library)} has no weights for {architecture}.",
            remedy=f"Write {FORMS[library]}.",
        )
    return LibraryName(library=library, architecture=architecture, tag=tag)


def library_version(library: str) -> str:
    """The installed version, without what says how it was built."""
    module = import_timm() if library == "timm" else import_torchvision()
    return str(module.__version__).partition("+")[0]


@lru_cache(maxsize=2)
def architectures(library: str) -> tuple[str, ...]:
    """Names of all architectures; of torchvision, the image classifiers."""
    if library == "timm":
        return tuple(import_timm().list_models())
    models = import_torchvision().models
    return tuple(models.list_models(module=models))


@lru_cache(maxsize=256)
def weights_of(library: str, architecture: str) -> dict[str, Any]:
    """What the library says of each set of weights for an architecture, by tag: timm's PretrainedCfg, torchvision's Weights."""
    if library == "torchvision":
        return dict(import_torchvision().models.get_model_weights(architecture).__members__)
    models = import_timm().models
    names = [name for name in models.list_pretrained(architecture) if "." in name]
    return {name.partition(".")[2]: models.get_pretrained_cfg(name) for name in names}


def current_name(architecture: str) -> str:
    """What timm calls an architecture today that had another name; the same name where it had none, or knows no other."""
    current: str | None = import_timm().models.get_deprecated_models().get(architecture.partition(".")[0])
    return (current or architecture).partition(".")[0]
