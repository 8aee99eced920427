"""A cell whose steps run compiled: its record tells it, it resumes, and where compiling fails it is trained as it is."""

from pathlib import Path
from typing import NoReturn

import pytest
import torch
from compiler_here import needs_a_compiler
from test_cell import CELL, folder_of, job_of, run_killed_after, run_undisturbed

from repro.messages import Job
from repro.records import LOG, Choice, Record, read_epochs
from repro.training.compilation import CACHE_VARIABLE

MEASURED = Choice(what="compile", value="yes", reason="steps are 2.00 times as fast")


def compiled_job(folder: Path) -> Job:
    before = job_of(CELL, folder)
    return before.model_copy(update={"compiled": True, "choices": (*before.choices, MEASURED)})


def losses(job: Job) -> list[float]:
    return [row.train_loss for row in read_epochs(folder_of(job))]


def told(record: Record) -> list[Choice]:
    return [choice for choice in record.choices if choice.what == "compile"]


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
    assert (told(expected), told(record)) == ([], [MEASURED])
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
    assert choice.value == "no" and not choice.holds
    assert choice.reason.startswith("compiling failed in this cell: ")
    assert "the compiler fell over" in choice.reason
    assert "not compiled: " in (folder_of(job) / LOG).read_text()
