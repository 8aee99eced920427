"""A cell whose steps are compiled or graphed: its record tells it, it resumes, and where that fails its steps are plain."""

import io
import queue
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from compiler_here import needs_a_compiler
from recorded_passes import Recording
from test_cell import CELL, folder_of, job_of, run_killed_after, run_undisturbed

from repro.choices import Choice, StepWay
from repro.messages import Done, Job
from repro.records import LOG, Record, read_epochs
from repro.training.compilation import CACHE_VARIABLE
from repro.worker import carry_out

PLACE = "torch.cuda.make_graphed_callables"


def measured(way: StepWay) -> Choice:
    return Choice(what="steps", value=way, reason="such steps are 2.00 times as fast")


def job_with(way: StepWay, folder: Path) -> Job:
    before = job_of(CELL, folder)
    return before.model_copy(update={"way": way, "choices": (*before.choices, measured(way))})


def compiled_job(folder: Path) -> Job:
    return job_with(StepWay.COMPILED, folder)


def losses(job: Job) -> list[float]:
    return [row.train_loss for row in read_epochs(folder_of(job))]


def told(record: Record) -> list[Choice]:
    return [choice for choice in record.choices if choice.what == "steps"]


@pytest.fixture(autouse=True)
def cache_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/to/be/replaced")


@pytest.mark.slow
@needs_a_compiler
def test_a_compiled_cell_learns_as_a_plain_one_and_its_code_lies_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.cell.files.STATE_PART", 0)
    plain, job, killed = job_of(CELL, tmp_path / "plain"), compiled_job(tmp_path / "a"), compiled_job(tmp_path / "b")
    expected, record = run_undisturbed(plain), run_undisturbed(job)
    assert (told(expected), told(record)) == ([], [measured(StepWay.COMPILED)])
    assert losses(job) == pytest.approx(losses(plain), rel=1e-3)
    assert record.test_loss == pytest.approx(expected.test_loss, rel=1e-2)
    assert any((tmp_path / "a" / "home" / "cache" / "inductor").iterdir())
    assert "steps compiled in" in (folder_of(job) / LOG).read_text()

    run_killed_after(killed, 6)
    resumed = run_undisturbed(killed)
    assert resumed.resumed_from_step is not None
    assert resumed.test_loss == pytest.approx(record.test_loss, rel=1e-6)
    assert losses(killed) == pytest.approx(losses(job), rel=1e-6)


def test_a_cell_whose_compiling_fails_is_trained_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_with = torch.compile

    def refuse(_graph: object, _inputs: object) -> NoReturn:
        raise RuntimeError("the compiler\nfell over")

    monkeypatch.setattr(torch, "compile", lambda model, **options: compile_with(model, backend=refuse, **options))
    job, plain = compiled_job(tmp_path / "a"), job_of(CELL, tmp_path / "plain")
    record = run_undisturbed(job)
    run_undisturbed(plain)
    assert losses(job) == losses(plain), "bitwise, since nothing had changed"
    (choice,) = told(record)
    assert choice.value == "plain" and not choice.holds
    assert choice.reason.startswith("compiling failed in this cell: ")
    assert "the compiler fell over" in choice.reason
    assert f"plain steps: {choice.reason}" in (folder_of(job) / LOG).read_text()


def test_a_graphed_cell_is_the_plain_one_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.cell.files.STATE_PART", 0)
    monkeypatch.setattr(PLACE, recording := Recording())
    plain, job, killed = (
        job_of(CELL, tmp_path / "plain"),
        job_with(StepWay.GRAPHED, tmp_path / "a"),
        job_with(StepWay.GRAPHED, tmp_path / "b"),
    )
    expected, record = run_undisturbed(plain), run_undisturbed(job)
    assert recording.num_backward == 1 + job.cell.recipe.steps
    assert (told(expected), told(record)) == ([], [measured(StepWay.GRAPHED)])
    assert losses(job) == losses(plain), "the stand-in computes as the model does"
    assert (record.test_loss, record.train_loss) == (expected.test_loss, expected.train_loss)
    assert record.files_sha256["predictions.npz"] == expected.files_sha256["predictions.npz"]
    assert "steps recorded as CUDA graphs in" in (folder_of(job) / LOG).read_text()

    run_killed_after(killed, 6)
    resumed = run_undisturbed(killed)
    assert resumed.resumed_from_step is not None
    assert losses(killed) == losses(job)


def fall_over(*_arguments: object, **_options: object) -> NoReturn:
    raise RuntimeError("operation not permitted\nwhen stream is capturing")


@pytest.mark.parametrize(
    ("stand_in", "reason"),
    [
        (fall_over, "CUDA graphs failed in this cell: RuntimeError: operation not permitted when stream is capturing"),
        (Recording(gradient=lambda gradient: -gradient), "CUDA graphs gave another gradient than the model: "),
    ],
    ids=["fails", "other numbers"],
)
def test_a_cell_whose_graphs_fail_is_trained_with_plain_steps(
    stand_in: object, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLACE, stand_in)
    job, plain = job_with(StepWay.GRAPHED, tmp_path / "a"), job_of(CELL, tmp_path / "plain")
    record = run_undisturbed(job)
    run_undisturbed(plain)
    assert losses(job) == losses(plain), "bitwise, since nothing had changed"
    (choice,) = told(record)
    assert choice.value == "plain" and not choice.holds
    assert choice.reason.startswith(reason)


@pytest.mark.parametrize(("stand_in", "is_spoilt"), [(fall_over, True), (Recording(), False)])
def test_a_worker_in_which_a_recording_failed_gets_no_other_cell(
    stand_in: object, is_spoilt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLACE, stand_in)
    done = carry_out(job_with(StepWay.GRAPHED, tmp_path), io.StringIO(), queue.Queue())
    assert isinstance(done, Done)
    assert done.worker_is_spoilt == is_spoilt


def test_a_cell_whose_batch_does_not_fit_the_memory_is_not_graphed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, fall_over)
    monkeypatch.setattr("repro.cell.start.activation_budget_bytes", lambda **_: (1, "a byte"))
    (choice,) = told(run_undisturbed(job_with(StepWay.GRAPHED, tmp_path)))
    assert (choice.value, choice.holds) == ("plain", False)
    assert choice.reason == "a batch goes through the model in parts (1 of 8 images), and CUDA graphs take it whole"
