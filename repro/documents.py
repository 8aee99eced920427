"""The kit's own JSON files, each one pydantic model with a `schema_version`: read strictly, written whole.

Unknown or missing keys and another version raise CorruptFile, with the remedy that the caller knows. Must not know what any
file is about. Read `read_document` first.
"""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from repro.errors import CorruptFile
from repro.workspace import write_atomically

VERSION = "schema_version"
MOST_WORDS = 300
"""Characters of a problem's description that are told."""

Document = TypeVar("Document", bound=BaseModel)


def read_document(path: Path, kind: type[Document], *, remedy: str) -> Document | None:
    """The document at `path`, or None where there is no file. Raises CorruptFile, which gives `remedy`.

    `kind` has a field `schema_version` whose default is the version that is read; a file must state it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise corrupt(path, one_line(error), remedy=remedy) from error
    try:
        found = kind.model_validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise corrupt(path, _other_version(text, kind) or one_line(error), remedy=remedy) from error
    if VERSION not in found.model_fields_set:
        raise corrupt(path, f"it has no {VERSION}", remedy=remedy)
    return found


def write_document(path: Path, document: BaseModel) -> None:
    """Write the document in place of what is there. Raises DiskFull."""
    write_atomically(path, document.model_dump_json(indent=1) + "\n")


def corrupt(path: Path, detail: str, *, remedy: str) -> CorruptFile:
    """The error for a file that is not what it should be."""
    return CorruptFile(f"{path} cannot be read: {detail}.", remedy=remedy)


def one_line(error: Exception) -> str:
    """What is wrong, in one line: of a model the first bad field and why."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(filter(None, [".".join(str(part) for part in first["loc"]), first["msg"]]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:MOST_WORDS]


def _other_version(text: str, kind: type[BaseModel]) -> str:
    """In words, what is the matter with the file's version; empty where it is not that."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    if VERSION not in document:
        return f"it has no {VERSION}"
    known, found = kind.model_fields[VERSION].default, document[VERSION]
    return "" if found == known else f"{VERSION} is {found!r}, this version of vitrepro reads {known!r}"
