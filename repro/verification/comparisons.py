"""Comparisons: what was expected, what was found, how far apart the two may be; and two documents compared value by value.

Must not know what is compared. Read `Comparison` first, then `compare_documents`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Scalar = str | int | float | bool | None

RELATIVE_TOLERANCE = 1e-9
"""Of a recomputed float: another machine's libraries may sum in another order, and differ in the last of 16 digits."""
ABSOLUTE_TOLERANCE = 1e-12
"""The same near zero."""
ABSENT = "(absent)"
"""Stands for a value that is on one side only."""
IDENTITY = (
    *("dataset", "pair", "vit", "cnn", "model", "models", "family", "init", "recipe"),
    *("num_upstream_images", "num_train_images", "label", "name", "what", "seed"),
)
"""Fields that tell the entries of a list apart, where they have no id of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One value held against another."""

    name: str
    """File and field, or what else was compared."""
    expected: Scalar
    """What it should be: recomputed, recorded or published."""
    found: Scalar
    """What it is."""
    tolerance: float | None = None
    """How far two numbers may be apart; None where they must be equal."""

    @property
    def agrees(self) -> bool:
        """Whether the two are equal, or numbers within the tolerance."""
        if self.tolerance is not None and _is_number(self.expected) and _is_number(self.found):
            return abs(float(self.expected) - float(self.found)) <= self.tolerance  # type: ignore[arg-type]
        return self.expected == self.found and isinstance(self.expected, bool) == isinstance(self.found, bool)

    def line(self) -> str:
        """In one line."""
        tolerance = f" (tolerance {self.tolerance:.3g})" if self.tolerance is not None else ""
        return f"{self.name}: expected {self._shown(self.expected)}, found {self._shown(self.found)}{tolerance}"

    def _shown(self, value: Scalar) -> str:
        if isinstance(value, float) and self.tolerance is not None and self.tolerance > RELATIVE_TOLERANCE:
            return f"{value:.4f}"
        # Of what should be equal to the last digit, all digits.
        return value if isinstance(value, str) and value else repr(value)


@dataclass(kw_only=True)
class Part:
    """Comparisons of one kind."""

    name: str
    """What they are about."""
    comparisons: list[Comparison] = field(default_factory=list)
    """All of them."""
    notes: list[str] = field(default_factory=list)
    """What could not be compared, and why: no difference."""
    is_listed: bool = False
    """Whether those that agree are told too."""

    def compare(self, name: str, expected: Scalar, found: Scalar, *, tolerance: float | None = None) -> bool:
        """Add a comparison; whether it agrees."""
        self.comparisons.append(Comparison(name=name, expected=expected, found=found, tolerance=tolerance))
        return self.comparisons[-1].agrees

    @property
    def differences(self) -> list[Comparison]:
        """Those that do not agree."""
        return [comparison for comparison in self.comparisons if not comparison.agrees]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of all comparisons."""

    profile: str
    """Name of the profile."""
    home: str
    """The home."""
    num_cells: int
    """Cells of the profile."""
    num_unfinished: int
    """Those that are not finished, of which nothing could be verified."""
    parts: tuple[Part, ...]
    """Comparisons by kind."""

    @property
    def num_compared(self) -> int:
        """How many comparisons there are."""
        return sum(len(part.comparisons) for part in self.parts)

    @property
    def num_different(self) -> int:
        """How many of them do not agree."""
        return sum(len(part.differences) for part in self.parts)

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """For people: each part with its differences (`verbose`: with all comparisons), then the outcome."""
        for part in self.parts:
            different = part.differences
            state = "different" if different else "ok" if part.comparisons else "nothing"
            count = f"{len(different)} of {len(part.comparisons):,} differ" if different else f"{len(part.comparisons):,} agree"
            yield f"{state:9s}  {part.name:15s}  {count if part.comparisons else 'to compare'}"
            for comparison in part.comparisons:
                if verbose or part.is_listed or not comparison.agrees:
                    yield f"  {'=' if comparison.agrees else '!'} {comparison.line()}"
            for note in part.notes:
                yield f"  note: {note}"
        if self.num_unfinished:
            yield f"{self.num_unfinished} of {self.num_cells} cells are not finished; what is there was verified"
        if self.num_different:
            yield f"{self.profile}: {self.num_different:,} of {self.num_compared:,} comparisons differ"
        else:
            yield f"{self.profile}: all {self.num_compared:,} comparisons agree"

    def as_json(self, *, verbose: bool) -> dict[str, Any]:
        """For programs, with the same choice of comparisons."""
        return {
            "profile": self.profile,
            "home": self.home,
            "num_cells": self.num_cells,
            "num_unfinished": self.num_unfinished,
            "num_compared": self.num_compared,
            "num_different": self.num_different,
            "parts": [
                {
                    "name": part.name,
                    "num_compared": len(part.comparisons),
                    "num_different": len(part.differences),
                    "notes": part.notes,
                    "comparisons": [
                        asdict(comparison) | {"agrees": comparison.agrees}
                        for comparison in part.comparisons
                        if verbose or part.is_listed or not comparison.agrees
                    ],
                }
                for part in self.parts
            ],
        }


def compare_documents(
    part: Part,
    name: str,
    expected: Any,
    found: Any,
    *,
    counts: Callable[[str], bool] = lambda _: True,
) -> None:
    """Compare two JSON documents value by value, floats with the tolerance of recomputed ones.

    Entries of lists are paired by what identifies them, so that one that is missing does not shift the others. `counts` says
    of a path whether it is compared.
    """
    ours, theirs = dict(_leaves(expected, "")), dict(_leaves(found, ""))
    for path in dict.fromkeys([*ours, *theirs]):
        if not counts(path):
            continue
        value, other = ours.get(path, ABSENT), theirs.get(path, ABSENT)
        tolerance = None
        if isinstance(value, float) or isinstance(other, float):
            scale = abs(value) if isinstance(value, int | float) else 0.0
            tolerance = max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * scale)
        part.compare(f"{name} {path}", value, other, tolerance=tolerance)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for label, inner in zip(_labels(value), value, strict=True):
            yield from _leaves(inner, f"{path}[{label}]")
        if not value:
            yield path, "(none)"
    else:
        yield path, value


def _labels(values: Sequence[Any]) -> list[str]:
    """A name for each entry: its id where each has one of its own, else what identifies it, else its place."""
    if not all(isinstance(value, Mapping) for value in values):
        return [str(place) for place in range(len(values))]
    ids = [str(value.get("id", "")) for value in values]
    if all(ids) and len(set(ids)) == len(ids):
        return ids
    labels: list[str] = []
    for value, own in zip(values, ids, strict=True):
        told = [str(value[key]) for key in IDENTITY if isinstance(value.get(key), str | int) and value[key] != ""]
        label = " ".join([*([own] if own else []), *told]) or "entry"
        again = sum(known.rpartition("#")[0] == label or known == label for known in labels)
        labels.append(f"{label}#{again + 1}" if again else label)
    return labels


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
