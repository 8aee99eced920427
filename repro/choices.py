"""What is chosen automatically, each with its reason, as records and benchmarks tell it.

Must not know how it is chosen. Read `Choice` first.
"""

from collections.abc import Iterable
from enum import StrEnum

from repro.spec import Spec

PRECISION = "precision"
"""`Choice.what` of the precision."""
STEPS = "steps"
"""`Choice.what` of the way in which training steps were taken; where a record has none they were plain."""


class Choice(Spec):
    """Something that was chosen automatically, with the reason."""

    what: str
    """For instance `device`, `precision`, `threads`."""
    value: str
    """The choice."""
    reason: str
    """Why."""
    holds: bool = True
    """Whether later runs on the same device may take it over; else it was so for this run only."""


def chosen(choices: Iterable[Choice], what: str) -> Choice | None:
    """The choice on this matter; None where nothing was chosen."""
    return next((choice for choice in choices if choice.what == what), None)


class StepWay(StrEnum):
    """In which way training steps run their forward and backward pass. All compute the same, rounded otherwise at most."""

    PLAIN = "plain"
    """Operation by operation."""
    COMPILED = "compiled"
    """Through `torch.compile`."""
    GRAPHED = "CUDA graphs"
    """Each pass recorded once as a CUDA graph and played back."""

    @property
    def failure(self) -> str:
        """What is said where steps could not be made ready in this way."""
        return f"{'compiling' if self is StepWay.COMPILED else self} failed"
