"""Writes docs/schemas/*.schema.json from the models that read and write these files: `python scripts/_schemas.py`."""

import json
from pathlib import Path

from repro.analysis.results import Results
from repro.benchmarks import Benchmark
from repro.records import Record
from repro.spec import Profile, Spec

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """Text of every schema by the name of its file.

    They accept what the kit itself reads: also a file of an earlier version that lacks a field added since.
    """
    return {
        f"{name}.schema.json": json.dumps(_schema(kind), indent=1, ensure_ascii=False) + "\n"
        for name, kind in (("profile", Profile), ("record", Record), ("results", Results), ("bench", Benchmark))
    }


def _schema(kind: type[Spec]) -> dict[str, object]:
    document = {"$schema": DIALECT} | kind.model_json_schema(mode="validation")
    if "schema_version" in kind.model_fields:
        # It has a default in the model, for those who make one; a file without it is refused.
        document["required"] = ["schema_version", *document["required"]]
    return document


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
