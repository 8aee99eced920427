"""One cell end to end, in this process: files, resumption, and what is done about every kind of damage."""

from pathlib import Path

import pytest
import spine

from repro.attempts import ATTEMPT, FIRST_STEPS, read_attempt
from repro.cell import run_cell
from repro.choices import Choice
from repro.errors import CorruptFile, EnvironmentProblem, TrainingDiverged
from repro.messages import Job
from repro.records import EPOCHS, FAILURE, LAST, LOG, PREDICTIONS, RECORD, WEIGHTS, Record, read_predictions
from repro.spec import Recipe
from repro.workspace import Workspace

CELL = "dots.n40.tiny_vit.scratch.plain.s1"
UPSTREAM = "marks.n30.tiny_vit.scratch.up.s1"
DOWNSTREAM = "dots.n12.tiny_vit.marks-30.plain.s1"


class Killed(Exception):
    """Stands for a kill in the middle of training."""


def job_of(cell_id: str, folder: Path, *, keeps_weights: bool = False, recipe: Recipe | None = None) -> Job:
    """The order to run a cell of the study in a fresh home with its data."""
    context, _ = spine.make_context(spine.write_study(folder / "study"), folder / "home")
    spine.fetch(context)
    entry = next(entry for entry in context.plan().cells if entry.cell.id == cell_id)
    assert entry.fingerprint
    return Job(
        cell=entry.cell if recipe is None else entry.cell.model_copy(update={"recipe": recipe}),
        fingerprint=entry.fingerprint,
        upstream_fingerprint=entry.upstream_fingerprint,
        upstream_id=entry.upstream_id,
        weights=None,
        lr=(recipe or entry.cell.recipe).lr,
        keeps_weights=keeps_weights,
        home=context.workspace.home,
        device="cpu",
        device_name="cpu",
        driver=None,
        bfloat16=False,
        channels_last=False,
        device_shared=False,
        choices=(),
        command="vitrepro run",
        commit=None,
    )


def folder_of(job: Job) -> Path:
    return Workspace(home=job.home).run_dir(job.cell.id, job.fingerprint)


def run_undisturbed(job: Job) -> Record:
    return run_cell(job, progress=lambda step: None)


def run_killed_after(job: Job, steps: int) -> None:
    def progress(step: int) -> None:
        if step >= steps:
            raise Killed

    with pytest.raises(Killed):
        run_cell(job, progress=progress)


def placement_of(record: Record) -> Choice:
    [placement] = [choice for choice in record.choices if choice.what == "images"]
    return placement


def numbers(record: Record) -> tuple[object, ...]:
    return record.test_accuracy, record.test_loss, record.train_accuracy, record.train_loss, record.files_sha256[PREDICTIONS]


def test_a_cell_ends_as_in_a_worker_process(tmp_path: Path) -> None:
    record = run_undisturbed(job_of(CELL, tmp_path))
    accuracy, train_accuracy, predictions = spine.outcomes(spine.finished() / "home")[CELL]
    assert (record.test_accuracy, record.train_accuracy) == (accuracy, train_accuracy)
    assert predictions == (spine.cell_dir(tmp_path / "home", CELL) / PREDICTIONS).read_bytes()


def test_a_finished_cell_leaves_what_is_needed_and_nothing_else(tmp_path: Path) -> None:
    job = job_of(CELL, tmp_path)
    run_undisturbed(job)
    assert {path.name for path in folder_of(job).iterdir()} == {RECORD, PREDICTIONS, EPOCHS, LOG}
    labels, _ = read_predictions(folder_of(job))
    assert sorted(labels.tolist()) == sorted(image % 3 for image in range(20))


def test_weights_are_kept_where_cells_start_from_them(tmp_path: Path) -> None:
    job = job_of(UPSTREAM, tmp_path, keeps_weights=True)
    record = run_undisturbed(job)
    assert (folder_of(job) / WEIGHTS).exists()
    assert WEIGHTS in record.files_sha256
    below = run_undisturbed(job_of(DOWNSTREAM, tmp_path))
    assert below.upstream_fingerprint == record.fingerprint
    assert below.test_accuracy == spine.outcomes(spine.finished() / "home")[DOWNSTREAM][0]


