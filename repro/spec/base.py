"""What every spec shares: strictness, names, and errors that name the bad field.

Must not know any particular spec. Read `parse` first.
"""

import json
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repro.errors import ProfileError

Family = Literal["vit", "cnn"]
"""The two sides of the comparison."""
Fraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
SpecType = TypeVar("SpecType", bound="Spec")


class Spec(BaseModel):
    """Base of everything that stands in a file: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)


def slug(text: str) -> str:
    """`text` with everything but letters, digits, `_`, `-` and `+` replaced, cut to 60 characters: safe in a path."""
    return re.sub(r"[^A-Za-z0-9_+-]+", "_", text)[:60] or "_"


def parse(kind: type[SpecType], document: dict[str, Any], *, origin: str) -> SpecType:
    """Validate a document read from TOML or JSON.

    Raises ProfileError that names the file, the path of each bad field, its value and what is legal.
    """
    try:
        return kind.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        lines = [f"  {_path_of(line['loc'])}: {line['msg']} (given: {_short(line['input'])})" for line in error.errors()]
        legal = ", ".join(kind.model_fields)
        raise ProfileError(
            f"{origin} is not a valid {kind.__name__.lower()}:\n" + "\n".join(lines),
            remedy=f"Correct the field{'s' * (len(lines) > 1)} above. Top-level fields are: {legal}.",
        ) from error


def _path_of(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(whole file)"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
