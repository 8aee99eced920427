"""As much of JSON Schema as the published schemas use, checked without another package; an unknown keyword is an error."""

import re
from collections.abc import Iterator
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
SAID_ONLY = {"$schema", "$defs", "title", "description", "default", "format"}


def complaints(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "") -> list[str]:
    """What is wrong with a parsed JSON document, each with its path; empty if it is valid."""
    root = root if root is not None else schema
    found: list[str] = []
    for keyword, told in schema.items():
        if keyword in SAID_ONLY:
            continue
        if keyword == "$ref":
            found += complaints(value, root["$defs"][told.removeprefix("#/$defs/")], root, at)
        elif keyword == "anyOf":
            if all(complaints(value, one, root, at) for one in told):
                found.append(f"{at}: {value!r} is none of the alternatives")
        elif keyword in ("properties", "additionalProperties", "propertyNames", "prefixItems", "items"):
            for inner, one, where in parts(keyword, told, value, schema):
                found += [f"{at}{where} is unknown"] if one is False else complaints(inner, one, root, at + where)
        elif breaks(keyword, told, value):
            found.append(f"{at}: {value!r:.80} breaks {keyword} {told!r}")
    return found


def parts(keyword: str, told: Any, value: Any, schema: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """The parts of a value that a keyword speaks of: each with its schema (False: none is allowed) and its place."""
    if isinstance(value, dict) and keyword == "properties":
        yield from ((value[name], told[name], f".{name}") for name in value if name in told)
    elif isinstance(value, dict) and keyword == "additionalProperties" and told is not True:
        yield from ((value[name], told, f".{name}") for name in value if name not in schema.get("properties", {}))
    elif isinstance(value, dict) and keyword == "propertyNames":
        yield from ((name, told, f".{name}") for name in value)
    elif isinstance(value, list) and keyword == "prefixItems":
        yield from ((item, one, f"[{k}]") for k, (item, one) in enumerate(zip(value, told, strict=False)))
    elif isinstance(value, list) and keyword == "items":
        yield from ((item, told, f"[{k}]") for k, item in enumerate(value))


def breaks(keyword: str, told: Any, value: Any) -> bool:
    """Whether a single value breaks a keyword that looks at nothing inside it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    checks = {
        "type": lambda: not isinstance(value, TYPES[told]) or (isinstance(value, bool) and told != "boolean"),
        "enum": lambda: value not in told,
        "const": lambda: value != told or type(value) is not type(told),
        "required": lambda: isinstance(value, dict) and not set(told) <= value.keys(),
        "minItems": lambda: isinstance(value, list) and len(value) < told,
        "maxItems": lambda: isinstance(value, list) and len(value) > told,
        "minLength": lambda: isinstance(value, str) and len(value) < told,
        "maxLength": lambda: isinstance(value, str) and len(value) > told,
        "minimum": lambda: is_number and value < told,
        "maximum": lambda: is_number and value > told,
        "exclusiveMinimum": lambda: is_number and value <= told,
        "exclusiveMaximum": lambda: is_number and value >= told,
        "pattern": lambda: isinstance(value, str) and not re.search(told, value),
    }
    return bool(checks[keyword]())
