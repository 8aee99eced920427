"""Times `vitrepro report` on a home of made-up finished cells: planning, reading, statistics, figures, page and PDF.

The cells are the miniature's models on its digits, 25 seeds of each by default, accuracies come from a formula. The command
runs in a process of its own, whose seconds and peak memory are printed. Read `main` first.
"""

import argparse
import contextlib
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np

from repro.catalog import load_catalog, load_profile
from repro.context import Context
from repro.datasets import read_manifest
from repro.plan import PlannedCell
from repro.records import PREDICTIONS, RECORD, Environment, Record, write_predictions, write_record
from repro.stages.fetch import fetch
from repro.workspace import Workspace, exclusive

NUM_SIZES, NUM_RECIPES, LARGEST = 20, 10, 1197
ENVIRONMENT = Environment(
    vitrepro="made up",
    commit=None,
    python="made up",
    packages={},
    platform="made up",
    processor="made up",
    num_cores=1,
    device="cpu",
    driver=None,
    command="scripts/bench-report",
)


def profile_text(num_seeds: int) -> str:
    """A profile of 20 sizes x 2 models x 10 recipes x `num_seeds` cells."""
    recipes = [f"made-up-{number}" for number in range(NUM_RECIPES)]
    sizes = ", ".join(str(round(20 * (LARGEST / 20) ** (number / (NUM_SIZES - 1)))) for number in range(NUM_SIZES))
    lines = ['name = "bench-report"', 'description = "Made up"', f"seeds = {num_seeds}", "miniature = true"]
    for number, recipe in enumerate(recipes):
        lines += [f"[recipe.{recipe}]", 'base = "micro-scratch"', f"steps = {400 + number}"]
        lines += ["[[cells]]", 'dataset = ["digits"]', f"size = [{sizes}]", 'model = ["vit_micro", "resnet_micro"]']
        lines += [f'recipe = "{recipe}"']
    text = "\n".join([*lines, ""])
    tomllib.loads(text)
    return text


def finish(entry: PlannedCell, workspace: Workspace, *, data_sha256: str, labels: np.ndarray) -> None:
    """Write what a finished cell leaves."""
    cell = entry.cell
    assert entry.fingerprint is not None
    folder = workspace.run_dir(cell.id, entry.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(int(entry.fingerprint[:12], 16))
    accuracy = min(0.5 + (0.14 if cell.model.family == "cnn" else 0.1) * np.log10(cell.num_train_images), 0.99)
    wrong = generator.random(len(labels)) > accuracy
    write_predictions(folder, labels=labels, predicted=np.where(wrong, (labels + 1) % 10, labels))
    record = Record(
        cell=cell,
        fingerprint=entry.fingerprint,
        upstream_fingerprint=None,
        data_sha256=data_sha256,
        subset_sha256="0" * 64,
        num_classes=10,
        num_test_images=len(labels),
        test_accuracy=float(1 - wrong.mean()),
        test_loss=0.5,
        train_accuracy=1.0,
        train_loss=0.003,
        dev_accuracy=None,
        selected_step=cell.recipe.steps,
        num_parameters=50_000,
        forward_macs=900_000,
        train_flops=1e11,
        wall_s=8.0,
        total_s=9.0,
        energy_j=None,
        peak_mem_bytes=500_000_000,
        device_shared=False,
        resumed_from_step=None,
        seeds={},
        choices=(),
        environment=ENVIRONMENT,
        started_at="2026-01-31T12:00:00+00:00",
        finished_at="2026-01-31T12:00:09+00:00",
        files_sha256={PREDICTIONS: hashlib.sha256((folder / PREDICTIONS).read_bytes()).hexdigest()},
    )
    write_record(folder, record)


def make_home(home: Path, profile: Path, *, num_seeds: int) -> int:
    """Fill the home, as far as it is not; the number of its cells."""
    profile.write_text(profile_text(num_seeds), encoding="utf-8")
    context = Context(
        workspace=Workspace(home=home),
        catalog=load_catalog(),
        profile=load_profile(str(profile)),
        profile_argument=str(profile),
        requested_device="cpu",
        only=None,
        force=False,
        verbose=False,
        say=lambda _: None,
    )
    with exclusive(context.workspace):
        fetch(context)
        manifest = read_manifest(context.workspace, context.catalog.datasets["digits"])
        assert manifest is not None
        cells = context.plan().cells
        for entry in cells:
            if entry.fingerprint and not (context.workspace.run_dir(entry.cell.id, entry.fingerprint) / RECORD).exists():
                finish(entry, context.workspace, data_sha256=manifest.content_sha256, labels=np.arange(manifest.num_test) % 10)
    return len(cells)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench-report", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=25, help="seeds of each of the 400 arms (25: 10,000 cells)")
    parser.add_argument("--home", type=Path, help="where the cells are made and kept for the next time; else temporary")
    parser.add_argument("--no-pdf", action="store_true", help="without the PDF")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.mkdir(parents=True, exist_ok=True)
        profile = home / "bench-report.toml"
        num_cells = make_home(home, profile, num_seeds=options.seeds)
        command = [sys.executable, "-m", "repro", "report", "--profile", str(profile), "--home", str(home)]
        command += ["--no-pdf"] if options.no_pdf else []
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        wall_s = time.monotonic() - started
        if done.returncode:
            return done.returncode
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = Path(done.stdout.splitlines()[-1])
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(page.parent.glob("*.*")))
        print(f"{num_cells:,} finished cells{', no PDF' if options.no_pdf else ''}, {os.cpu_count()} cores: {sizes}")
        cpu_s, peak_gib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
        print(f"{wall_s:.1f} s wall-clock, {cpu_s:.1f} s of CPU, {peak_gib:.2f} GiB at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
