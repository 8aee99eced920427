"""A study small enough to train in a test: random images in `.npz` files, models of a few hundred weights, a dozen steps.

`finished_home` is trained once a test session and copied by whoever needs it; a run that starts from a copy has step times from
its records and needs no probe.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np

from repro.catalog import load_catalog, load_profile
from repro.context import Context
from repro.plan import DataFacts
from repro.records import PREDICTIONS, RECORD
from repro.stages.fetch import fetch
from repro.stages.run import RunSummary, run
from repro.workspace import Workspace, exclusive

ROOT = Path(__file__).parent.parent

FACTS = {
    "digits": DataFacts(content_sha256="d" * 64, num_train_images=1197, image_size=8, num_channels=1, num_classes=10),
    "glyphs": DataFacts(content_sha256="e" * 64, num_train_images=64000, image_size=8, num_channels=1, num_classes=45),
}
"""What planning is told of the shipped data sets, without making them."""

PARTS = """
[[dataset]]
name = "dots"
path = "dots.npz"
[[dataset]]
name = "marks"
path = "marks.npz"
[[model]]
name = "tiny_vit"
family = "vit"
patch_size = 4
width = 8
depth = 1
num_heads = 2
[[model]]
name = "tiny_cnn"
family = "cnn"
stage_widths = [4]
stage_depths = [1]
[recipe.plain]
base = "micro-scratch"
batch_size = 8
steps = 12
warmup_steps = 2
[recipe.up]
base = "plain"
dev_fraction = 0.1
select = "best_dev"
"""

STUDY = f"""
name = "tiny"
seeds = 2
miniature = true
{PARTS}
[[cells]]
dataset = ["dots"]
size = [12, 1.0]
model = ["tiny_vit", "tiny_cnn"]
recipe = "plain"
convergence_check_at = [12]
[[cells]]
dataset = ["dots"]
size = [12]
model = ["tiny_vit"]
init = ["upstream:marks@30"]
recipe = "plain"
upstream_recipe = "up"
"""
"""14 cells: 8 of study, 2 convergence checks, 2 upstream and 2 that start from those."""
NUM_CELLS = 14


def write_study(folder: Path, text: str = STUDY) -> Path:
    """The profile file and its data, in `folder`; the path of the profile."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, num_classes, seed in (("dots", 3, 1), ("marks", 4, 2)):
        generator = np.random.default_rng(seed)
        arrays = {}
        for part, num_images in (("train", 40), ("test", 20)):
            labels = np.arange(num_images) % num_classes
            images = generator.integers(0, 128, (num_images, 8, 8), dtype=np.uint8)
            images[np.arange(num_images), labels] += 100
            arrays |= {f"x_{part}": images, f"y_{part}": labels}
        path = folder / f"{name}.npz"
        if not path.exists():
            np.savez(path, **arrays)
    profile = folder / "tiny.toml"
    profile.write_text(text, encoding="utf-8")
    return profile


def make_context(profile: Path, home: Path, *, only: str | None = None, force: bool = False) -> tuple[Context, list[str]]:
    """A command's surroundings on the CPU, and the list that its lines go to."""
    lines: list[str] = []
    context = Context(
        workspace=Workspace(home=home),
        catalog=load_catalog(),
        profile=load_profile(str(profile)),
        profile_argument=str(profile),
        requested_device="cpu",
        only=only,
        force=force,
        verbose=False,
        say=lines.append,
    )
    return context, lines


def run_here(
    profile: Path,
    home: Path,
    *,
    only: str | None = None,
    force: bool = False,
    seed_done: Callable[[int], None] = lambda seed: None,
) -> tuple[RunSummary, list[str]]:
    """`fetch` and `run` in this process, its workers being real ones."""
    context, lines = make_context(profile, home, only=only, force=force)
    with exclusive(context.workspace):
        fetch(make_context(profile, home)[0])
        return run(context, seed_done=seed_done), lines


@cache
def finished() -> Path:
    """A folder with `study/` (profile and data) and `home/`, in which every cell of the study is done. Not to be changed."""
    folder = Path(tempfile.mkdtemp(prefix="finished-", dir=Path(os.environ["HOME"]).parent))
    summary, lines = run_here(write_study(folder / "study"), folder / "home")
    assert summary.num_done == NUM_CELLS, lines
    return folder


def copy_of_finished(folder: Path) -> tuple[Path, Path]:
    """Profile and home of a copy of the finished study, the test's own to spoil."""
    shutil.copytree(finished() / "home", folder / "home")
    shutil.copytree(finished() / "study", folder / "study")
    return folder / "study" / "tiny.toml", folder / "home"


def cell_dirs(home: Path) -> dict[str, Path]:
    """Folders of the cells by id, those moved aside left out."""
    folders = [path for path in (home / "runs").iterdir() if ".corrupt-" not in path.name]
    return {path.name.rpartition("-")[0]: path for path in folders}


def cell_dir(home: Path, cell_id: str) -> Path:
    return cell_dirs(home)[cell_id]


def stamps(home: Path, *, without: Iterable[str] = ()) -> dict[str, tuple[int, bytes]]:
    """Time of writing and content of every record: what must stay when nothing is run again."""
    return {
        cell_id: ((path / RECORD).stat().st_mtime_ns, (path / RECORD).read_bytes())
        for cell_id, path in cell_dirs(home).items()
        if (path / RECORD).exists() and cell_id not in set(without)
    }


def outcomes(home: Path) -> dict[str, tuple[float, float, bytes]]:
    """Test and training accuracy and the bytes of the predictions of every finished cell."""
    found = {}
    for cell_id, path in cell_dirs(home).items():
        if (path / RECORD).exists():
            record = json.loads((path / RECORD).read_text())
            found[cell_id] = (record["test_accuracy"], record["train_accuracy"], (path / PREDICTIONS).read_bytes())
    return found


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "repro", *map(str, arguments)]


def vitrepro(
    *arguments: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment_of(environment), check=False
    )


def environment_of(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process' environment, in which the package is found from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path} | (extra or {})