@pytest.mark.parametrize("damage", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00garbage"])
def test_damaged_upstream_weights_are_named_and_never_replaced_by_random_ones(damage: bytes, tmp_path: Path) -> None:
    job = job_of(UPSTREAM, tmp_path, keeps_weights=True)
    run_undisturbed(job)
    (folder_of(job) / WEIGHTS).write_bytes(damage)
    below = job_of(DOWNSTREAM, tmp_path)
    with pytest.raises(CorruptFile, match=WEIGHTS):
        run_undisturbed(below)
    assert not (folder_of(below) / RECORD).exists()


@pytest.mark.parametrize("cell_id", [CELL, UPSTREAM])
def test_a_killed_cell_goes_on_and_ends_bitwise_alike(cell_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its intervals take milliseconds: each leaves its state, however much of the time that takes.
    monkeypatch.setattr("repro.cell.files.STATE_PART", 0)
    undisturbed = run_undisturbed(job_of(cell_id, tmp_path / "a"))
    job = job_of(cell_id, tmp_path / "b")
    run_killed_after(job, 6)
    assert (folder_of(job) / LAST).exists()
    record = run_undisturbed(job)
    assert record.resumed_from_step is not None
    assert 6 <= record.resumed_from_step < 12
    assert numbers(record) == numbers(undisturbed)
    assert record.energy_j is None
    assert not (folder_of(job) / LAST).exists()


def in_precision(job: Job, value: str) -> Job:
    choices = (Choice(what="precision", value=value, reason="it was measured"),)
    return job.model_copy(update={"bfloat16": value == "bfloat16", "choices": choices})


def test_first_steps_in_another_precision_are_told_through_every_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.cell.files.STATE_PART", 0)
    job = job_of(CELL, tmp_path)
    run_killed_after(in_precision(job, "float32"), 3)
    begun = read_attempt(folder_of(job), job.fingerprint)
    assert begun is not None
    assert [choice.value for choice in begun.choices] == ["float32"]
    run_killed_after(in_precision(job, "bfloat16"), 6)
    record = run_undisturbed(in_precision(job, "bfloat16"))
    assert [choice.value for choice in record.choices if choice.what in ("precision", FIRST_STEPS)] == ["bfloat16", "float32"]
    assert not (folder_of(job) / ATTEMPT).exists()


def test_an_attempt_that_left_no_state_is_not_told(tmp_path: Path) -> None:
    job = job_of(CELL, tmp_path)
    run_killed_after(in_precision(job, "float32"), 6)
    (folder_of(job) / LAST).unlink()
    record = run_undisturbed(in_precision(job, "bfloat16"))
    assert not [choice for choice in record.choices if choice.what == FIRST_STEPS]


@pytest.mark.parametrize("content", ["{", '{"schema_version": 2}', ""])
def test_an_attempt_that_cannot_be_read_costs_what_it_tells_only(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.cell.files.STATE_PART", 0)
    job = job_of(CELL, tmp_path)
    run_killed_after(in_precision(job, "float32"), 6)
    (folder_of(job) / ATTEMPT).write_text(content)
    record = run_undisturbed(in_precision(job, "bfloat16"))
    assert record.resumed_from_step is not None
    assert [choice.value for choice in record.choices if choice.what == FIRST_STEPS] == ["unknown"]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "of another cell"])
def test_a_corrupt_state_is_named_and_moved_aside_and_the_cell_starts_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = run_undisturbed(job_of(CELL, tmp_path / "a"))
    job = job_of(CELL, tmp_path / "b")
    run_killed_after(job, 6)
    path = folder_of(job) / LAST
    content = path.read_bytes()
    other = job.model_copy(update={"fingerprint": "0" * 64})
    if damage == "of another cell":
        run_killed_after(other, 6)
    spoilt = {
        "empty": b"",
        "cut": content[:500],
        "noise": bytes(range(256)) * 20,
        "of another cell": (folder_of(other) / LAST).read_bytes() if damage == "of another cell" else b"",
    }
    path.write_bytes(spoilt[damage])
    record = run_undisturbed(job)
    assert record.resumed_from_step is None
    assert numbers(record) == numbers(undisturbed)
    assert (folder_of(job) / f"{LAST}.corrupt-1").read_bytes() == spoilt[damage]
    assert str(path) in capsys.readouterr().err
    assert "the cell starts again" in (folder_of(job) / LOG).read_text()


def test_what_an_earlier_run_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    job = job_of(CELL, tmp_path)
    run_undisturbed(job)
    for name in (f".{LAST}.123.tmp", WEIGHTS, FAILURE):
        (folder_of(job) / name).write_bytes(b"stale")
    record = run_undisturbed(job)
    assert {path.name for path in folder_of(job).iterdir()} == {RECORD, PREDICTIONS, EPOCHS, LOG}
    assert record.files_sha256.keys() == {PREDICTIONS, EPOCHS}


@pytest.mark.parametrize(("steps", "lr"), [(1, 1e38), (12, 1e9)])
def test_a_training_that_blows_up_is_told_with_the_step_and_leaves_no_record(steps: int, lr: float, tmp_path: Path) -> None:
    recipe = Recipe(name="plain", optimizer="sgd", lr=lr, batch_size=8, steps=steps)
    job = job_of(CELL, tmp_path, recipe=recipe)
    with pytest.raises(TrainingDiverged, match=r"step \d+") as caught:
        run_undisturbed(job)
    assert "Lower the recipe's lr" in caught.value.remedy
    assert not (folder_of(job) / RECORD).exists()
    assert not (folder_of(job) / PREDICTIONS).exists()


def test_images_that_are_streamed_give_the_numbers_of_those_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell_id in (CELL, UPSTREAM):
        resident = run_undisturbed(job_of(cell_id, tmp_path / cell_id / "a"))
        with monkeypatch.context() as patch:
            patch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", "0")
            streamed = run_undisturbed(job_of(cell_id, tmp_path / cell_id / "b"))
        assert numbers(streamed) == numbers(resident)
        assert streamed.dev_accuracy == resident.dev_accuracy
        placements = [placement_of(record) for record in (resident, streamed)]
        assert [(choice.what, choice.value) for choice in placements] == [("images", "resident"), ("images", "streamed")]
        assert "a quarter of the" in placements[0].reason
        assert placements[1].reason.endswith("VITREPRO_IMAGES_ON_DEVICE_GIB is 0")


def test_the_training_images_come_first_where_not_all_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 40 training images of 64 bytes, which leave nothing for the 20 test images.
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", str(40 * 64 / 2**30))
    record = run_undisturbed(job_of(CELL, tmp_path))
    assert placement_of(record).value == "streamed"
    assert "train images fit into" in placement_of(record).reason
    assert "test images exceed the 0 GiB" in placement_of(record).reason


def test_an_impossible_budget_is_told_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", "much")
    job = job_of(CELL, tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"VITREPRO_IMAGES_ON_DEVICE_GIB is 'much'"):
        run_undisturbed(job)
    assert not (folder_of(job) / RECORD).exists()


def test_a_cell_with_strongly_changed_images_resumes_bitwise(tmp_path: Path) -> None:
    changes = {"trivial_augment": True, "mixup_alpha": 0.8, "cutmix_alpha": 1.0, "erase_probability": 0.25, "flip": True}
    recipe = Recipe.model_validate({"name": "strong", "lr": 0.01, "batch_size": 8, "steps": 12} | changes)
    undisturbed = run_undisturbed(job_of(CELL, tmp_path / "a", recipe=recipe))
    job = job_of(CELL, tmp_path / "b", recipe=recipe)
    run_killed_after(job, 6)
    record = run_undisturbed(job)
    assert record.resumed_from_step is not None
    assert numbers(record) == numbers(undisturbed)
