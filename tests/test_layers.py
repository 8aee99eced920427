"""A guard: modules import only from the layers below them, heavy libraries stay where they belong, the command starts light.

The table is that of ARCHITECTURE.md. To add a module, give it a layer; to allow an import sideways, name it with its reason.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "repro"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "container", "workspace"}),
    frozenset({"documents", "screen", "spec"}),
    frozenset({"catalog", "profiles", "choices", "attempts", "records", "benchmarks", "inside"})
    | frozenset({"formatting", "progress", "download", "slimming"}),
    frozenset({"plan", "analysis", "hardware", "datasets", "weights", "models", "training", "svg", "messages", "speed_table"}),
    frozenset({"cell", "probe", "workers", "figures", "evidence", "headline", "histories", "report_files"}),
    frozenset({"timing"}),
    frozenset({"forecast", "bench", "page", "reckoning"}),
    frozenset({"context", "rendering", "verification"}),
    frozenset({"sweep", "fetching", "arrivals"}),
    frozenset({"stages", "worker", "renewal"}),
    frozenset({"narration"}),
    frozenset({"cli", "__main__"}),
)
"""First-level modules and packages; each imports only from earlier layers."""

SIDEWAYS = {
    ("workspace", "errors"): "a home that cannot be written is a user's problem, told as one",
    ("workspace", "container"): "what to do about it differs inside a container",
    ("records", "inside"): "the record holds the numbers of the look, and how a look is kept stands in one place",
    ("records", "choices"): "a record tells what was chosen",
    ("attempts", "choices"): "so does how a cell was begun",
    ("records", "attempts"): "once the record is written, how the cell was begun is of no more use",
    ("benchmarks", "choices"): "so does a benchmark",
    ("benchmarks", "records"): "it tells the environment as a record does",
    ("__main__", "cli"): "`python -m repro` is the command",
}
"""The imports within one layer that are allowed, with the reason."""

SIBLINGS_SEPARATE = frozenset({"stages"})
"""Packages whose modules never import each other; in all others they may."""

ONLY_IN = {
    "torch": frozenset({"hardware", "datasets", "models", "training", "cell", "probe", "bench", "worker"}),
    "timm": frozenset({"models"}),
    "torchvision": frozenset({"models"}),
    "pynvml": frozenset({"hardware"}),
}
"""Which modules may import a library that is slow to import or that one module hides."""

ALIASES = {"safetensors.torch": "torch"}
"""Modules of other libraries that import a guarded one."""

NOT_AT_START = ("torch", "torchvision", "timm", "matplotlib", "scipy", "pandas", "sklearn", "weasyprint")
"""What `--help`, `list` and the parent of the worker processes must not wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import statement."""

    module: str
    """Dotted name of the importing module, `repro.` left out; empty for the package itself."""
    target: str
    """Full dotted name of what is imported."""
    line: int
    """Line of the statement."""


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """All imports of a module, those inside functions and by `import_module("…")` too. Relative ones are made absolute."""
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["repro", *(module.split(".") if module else [])]
                above = node.level - 1 if is_package else node.level
                base = ".".join([*package[: len(package) - above], *([base] if base else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"import_module", "__import__"}:
            targets = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        for target in targets:
            yield Import(module=module, target=target, line=node.lineno)


def layer_of(component: str) -> int | None:
    return next((number for number, names in enumerate(LAYERS) if component in names), None)


def complaint_about(found: Import, modules: frozenset[str]) -> str | None:
    """What is wrong with an import, or None. `modules` are the dotted names of all modules of the package."""
    importer = found.module.partition(".")[0]
    library = next((real for alias, real in ALIASES.items() if found.target.startswith(alias)), found.target.partition(".")[0])
    if library in ONLY_IN and importer not in ONLY_IN[library]:
        return f"{library} may be imported only in {', '.join(sorted(ONLY_IN[library]))}"
    head, _, inside = found.target.partition(".")
    target = inside.partition(".")[0]
    if head != "repro" or not any(name == target or name.startswith(f"{target}.") for name in modules if name):
        return None  # another library, or a name such as `__version__` that `repro` itself defines
    if importer == target:
        if importer in SIBLINGS_SEPARATE and found.module != importer:
            return f"modules of {importer} never import each other"
        return None
    above, below = layer_of(importer), layer_of(target)
    if above is None or below is None:
        return None  # told once, for the module
    if below < above or (importer, target) in SIDEWAYS:
        return None
    return f"{importer} is in layer {above} and may not import {target} of layer {below}"


def complaints_about(package: Path) -> list[str]:
    """All violations in a package folder, as `file:line: what is wrong`."""
    paths = {module_name(path, package): path for path in sorted(package.rglob("*.py"))}
    modules = frozenset(paths)
    complaints = [
        f"{name} has no layer in the table"
        for name in sorted({n.partition(".")[0] for n in modules if n})
        if layer_of(name) is None
    ]
    for module, path in paths.items():
        for found in imports_of(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py"):
            if complaint := complaint_about(found, modules):
                complaints.append(f"{path.relative_to(package.parent)}:{found.line}: {complaint}")
    return list(dict.fromkeys(complaints))


def test_the_package_keeps_its_layers() -> None:
    assert list(PACKAGE.rglob("*.py")), PACKAGE
    assert not complaints_about(PACKAGE), "\n".join(complaints_about(PACKAGE))


def test_every_module_stands_in_one_layer_only() -> None:
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))
    for importer, target in SIDEWAYS:
        assert layer_of(importer) == layer_of(target), f"{importer} -> {target} needs no exception"


@pytest.mark.parametrize(
    ("file", "statement", "complaint"),
    [
        ("spec.py", "from repro.records import Record", "spec is in layer 1 and may not import records of layer 2"),
        ("spec.py", "from repro import records", "spec is in layer 1 and may not import records of layer 2"),
        ("spec.py", "def f():\n    import repro.records", "spec is in layer 1 and may not import records of layer 2"),
        ("spec.py", "import importlib\nimportlib.import_module('repro.records')", "may not import records"),
        ("spec.py", "from .records import Record", "spec is in layer 1 and may not import records of layer 2"),
        ("models/vit.py", "from ..training import loop", "models is in layer 3 and may not import training of layer 3"),
        ("models/__init__.py", "from ..training import loop", "models is in layer 3 and may not import training of layer 3"),
        ("stages/run.py", "from repro.stages.check import check", "modules of stages never import each other"),
        ("stages/run.py", "from . import check", "modules of stages never import each other"),
        ("errors.py", "from repro.workspace import Workspace", "errors is in layer 0 and may not import workspace of layer 0"),
        ("cli.py", "def f():\n    import torch.nn", "torch may be imported only in"),
        ("records.py", "from safetensors.torch import load_file", "torch may be imported only in"),
        ("training/loop.py", "import timm", "timm may be imported only in models"),
        ("cell.py", "import pynvml", "pynvml may be imported only in hardware"),
        ("novelty.py", "", "novelty has no layer in the table"),
    ],
)
def test_the_checker_sees_a_violation(tmp_path: Path, file: str, statement: str, complaint: str) -> None:
    package = made_up_package(tmp_path, {file: statement})
    found = complaints_about(package)
    assert len(found) == 1, found
    assert complaint in found[0]


def test_the_checker_lets_good_imports_pass(tmp_path: Path) -> None:
    package = made_up_package(
        tmp_path,
        {
            "workspace.py": "from repro.errors import ReproError",
            "records.py": "from repro import __version__\nfrom repro.spec import Cell\nfrom . import workspace\nimport json",
            "models/vit.py": "import torch\nimport timm\nfrom repro.models import resnet\nfrom .resnet import ResNet",
            "stages/run.py": "from repro.cell import run_cell\nfrom repro.training.loop import train",
            "cli.py": "def f():\n    from repro.stages.run import run",
        },
    )
    assert complaints_about(package) == []


def made_up_package(folder: Path, changed: dict[str, str]) -> Path:
    package = folder / "repro"
    plain = [
        "__init__",
        "errors",
        "workspace",
        "spec",
        "records",
        "cell",
        "cli",
        "models/__init__",
        "models/vit",
        "models/resnet",
    ]
    plain += ["training/__init__", "training/loop", "stages/__init__", "stages/check", "stages/run"]
    for file in dict.fromkeys([*(f"{name}.py" for name in plain), *changed]):
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(changed.get(file, ""), encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("cli", NOT_AT_START),
        ("plan", NOT_AT_START),
        ("workers", NOT_AT_START),
        ("stages.report", ("torch", "torchvision", "timm")),
        ("stages.verify", ("torch", "torchvision", "timm")),
    ],
)
def test_a_module_is_imported_without_heavy_libraries(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, repro.{module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "repro" in loaded
    assert not set(loaded) & set(unwanted)
