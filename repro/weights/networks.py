"""What this package must be told by code that knows networks: that code takes seconds to be imported, so it is handed in.

Must not know torch, timm or torchvision. Read `Networks` first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repro.spec import CheckpointSpec, DataFile, InputSpec, ModelSpec, library_of


class LibraryWeights(Protocol):
    """What a library says of the weights that a model's name pins."""

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Where they lie."""

    @property
    def input(self) -> InputSpec:
        """How they want their images."""


class Inspected(Protocol):
    """What a file of weights was found to hold."""

    @property
    def content_sha256(self) -> str:
        """Digest of its tensors."""

    @property
    def num_parameters(self) -> int:
        """How many numbers they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The four questions."""

    library: Callable[[str], LibraryWeights]
    """What the library says of a name that pins weights; raises ProfileError for one that it does not know."""
    library_input: Callable[[str], InputSpec | None]
    """How the library feeds an architecture; None where it has no weights for it; raises ProfileError likewise."""
    input_from_config: Callable[[str, str], InputSpec]
    """What the text of a config.json says for an architecture; raises CorruptFile for one that says nothing."""
    inspect: Callable[[Path, ModelSpec], Inspected]
    """What a file holds; raises CorruptFile for one that cannot be read safely or is of another architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A checkpoint with all that must be known to bring it."""

    checkpoint: CheckpointSpec
    """Which weights."""
    model: ModelSpec
    """The architecture that they must fit."""
    files: tuple[DataFile, ...]
    """Where they lie, the preferred place first; none for a file of the user's."""
    input: InputSpec | None
    """How the library feeds its architecture, for files that come without a configuration; None for one
    made in-house, or that the library has no weights for."""

    @classmethod
    def of(cls, checkpoint: CheckpointSpec, model: ModelSpec, networks: Networks) -> "Wanted":
        """What is wanted; the library is asked where one has the architecture. Raises ProfileError for a name unknown to it."""
        name = model.library_name
        if name is None:
            return cls(checkpoint=checkpoint, model=model, files=checkpoint.file, input=None)
        if checkpoint.file or checkpoint.path is not None:
            return cls(checkpoint=checkpoint, model=model, files=checkpoint.file, input=networks.library_input(name))
        library = networks.library(checkpoint.name if library_of(checkpoint.name) else name)
        return cls(checkpoint=checkpoint, model=model, files=library.files, input=library.input)
