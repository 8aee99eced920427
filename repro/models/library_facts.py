"""What the libraries say of published weights: where they lie, how they want their images, under which licence they come.

Must not know files or the network. Read `library_checkpoint` first.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from repro.errors import CorruptFile, ProfileError
from repro.models.names import FORMS, LibraryName, current_name, library_version, parse_library_name, weights_of
from repro.spec import DataFile, InputSpec, library_of

HOSTS = {"https://download.pytorch.org/models/": "pytorch", "https://dl.fbaipublicfiles.com/": "fbaipublic"}
"""Addresses that have a name in the catalogue."""
READABLE = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that `repro.models.weights_file` reads."""
HUB_FILE = "model.safetensors"
"""What timm's repositories on the hub call their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryCheckpoint:
    """One set of published weights."""

    files: tuple[DataFile, ...]
    """Where it lies, the preferred place first."""
    input: InputSpec
    """How it wants its images."""
    license: str
    """The licence that the library names for it; empty where it names none."""
    num_classes: int
    """Classes of its own classifier; 0 where it comes without."""


def library_checkpoint(name: str) -> LibraryCheckpoint:
    """The weights that `timm/ARCHITECTURE.TAG` or `torchvision/NAME.WEIGHTS` pins.

    Raises ProfileError for a name that the library does not know, that pins none, or whose files the kit cannot read.
    """
    found = parse_library_name(name)
    known = weights_of(found.library, found.architecture)
    if not found.tag:
        tags = ", ".join(known)
        raise ProfileError(
            f"{name} says which architecture, not which weights"
            + (f"; there are: {tags}." if tags else ", and there are none."),
            remedy=f"Name the weights: {name}.{next(iter(known))}, or another of them."
            if tags
            else f"Write {FORMS[found.library]}.",
        )
    weights = known[found.tag]
    if found.library == "timm":
        files, license_name, num_classes = _timm_files(weights), weights.license or "", weights.num_classes
    else:
        files = (_file_at(weights.url),)
        license_name, num_classes = weights.meta.get("license", ""), len(weights.meta.get("categories") or ())
    if not files:
        raise ProfileError(
            f"The weights of {name} lie only in files that the kit cannot read.",
            remedy=f"Use weights in one of {', '.join(READABLE)}, or start from file:PATH.",
        )
    return LibraryCheckpoint(files=files, input=_input_of(found, weights), license=license_name, num_classes=num_classes)


def library_input(name: str) -> InputSpec | None:
    """How the library feeds an architecture: as the weights in the name want it, or those that the library takes by default.

    None where it has no weights for it. Raises ProfileError for a name that it does not know.
    """
    found = parse_library_name(name)
    known = weights_of(found.library, found.architecture)
    weights = known.get(found.tag) or next(iter(known.values()), None)
    return None if weights is None else _input_of(found, weights)


def _timm_files(weights: Any) -> tuple[DataFile, ...]:
    files = []
    if weights.hf_hub_id:
        path = f"{weights.hf_hub_id}/resolve/main/{weights.hf_hub_filename or HUB_FILE}"
        files.append(DataFile(host="huggingface", path=path))
    if isinstance(weights.url, str) and weights.url:
        files.append(_file_at(weights.url))
    return tuple(file for file in files if file.path.endswith(READABLE))


def _file_at(url: str) -> DataFile:
    for address, host in HOSTS.items():
        if url.startswith(address):
            return DataFile(host=host, path=url.removeprefix(address))
    parts = urlsplit(url)
    return DataFile(host=f"{parts.scheme}://{parts.netloc}", path=parts.path.removeprefix("/"))


def _input_of(name: LibraryName, weights: Any) -> InputSpec:
    source = f"{name.library} {library_version(name.library)}"
    if name.library == "timm":
        return _input(weights.input_size, weights.mean, weights.std, weights.interpolation, source=source, name=str(name))
    wanted = weights.transforms()
    size = (3, wanted.crop_size[0], wanted.crop_size[-1])
    return _input(size, wanted.mean, wanted.std, wanted.interpolation.value, source=source, name=str(name))


def _input(size: Any, mean: Any, std: Any, interpolation: Any, *, source: str, name: str) -> InputSpec:
    """Raises ProfileError for images that the kit has none of."""
    if len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        raise ProfileError(
            f"{name} was trained on images of {' x '.join(map(str, size))}; the kit's are square and have 3 channels.",
            remedy="Use other weights.",
        )
    return InputSpec(image_size=size[-1], mean=tuple(mean), std=tuple(std), interpolation=interpolation, source=source)


def input_from_config(text: str, *, architecture: str) -> InputSpec:
    """How weights want their images, by the config.json that the hub keeps beside them; `architecture` is a name with library.

    Raises CorruptFile for a text that is no such configuration, or one of another architecture.
    """
    remedy = "Fetch it again; it lies beside the weights, in the same folder of the hub."
    try:
        document = json.loads(text)
        fields = document.get("pretrained_cfg", document)
        found = document.get("architecture") or fields["architecture"]
        wanted = _input(
            fields["input_size"],
            fields["mean"],
            fields["std"],
            fields["interpolation"],
            source="config.json beside the weights",
            name=found,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError, ProfileError) as error:
        reason = error.message if isinstance(error, ProfileError) else f"{type(error).__name__} {error}".partition("\n")[0]
        raise CorruptFile(f"This is no timm configuration: {reason}.", remedy=remedy) from error
    expected = architecture.removeprefix(f"{library_of(architecture)}/").partition(".")[0]
    if current_name(found) != current_name(expected):
        raise CorruptFile(f"The configuration is that of {found}, not of {expected}.", remedy=remedy)
    return wanted
