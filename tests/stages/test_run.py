"""Stage `run` with real worker processes: what is run, what is not, and what one cell's trouble costs the others."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nvml_stub
import pytest
import spine

from repro.errors import DiskFull, EnvironmentProblem, UsageError
from repro.hardware import CudaProbe, DeviceChoice, ProductCheck, choose_device
from repro.hardware.device import PRECISION_VARIABLE
from repro.messages import Failed
from repro.records import FAILURE, PREDICTIONS, RECORD, WEIGHTS, CellStatus, read_failure, read_record, write_record
from repro.stages import run as stage
from repro.stages.run import RunSummary, run
from repro.workers import Died

CELL = "dots.n12.tiny_vit.scratch.plain.s1"
OTHER = "dots.n40.tiny_cnn.scratch.plain.s2"
UPSTREAM = "marks.n30.tiny_vit.scratch.up.s1"
DOWNSTREAM = "dots.n12.tiny_vit.marks-30.plain.s1"
ALL_DONE = RunSummary(num_done=spine.NUM_CELLS, num_failed=0, num_blocked=0, unfetched=())


def test_a_finished_cell_is_never_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    before = spine.stamps(home)
    assert len(before) == spine.NUM_CELLS
    monkeypatch.setattr(stage, "Workers", lambda number: pytest.fail("started workers"))
    summary, lines = spine.run_here(profile, home)
    assert summary == ALL_DONE
    assert spine.stamps(home) == before
    assert lines == []


def test_a_new_cell_is_run_and_the_others_are_left_alone(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    shutil.rmtree(spine.cell_dir(home, CELL))
    before = spine.stamps(home)
    summary, lines = spine.run_here(profile, home)
    assert summary == ALL_DONE
    assert summary.busy_share is not None
    assert 0 < summary.busy_share <= 1
    assert summary.wall_s > 0
    assert spine.stamps(home, without=[CELL]) == before
    assert spine.outcomes(home) == spine.outcomes(spine.finished() / "home")
    assert lines[0].startswith(f"forecast: 1 of {spine.NUM_CELLS} cells to run")
    assert lines[1].startswith(f"[1/1] {CELL}  done in ")


def test_force_redoes_the_named_cells_but_not_their_upstream(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    before = spine.stamps(home)
    summary, _ = spine.run_here(profile, home, only=DOWNSTREAM, force=True)
    assert summary.num_done == 2
    after = spine.stamps(home)
    assert {cell_id for cell_id in before if before[cell_id] != after[cell_id]} == {DOWNSTREAM}
    assert spine.outcomes(home) == spine.outcomes(spine.finished() / "home"), "redone bitwise alike on a CPU"


def test_only_runs_the_named_cells_and_the_upstream_they_need(tmp_path: Path) -> None:
    summary, _ = spine.run_here(spine.write_study(tmp_path), tmp_path / "home", only=DOWNSTREAM)
    assert summary == RunSummary(num_done=2, num_failed=0, num_blocked=0, unfetched=())
    assert spine.stamps(tmp_path / "home").keys() == {UPSTREAM, DOWNSTREAM}
    expected = spine.outcomes(spine.finished() / "home")
    assert spine.outcomes(tmp_path / "home") == {cell_id: expected[cell_id] for cell_id in (UPSTREAM, DOWNSTREAM)}


def test_only_that_matches_nothing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="matches no cell"):
        spine.run_here(spine.write_study(tmp_path), tmp_path / "home", only="nosuch")


FAILING = """
[recipe.hot]
base = "plain"
optimizer = "sgd"
lr = 1e9
clip_norm = 1e9
[[cells]]
dataset = ["dots"]
size = [15]
model = ["tiny_cnn"]
recipe = "hot"
seeds = 1
[[cells]]
dataset = ["dots"]
size = [15]
model = ["tiny_cnn"]
recipe = "plain"
seeds = 1
[[cells]]
dataset = ["dots"]
size = [15]
model = ["tiny_cnn"]
init = ["upstream:marks@35"]
recipe = "plain"
upstream_recipe = "hot"
seeds = 1
"""


def test_a_failure_costs_its_cell_and_what_starts_from_it(tmp_path: Path) -> None:
    _, home = spine.copy_of_finished(tmp_path)
    profile = spine.write_study(tmp_path / "study", spine.STUDY + FAILING)
    before = spine.stamps(home)
    summary, lines = spine.run_here(profile, home)
    assert summary == RunSummary(num_done=spine.NUM_CELLS + 1, num_failed=2, num_blocked=1, unfetched=())
    hot, above = "dots.n15.tiny_cnn.scratch.hot.s1", "marks.n35.tiny_cnn.scratch.hot.s1"
    for cell_id in (hot, above):
        failure = read_failure(spine.cell_dir(home, cell_id))
        assert failure is not None
        assert (failure.kind, failure.cell_id, failure.traceback) == ("TrainingDiverged", cell_id, "")
        assert "step" in failure.message
        assert "lr" in failure.remedy
    assert any("dots.n15.tiny_cnn.marks-35.plain.s1  blocked: its upstream cell" in line for line in lines)
    assert sum("FAILED: " in line for line in lines) == 2
    new = "dots.n15.tiny_cnn.scratch.plain.s1"
    assert spine.stamps(home, without=[new]) == before

    context, _ = spine.make_context(profile, home)
    states = {entry.cell.id: entry.status for entry in context.plan().cells}
    assert states[hot] is states[above] is CellStatus.FAILED
    assert states["dots.n15.tiny_cnn.marks-35.plain.s1"] is CellStatus.BLOCKED
    assert states[new] is CellStatus.DONE


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, remove])
def test_spoilt_files_are_named_and_moved_aside_and_their_cells_run_again(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    shutil.rmtree(spine.cell_dir(home, DOWNSTREAM))
    spoilt = {
        CELL: spine.cell_dir(home, CELL) / RECORD,
        OTHER: spine.cell_dir(home, OTHER) / PREDICTIONS,
        UPSTREAM: spine.cell_dir(home, UPSTREAM) / WEIGHTS,
    }
    for path in spoilt.values():
        spoil(path)
    before = spine.stamps(home, without=spoilt)
    summary, lines = spine.run_here(profile, home)
    assert summary == ALL_DONE
    assert spine.stamps(home, without=[*spoilt, DOWNSTREAM]) == before
    assert spine.outcomes(home) == spine.outcomes(spine.finished() / "home")
    for cell_id, path in spoilt.items():
        if spoil is remove and cell_id == CELL:
            continue  # without a record a cell is simply not done
        (said,) = [line for line in lines if line.startswith("warning: ") and str(path) in line]
        aside = path.parent.with_name(f"{path.parent.name}.corrupt-1")
        assert aside.name in said
        assert aside.is_dir()


def test_a_failure_that_cannot_be_read_is_moved_aside_alone(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    folder = spine.cell_dir(home, CELL)
    (folder / RECORD).unlink()
    (folder / FAILURE).write_text("{")
    (folder / "last.pt").write_bytes(b"")
    summary, lines = spine.run_here(profile, home)
    assert summary == ALL_DONE
    assert (folder / f"{FAILURE}.corrupt-1").read_text() == "{"
    assert not (folder / FAILURE).exists()
    assert (folder / "last.pt.corrupt-1").exists(), "the state beside it was looked at in its own right"
    assert any(str(folder / FAILURE) in line for line in lines)


def test_weights_that_nobody_waits_for_may_be_gone(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    (spine.cell_dir(home, UPSTREAM) / WEIGHTS).unlink()
    before = spine.stamps(home)
    assert spine.run_here(profile, home)[0] == ALL_DONE
    assert spine.stamps(home) == before


def test_a_finished_cell_whose_weights_were_not_kept_runs_again_when_others_start_from_it(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    shutil.rmtree(spine.cell_dir(home, DOWNSTREAM))
    folder = spine.cell_dir(home, UPSTREAM)
    record = read_record(folder)
    assert record is not None
    digests = {name: digest for name, digest in record.files_sha256.items() if name != WEIGHTS}
    write_record(folder, record.model_copy(update={"files_sha256": digests}))
    (folder / WEIGHTS).unlink()
    summary, lines = spine.run_here(profile, home, only=DOWNSTREAM)
    assert summary.num_done == 2
    assert any(line.startswith(f"note: {UPSTREAM} runs again") for line in lines)
    assert spine.outcomes(home) == spine.outcomes(spine.finished() / "home")


def test_cells_without_data_are_left_out_and_said(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path)
    context, lines = spine.make_context(profile, tmp_path / "home")
    summary = run(context, seed_done=lambda seed: None)
    assert summary.unfetched == ("dots", "marks")
    assert (summary.num_done, summary.num_failed) == (0, 0)
    assert summary.num_blocked > 0
    assert lines == ["warning: cells of dots, marks wait for data: run `vitrepro fetch` first"]


def test_the_end_of_each_seed_but_the_last_is_told(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    for seed in (1, 2):
        shutil.rmtree(spine.cell_dir(home, CELL.replace("s1", f"s{seed}")))
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    context.__dict__["device"] = replace(choose_device("cpu"), num_workers=1)
    told: list[int] = []
    assert run(context, seed_done=told.append) == ALL_DONE
    assert told == [1]


class FailingWorkers:
    """Stands for workers whose first cell fails."""

    num_workers = 1

    def __init__(self, *, stops_the_run: bool) -> None:
        self.failed = Failed(
            error="Broken",
            message="No space left.",
            remedy="Free it.",
            traceback="",
            stops_the_run=stops_the_run,
            worker_is_spoilt=False,
        )

    def __enter__(self) -> "FailingWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def order(self, slot: int, what: object) -> None:
        pass

    def resize(self, num_workers: int) -> None:
        pass

    def next_event(self, timeout_s: float) -> tuple[int, Failed]:
        return 0, self.failed


def test_a_full_disk_stops_the_run_and_is_no_failure_of_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    for cell_id in (CELL, OTHER):
        shutil.rmtree(spine.cell_dir(home, cell_id))
    before = spine.stamps(home)
    monkeypatch.setattr(stage, "Workers", lambda number: FailingWorkers(stops_the_run=True))
    with pytest.raises(DiskFull, match="No space left"):
        spine.run_here(profile, home)
    assert spine.stamps(home) == before
    assert not list((home / "runs").rglob(FAILURE))


def test_a_full_disk_in_the_parent_stops_the_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    shutil.rmtree(spine.cell_dir(home, CELL))
    monkeypatch.setattr(stage, "Workers", lambda number: FailingWorkers(stops_the_run=False))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"failure\.json"):
        run(context, seed_done=lambda seed: None)


ON_A_GPU = DeviceChoice(
    device="cuda",
    name="cpu",
    bfloat16=False,
    channels_last=True,
    reason="a usable GPU",
    precision_reason="float32",
    driver="580.65.06",
    num_workers=1,
    uuid="of-a-gpu-that-is-gone",
)
"""A GPU by the name under which the finished study has step times, so that nothing is timed."""


class DyingWorkers(FailingWorkers):
    """Stands for workers that die in their first cell."""

    def __init__(self) -> None:
        super().__init__(stops_the_run=False)

    def next_event(self, timeout_s: float) -> tuple[int, Died]:  # type: ignore[override]
        return 0, Died(exit_code=-9)


@pytest.mark.parametrize("workers", [DyingWorkers(), FailingWorkers(stops_the_run=False)])
def test_a_lost_gpu_stops_the_run_and_is_no_failure_of_the_cell(
    workers: FailingWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    for cell_id in (CELL, OTHER):
        shutil.rmtree(spine.cell_dir(home, cell_id))
    before = spine.stamps(home)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    context.__dict__["device"] = ON_A_GPU
    monkeypatch.setattr(stage, "Workers", lambda number: workers)
    with pytest.raises(EnvironmentProblem, match=f"The GPU was lost while {re.escape(CELL)} was running") as caught:
        run(context, seed_done=lambda seed: None)
    assert "Finished cells are kept" in caught.value.remedy
    assert spine.stamps(home) == before
    assert not list((home / "runs").rglob(FAILURE))


MADE_UP = spine.ROOT / "tests" / "hardware" / "made_up_machine.py"
ANSWER = CudaProbe(
    torch="2.11.0",
    cuda="13.0",
    archs=("sm_90",),
    name="NVIDIA Stub",
    uuid=nvml_stub.UUID,
    capability=(9, 0),
    product=ProductCheck(size=64, float32_error=0.0, float32_tflops=50.0, bfloat16_error=0.003, bfloat16_tflops=600.0),
)


def run_on_the_stub(folder: Path, profile: Path, home: Path, *, is_lost: bool) -> subprocess.CompletedProcess[str]:
    """`run --device cuda` in a container whose GPU NVML has, and torch cannot really use: cells fail in real workers.

    With `is_lost` NVML has it no longer after the first look: the program that answers for torch is what takes it away.
    """
    spine.fetch(spine.make_context(profile, home)[0])
    root, errors = folder / "root", folder / "errors"
    (root / "proc/self").mkdir(parents=True)
    (root / ".dockerenv").touch()
    mount = f"1 2 8:1 /var/lib/docker/containers/{'0123456789ab' * 5}0123/hostname /etc/hostname rw - ext4 /dev/sda1 rw"
    (root / "proc/self/mountinfo").write_text(mount)
    takes_away = f"; echo nvmlInit_v2 {nvml_stub.UNKNOWN} > {shlex.quote(str(errors))}" if is_lost else ""
    probe = ["/bin/sh", "-c", f"printf %s {shlex.quote(ANSWER.model_dump_json())}{takes_away}"]
    description = json.dumps({"root": str(root), "probe": probe})
    # Step times are those of the device's records, in their precision; a probe of the steps would fail before any cell.
    for record in (home / "runs").glob("*/record.json"):
        record.write_text(record.read_text().replace('"device": "cpu"', '"device": "NVIDIA Stub"'))
    arguments = ["run", "--device", "cuda", "--profile", str(profile), "--home", str(home)]
    return subprocess.run(
        [sys.executable, str(MADE_UP), description, *arguments],
        capture_output=True,
        text=True,
        env=nvml_stub.environment(error_file=errors) | {"CUDA_VISIBLE_DEVICES": "", PRECISION_VARIABLE: "float32"},
        check=False,
    )


def test_a_container_that_loses_its_gpu_tries_no_further_cell(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    for cell_id in (CELL, OTHER):
        shutil.rmtree(spine.cell_dir(home, cell_id))
    done = run_on_the_stub(tmp_path, profile, home, is_lost=True)
    assert done.returncode == 1, done.stderr
    assert f"error: The GPU was lost while {CELL} was running" in done.stderr
    assert "NVML says 'Unknown Error'" in done.stderr
    assert "docker restart 0123456789ab" in done.stderr
    assert "Finished cells are kept; the same command then goes on from there." in done.stderr
    assert OTHER not in spine.cell_dirs(home), "it was not tried"
    assert not list((home / "runs").rglob(FAILURE))
    assert len(spine.stamps(home)) == spine.NUM_CELLS - 2


def test_cells_that_fail_while_the_gpu_answers_are_failures_of_their_own(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    for cell_id in (CELL, OTHER):
        shutil.rmtree(spine.cell_dir(home, cell_id))
    done = run_on_the_stub(tmp_path, profile, home, is_lost=False)
    assert done.returncode == 3, done.stderr
    assert len(list((home / "runs").rglob(FAILURE))) == 2


def test_what_was_chosen_stands_in_the_record_with_its_reason() -> None:
    record = read_record(spine.cell_dir(spine.finished() / "home", CELL))
    assert record is not None
    assert {choice.what: choice.value for choice in record.choices}["precision"] == "float32"
    assert {choice.what: choice.reason for choice in record.choices}["device"] == "asked for with --device cpu"
