"""What the seeds of one arm have in common, and how its weights begin.

Must not know cells' states, statistics or claims. Read `ArmKey` first.
"""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from repro.spec import FROM_FILE, Family

Kind = Literal["scratch", "upstream", "pretrained"]
"""How weights begin, as a scope names it: at random, from an upstream run, from published weights or a file's."""

PRETRAINED: Kind = "pretrained"
FROM_UPSTREAM = "upstream:"
"""How an init begins that names an upstream run."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ArmKey:
    """What the seeds of one arm have in common."""

    dataset: str
    """Data set trained and tested on."""
    recipe: str
    """Name of the recipe."""
    init: str
    """`scratch`, `upstream:DATASET@NUM_IMAGES`, `pretrained` or `file:PATH`."""
    upstream_dataset: str
    """Name of the upstream data set; empty from scratch, and where it is not known."""
    num_upstream_images: int
    """Upstream images; 0 from scratch, and where they are not known."""
    num_train_images: int
    """Training images."""
    model: str
    """Name of the model."""
    family: Family
    """Its family."""

    @property
    def by_size(self) -> tuple[str, int, int, str]:
        """Sort key: upstream data set, upstream size, training size, model."""
        return self.upstream_dataset, self.num_upstream_images, self.num_train_images, self.model

    @property
    def beginning(self) -> str:
        """What arms have in common that are compared: the upstream run, or just that weights were given (which differ)."""
        return PRETRAINED if kind_of(self) == PRETRAINED else self.init


def kind_of(key: ArmKey) -> Kind:
    """`scratch`, `upstream` or `pretrained`, as a scope names it."""
    return kind_of_init(key.init)


def kind_of_init(init: str) -> Kind:
    """The kind of an init as a profile writes it. It does not follow from the upstream images, which may not be known."""
    if init == PRETRAINED or init.startswith(FROM_FILE):
        return PRETRAINED
    return "upstream" if init.startswith(FROM_UPSTREAM) else "scratch"


def contender(model: str, init: str) -> str:
    """What stands on one side of a comparison: the model, with the name of the file where its weights come from one."""
    return f"{model} from file {PurePath(init.removeprefix(FROM_FILE)).name}" if init.startswith(FROM_FILE) else model
