"""The documents say what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from repro.catalog import load_catalog, load_profile, shipped_profiles
from repro.errors import ExitCode
from repro.plan import make_plan
from repro.workspace import Workspace

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE_PARTS = sorted(path.name for path in (ROOT / "repro").iterdir() if path.is_dir() and not path.name.startswith("__"))


BLOCK = """
[[cells]]
dataset = ["digits"]
size = [50]
model = ["vit_micro"]
recipe = "micro-scratch"
"""


def test_the_readmes_help_is_the_commands() -> None:
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "repro", "--help"]
    shown = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() in README


def test_the_readme_names_every_exit_code_once() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| .+ \|$", README, re.MULTILINE)
    listed = [int(number) for row in rows for number in row.split(",")]
    assert sorted(listed) == sorted(code.value for code in ExitCode)


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_readme_lists_every_profile(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE)


@pytest.mark.parametrize("name", load_catalog().recipes)
def test_every_recipe_says_where_its_numbers_come_from(name: str) -> None:
    assert f"## {name} " in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PACKAGE_PARTS)
def test_the_readmes_tree_names_every_sub_package(name: str) -> None:
    assert f"      {name}/ " in README


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    for path in (ROOT / "repro").iterdir():
        name = path.name + "/" if path.is_dir() else path.stem
        if not name.startswith("__") or name == "__main__":
            assert f"`{name}`" in table, name


def test_the_readmes_pieces_of_profiles_are_what_they_say(workspace: Workspace) -> None:
    """Each TOML block is read; those with cells are planned: published models, one of one's own choice, a file."""
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 4
    planned = 0
    for block in blocks:
        path = workspace.home / "p.toml"
        head = "" if block.startswith("name") else 'name = "readme"\n'
        cells = "" if "[[cells]]" in block else BLOCK
        path.write_text(head + re.sub("sha256 = .*", "", block) + cells, encoding="utf-8")
        make_plan(load_profile(str(path)), load_catalog(), {}, workspace)
        if "timm/convnext_tiny.fb_in1k" in block:
            for init in ("pretrained", "file:weights/my-deit.safetensors"):
                path.write_text(head + block.replace('["pretrained"]', f'["{init}"]'), encoding="utf-8")
                plan = make_plan(load_profile(str(path)), load_catalog(), {}, workspace)
                families = {entry.cell.model.name: entry.cell.model.family for entry in plan.cells}
                assert families["timm/convnext_tiny.fb_in1k"] == "cnn"
                planned += 1
    assert planned == 2
