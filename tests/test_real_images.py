"""The profile `quick`, cut down to what a CPU bears, on real CIFAR-10 images: end to end, streamed, killed, resumed.

Runs where the official training batches lie beside this checkout.
"""

import lzma
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import spine

from repro.analysis.assemble import read_results_csv
from repro.catalog import load_profile
from repro.datasets.cifar import CIFAR10_BINARY, decode_records
from repro.hardware import IMAGE_BUDGET_VARIABLE
from repro.hardware.device import PRECISION_VARIABLE
from repro.records import LAST, CellStatus

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "cifar10"
NUM_TRAIN, NUM_TEST = 200, 50
FLOAT32 = {PRECISION_VARIABLE: "float32"}
"""Two homes are compared bit by bit, and which precision is faster is measured in each."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the official training batches do not lie beside this checkout"),
]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`quick` with its own sizes, models and recipe, on a few of the first batch's images, one seed, a few small steps."""
    folder = tmp_path_factory.mktemp("real")
    raw = lzma.decompress((SHARED / "data_batch_1.bin.xz").read_bytes())
    part = decode_records(raw, CIFAR10_BINARY, name="data_batch_1.bin")
    ends = NUM_TRAIN, NUM_TRAIN + NUM_TEST
    np.savez(
        folder / "images.npz",
        x_train=part.images[: ends[0]],
        y_train=part.labels[: ends[0]],
        x_test=part.images[ends[0] : ends[1]],
        y_test=part.labels[ends[0] : ends[1]],
    )
    [block] = load_profile("quick").cells
    models = ", ".join(f'"{name}"' for name in block.model)
    path = folder / "quick-cpu.toml"
    path.write_text(f"""
name = "quick-cpu"
seeds = 1
[[dataset]]
name = "cifar10-few"
path = "images.npz"
[recipe.few-steps]
base = "{block.recipe}"
steps = 4
warmup_steps = 1
batch_size = 8
trivial_augment = true
cutmix_alpha = 1.0
[[cells]]
dataset = ["cifar10-few"]
size = {list(block.size)}
model = [{models}]
recipe = "few-steps"
""")
    return path


def options(profile: Path, home: Path) -> list[str | Path]:
    return ["--profile", profile, "--home", home, "--device", "cpu"]


@pytest.fixture(scope="module")
def undisturbed(profile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which `all` has ended."""
    home = tmp_path_factory.mktemp("undisturbed")
    done = spine.vitrepro("all", *options(profile, home), environment=FLOAT32)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()
    return home


def test_it_runs_end_to_end(undisturbed: Path) -> None:
    rows = read_results_csv((undisturbed / "report" / "quick-cpu" / "results.csv").read_text())
    assert [row.status for row in rows] == [CellStatus.DONE] * 4
    assert {row.num_train_images for row in rows} == {NUM_TRAIN // 10, NUM_TRAIN}
    assert {row.model for row in rows} == {"vit_cifar", "resnet18_cifar"}


def test_streamed_killed_and_resumed_it_gives_the_same_numbers(profile: Path, undisturbed: Path, tmp_path: Path) -> None:
    environment = {IMAGE_BUDGET_VARIABLE: "0", **FLOAT32}
    assert spine.vitrepro("fetch", *options(profile, tmp_path)).returncode == 0
    process = subprocess.Popen(
        spine.command("run", *options(profile, tmp_path)),
        env=spine.environment_of(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(f"runs/*/{LAST}")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(spine.outcomes(tmp_path)) < 4
    done = spine.vitrepro("run", *options(profile, tmp_path), environment=environment)
    assert done.returncode == 0, done.stderr
    assert spine.outcomes(tmp_path) == spine.outcomes(undisturbed)
    records = [(path / "record.json").read_text() for path in spine.cell_dirs(tmp_path).values()]
    assert all('"streamed"' in record for record in records)
