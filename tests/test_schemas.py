"""The published schemas are those of the models, and real files fit them."""

import json
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import report_fixtures
import spine
from small_json_schema import complaints

from repro.catalog import shipped_profiles
from repro.stages.report import report

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def test_the_published_schemas_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "_schemas", raising=False)
    import _schemas

    made = _schemas.schemas()
    assert {path.name for path in FOLDER.glob("*.json")} == made.keys()
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "python scripts/_schemas.py writes them anew"
        assert name in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_fit_their_schema(name: str) -> None:
    document = tomllib.loads((resources.files("repro.profiles") / f"{name}.toml").read_text(encoding="utf-8"))
    assert complaints(document, schema("profile")) == []


def test_real_results_and_records_fit_their_schemas(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    paths = report(context, with_pdf=False)
    assert complaints(json.loads(paths.json.read_text()), schema("results")) == []
    records = list(home.glob("runs/*/record.json"))
    assert len(records) == spine.NUM_CELLS
    for record in records:
        assert complaints(json.loads(record.read_text()), schema("record")) == []
    assert complaints(tomllib.loads(profile.read_text()), schema("profile")) == []


def test_results_with_claims_of_every_kind_fit_the_schema() -> None:
    results = report_fixtures.make_results(report_fixtures.make_study())
    assert complaints(json.loads(results.model_dump_json()), schema("results")) == []


def test_a_wrong_file_does_not_fit() -> None:
    document = json.loads(report_fixtures.make_results(report_fixtures.make_study()).model_dump_json())
    for spoil, told in (
        (lambda: document.pop("schema_version"), "breaks required"),
        (lambda: document.update(schema_version=2), ".schema_version: 2 breaks const 1"),
        (lambda: document.update(surprise=1), "surprise is unknown"),
        (lambda: document["cells"][0].update(seed="1"), ".cells[0].seed: '1' breaks type 'integer'"),
    ):
        spoil()
        assert any(told in line for line in complaints(document, schema("results"))), told
