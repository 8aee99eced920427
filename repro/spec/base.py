"""What every spec shares: strictness, names, and errors that name the bad field.

Must not know any particular spec. Read `parse` first.
"""

import difflib
import json
import re
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from repro.errors import ProfileError

Family = Literal["vit", "cnn"]
"""The two sides of the comparison."""
Fraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
SpecType = TypeVar("SpecType", bound="Spec")


class Spec(BaseModel):
    """Base of everything that stands in a file: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


@lru_cache(maxsize=4096)
def slug(text: str) -> str:
    """`text` with everything but letters, digits, `_`, `-` and `+` replaced, cut to 120 characters: safe in a path."""
    return re.sub(r"[^A-Za-z0-9_+-]+", "_", text)[:120] or "_"


def alternatives(name: str, known: list[str]) -> str:
    """What to write instead of an unknown `name`: the nearest known one, if any is near, and all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known here: {', '.join(known)}"


def parse(kind: type[SpecType], document: dict[str, Any], *, origin: str) -> SpecType:
    """Validate a document read from TOML or JSON.

    Raises ProfileError that names the file, the path of each bad field, its value and what is legal.
    """
    try:
        return kind.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        problems = error.errors()
        lines = [_line(problem, kind) for problem in problems if not _follows_from_another(problem, problems)]
        legal = ", ".join(kind.model_fields)
        raise ProfileError(
            f"{origin} is not a valid {kind.__name__.lower()}:\n" + "\n".join(lines),
            remedy=f"Correct the field{'s' * (len(lines) > 1)} above. Top-level fields are: {legal}.",
        ) from error


def _line(problem: ErrorDetails, kind: type[Spec]) -> str:
    location = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ").replace("a valid array", 'a list, as in ["a", "b"]')
    if problem["type"] == "extra_forbidden":
        message = f"There is no such field; {alternatives(str(location[-1]), _fields_at(location[:-1], kind))}"
    return f"  {_path_of(location)}: {message} (given: {_short(problem['input'])})"


def _follows_from_another(problem: ErrorDetails, problems: list[ErrorDetails]) -> bool:
    """Whether a list is too short only because its entries are wrong, which is said already."""
    depth = len(problem["loc"])
    return problem["type"] == "too_short" and any(
        other["loc"][:depth] == problem["loc"] and len(other["loc"]) > depth for other in problems
    )


def _fields_at(location: tuple[int | str, ...], kind: type[Spec]) -> list[str]:
    """Names of the fields of the spec that stands at `location` inside a `kind`."""
    for part in location:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _spec_inside(kind.model_fields[part].annotation) or kind
    return list(kind.model_fields)


def _spec_inside(annotation: object) -> type[Spec] | None:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    return next((found for part in get_args(annotation) if (found := _spec_inside(part))), None)


def _path_of(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(whole file)"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
