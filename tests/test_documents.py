"""Versioned JSON files: what is read, and what is refused in which words."""

import json
from pathlib import Path
from typing import Literal

import pytest

from repro.documents import one_line, read_document, write_document
from repro.errors import CorruptFile
from repro.spec import Spec


class Note(Spec):
    schema_version: Literal[2] = 2
    name: str
    numbers: tuple[int, ...] = ()


def read(path: Path) -> Note | None:
    return read_document(path, Note, remedy="Write it anew.")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    note = Note(name="Grün", numbers=(1, 2))
    write_document(tmp_path / "note.json", note)
    assert read(tmp_path / "note.json") == note
    assert json.loads((tmp_path / "note.json").read_text(encoding="utf-8"))["schema_version"] == 2


def test_no_file_is_no_document(tmp_path: Path) -> None:
    assert read(tmp_path / "note.json") is None
    (tmp_path / "file").write_text("x")
    assert read(tmp_path / "file" / "note.json") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"\xff\xfe", "can't decode byte"),
        (b'{"name": "x"}', "it has no schema_version"),
        (b'{"schema_version": 3, "name": 1, "more": 1}', "schema_version is 3, this version of vitrepro reads 2"),
        (b'{"schema_version": "2", "name": "x"}', "schema_version is '2', this version of vitrepro reads 2"),
        (b'{"schema_version": 2}', "name: Field required"),
        (b'{"schema_version": 2, "name": "x", "more": 1}', "more: Extra inputs are not permitted"),
        (b'{"schema_version": 2, "name": "x", "numbers": [1, 2.5]}', r"numbers\.1: Input should be a valid integer"),
    ],
)
def test_anything_else_is_refused_in_one_line_with_the_remedy(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "note.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=problem) as caught:
        read(tmp_path / "note.json")
    assert caught.value.message.startswith(f"{tmp_path / 'note.json'} cannot be read: ")
    assert "\n" not in caught.value.message
    assert caught.value.remedy == "Write it anew."


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "note.json").mkdir()
    with pytest.raises(CorruptFile, match=r"cannot be read: Is a directory\."):
        read(tmp_path / "note.json")


def test_a_long_problem_is_cut() -> None:
    assert len(one_line(ValueError("word " * 1000))) == 300
