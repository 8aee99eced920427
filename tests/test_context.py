"""What a command works on: selection of cells, facts of the data, source of the forecast, the commit."""

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import spine

from repro import context as context_module
from repro.attempts import Attempt, write_attempt
from repro.choices import Choice, StepWay
from repro.context import COMMIT_VARIABLE, source_commit
from repro.datasets.manifest import MANIFEST
from repro.errors import ProfileError, UsageError
from repro.hardware import DeviceChoice, processor_name
from repro.messages import Block, Measured, Probe
from repro.records import LAST, RECORD, CellStatus
from repro.timing import shared, step_key, ways
from repro.workers import Workers
from repro.workspace import command_line

DOWNSTREAM = "dots.n12.tiny_vit.marks-30.plain.s1"
UPSTREAM = "marks.n30.tiny_vit.scratch.up.s1"


@pytest.mark.parametrize("is_fetched", [True, False])
def test_only_names_cells_and_brings_their_upstream(is_fetched: bool, tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path)
    context, _ = spine.make_context(profile, tmp_path / "home", only="*marks-30*s1")
    if is_fetched:
        spine.fetch(context)
    chosen = context.selected(context.plan())
    assert [entry.cell.id for entry in chosen] == [UPSTREAM, DOWNSTREAM]
    assert [context.is_named(entry) for entry in chosen] == [False, True]


def test_without_only_all_cells_are_selected_and_named(tmp_path: Path) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    plan = context.plan()
    assert context.selected(plan) == [entry for entry in plan.cells if context.is_named(entry)]


def test_only_that_matches_nothing_is_a_usage_error_with_an_example(tmp_path: Path) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home", only="nosuch*")
    plan = context.plan()
    with pytest.raises(UsageError, match=r"--only 'nosuch\*' matches no cell of profile 'tiny'") as caught:
        context.selected(plan)
    assert plan.cells[0].cell.id in caught.value.remedy
    assert caught.value.exit_code == 2


def test_facts_are_those_of_the_fetched_data(tmp_path: Path) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    assert context.facts() == {}
    spine.fetch(context)
    facts = context.facts()
    assert {name: (found.num_train_images, found.image_size, found.num_classes) for name, found in facts.items()} == {
        "dots": (40, 8, 3),
        "marks": (40, 8, 4),
    }


def test_a_corrupt_manifest_is_said_and_counts_as_not_fetched(tmp_path: Path) -> None:
    context, lines = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    spine.fetch(context)
    (context.workspace.dataset_dir("dots") / MANIFEST).write_text("{")
    lines.clear()
    assert context.facts().keys() == {"marks"}
    context.plan()
    context.bytes_to_fetch()
    assert len(lines) == 1, "it is said once, however often the facts are asked for"
    assert "vitrepro fetch" in lines[-1]
    assert str(context.workspace.dataset_dir("dots")) in lines[-1]
    spine.fetch(context)
    assert context.facts().keys() == {"dots", "marks"}


def test_an_error_in_the_profile_names_the_file(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path, spine.STUDY.replace('["tiny_vit", "tiny_cnn"]', '["tiny_vitt"]'))
    context, _ = spine.make_context(profile, tmp_path / "home")
    with pytest.raises(ProfileError, match=r"tiny\.toml: cells\.0\.model: there is no model 'tiny_vitt'"):
        context.plan()
    profile = spine.write_study(tmp_path, spine.STUDY.replace('dataset = ["dots"]', 'dataset = ["dotz"]'))
    context, _ = spine.make_context(profile, tmp_path / "home")
    with pytest.raises(ProfileError, match=r"tiny\.toml: cells\.0\.dataset: there is no data set 'dotz'"):
        spine.fetch(context)


def test_a_forecast_comes_from_records_where_they_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    shutil.rmtree(spine.cell_dir(home, DOWNSTREAM))
    monkeypatch.setattr(context_module, "probe_step_times", lambda *arguments: pytest.fail("probed"))
    plan = context.plan()
    forecast = context.forecast(list(plan.cells), plan)
    assert (forecast.num_cells, forecast.num_done) == (spine.NUM_CELLS, spine.NUM_CELLS - 1)
    assert list(forecast.cell_s) == [DOWNSTREAM]
    assert forecast.source == "earlier records on this machine"


def test_records_of_cells_that_are_not_selected_tell_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    shutil.rmtree(spine.cell_dir(home, DOWNSTREAM))
    context, _ = spine.make_context(profile, home, only=DOWNSTREAM)
    spine.fetch(context)
    plan = context.plan()
    monkeypatch.setattr(context_module, "probe_step_times", lambda *arguments: pytest.fail("probed"))
    forecast = context.forecast(context.selected(plan), plan)
    assert (forecast.num_cells, forecast.num_done) == (2, 1)


def test_what_gains_by_bfloat16_runs_in_it_on_a_cpu_and_is_timed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, lines = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    context.device = replace(context.device, may_bfloat16=True)
    probed: list[bool] = []

    def probe(cells: list, facts: object, device: DeviceChoice, known: dict) -> dict[str, Measured]:
        if missing := {step_key(entry.cell) for entry in cells} - known.keys():
            probed.append(device.bfloat16)
        return {key: Measured(step_s=0.25 if device.bfloat16 else 0.5, num_parameters=10) for key in missing}

    monkeypatch.setattr(context_module, "probe_step_times", probe)
    spine.fetch(context)
    plan = context.plan()
    forecasts = [context.forecast(list(plan.cells), plan) for _ in range(2)]
    assert probed == [False, True]
    assert context.device.bfloat16
    assert "bfloat16: steps are 2.00 times as fast as in float32 on this processor" in lines
    assert set(forecasts[0].cell_s.values()) == {0.25 * entry.cell.recipe.steps for entry in plan.cells}
    assert forecasts[0] == forecasts[1]


def test_a_run_that_was_interrupted_before_any_cell_ended_goes_on_in_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    spine.fetch(context)
    context.device = replace(context.device, may_bfloat16=True)
    plan = context.plan()
    begun = plan.cells[-1]
    assert begun.fingerprint
    folder = context.workspace.run_dir(begun.cell.id, begun.fingerprint)
    folder.mkdir(parents=True)
    attempt = Attempt(
        fingerprint=begun.fingerprint,
        device="cpu",
        processor=processor_name(),
        choices=(Choice(what="precision", value="bfloat16", reason="it was measured"),),
        started_at="2026-01-01T00:00:00+00:00",
    )
    write_attempt(folder, attempt)
    (folder / LAST).touch()
    monkeypatch.setattr(context_module, "probe_step_times", lambda *arguments: pytest.fail("probed"))
    context.settle_precision(list(plan.cells), plan)
    assert context.device.bfloat16


@pytest.mark.parametrize("lost", ["force", "state"])
def test_what_will_not_be_gone_on_from_does_not_decide_on_the_precision(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home, force=lost == "force")
    spine.fetch(context)
    context.device = replace(context.device, bfloat16=False, may_bfloat16=True)
    if lost == "state":
        for folder in (home / "runs").iterdir():
            told = json.loads((folder / RECORD).read_text())
            attempt = Attempt(
                fingerprint=told["fingerprint"],
                device="cpu",
                processor=processor_name(),
                choices=(Choice(what="precision", value="float32", reason="it was measured"),),
                started_at="2026-01-01T00:00:00+00:00",
            )
            (folder / RECORD).unlink()
            write_attempt(folder, attempt)

    def probe(cells: list, facts: object, device: DeviceChoice, known: dict) -> dict[str, Measured]:
        return {step_key(entry.cell): Measured(step_s=0.25 if device.bfloat16 else 0.5, num_parameters=10) for entry in cells}

    monkeypatch.setattr(context_module, "probe_step_times", probe)
    plan = context.plan()
    context.settle_precision(list(plan.cells), plan)
    assert context.device.bfloat16


def test_a_forecast_is_probed_once_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    context.device = replace(context.device, may_bfloat16=False)
    probed: list[set[str]] = []

    def probe(cells: list, facts: object, device: object, known: dict) -> dict[str, Measured]:
        missing = {step_key(entry.cell) for entry in cells} - known.keys()
        probed.append(missing)
        return {key: Measured(step_s=0.5, num_parameters=10) for key in missing}

    monkeypatch.setattr(context_module, "probe_step_times", probe)
    spine.fetch(context)
    plan = context.plan()
    assert {entry.status for entry in plan.cells} == {CellStatus.PENDING}
    first, second = (context.forecast(list(plan.cells), plan) for _ in range(2))
    assert len(probed[0]) == 3
    assert all(not missing for missing in probed[1:]), "what is measured is not measured again"
    assert first == second
    assert "a probe in" in second.source


ON_A_GPU = DeviceChoice(
    device="cuda",
    name="cpu",
    bfloat16=False,
    channels_last=True,
    reason="",
    precision_reason="",
    driver=None,
    num_workers=8,
    workers_reason="no more are tried",
    ways=(StepWay.GRAPHED, StepWay.COMPILED),
)
"""A GPU by the name under which the finished study has step times."""


def test_on_a_gpu_a_forecast_comes_from_records_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, lines = spine.make_context(profile, home)
    spine.fetch(context)
    shutil.rmtree(spine.cell_dir(home, DOWNSTREAM))
    context.__dict__["device"] = ON_A_GPU
    monkeypatch.setattr(shared, "take_together", lambda *arguments, **options: pytest.fail("probed"))
    plan = context.plan()
    forecast = context.forecast(list(plan.cells), plan)
    assert list(forecast.cell_s) == [DOWNSTREAM]
    assert (forecast.source, forecast.num_workers) == ("earlier records on this machine", 1)
    assert lines == []


def test_on_a_gpu_each_kind_is_measured_once_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    context, lines = spine.make_context(spine.write_study(tmp_path), home)
    context.verbose = True
    spine.fetch(context)
    context.__dict__["device"] = ON_A_GPU
    tried: list[int] = []

    def take_together(workers: Workers, probe: Probe, number: int, *, patience_s: float | None) -> list[Measured]:
        tried.append(number)
        num_steps = 1.0 if number < 4 else 0.5
        if probe.way is not StepWay.PLAIN:
            assert probe.cache == home / "cache" / "inductor"
            num_steps = 4.0 if probe.way is StepWay.COMPILED else 3.0
        own = Block(began_s=0.0, ended_s=10.0, num_steps=num_steps)
        one = Measured(step_s=10.0, ready_s=20.0, num_parameters=10, blocks=(own,), peak_bytes=1, free_bytes=2**34)
        return [one] * number

    monkeypatch.setattr(ways, "lacks_for_compiling", lambda device: "")
    monkeypatch.setattr(shared, "take_together", take_together)
    plan = context.plan()
    with Workers(0) as workers:
        monkeypatch.setattr(workers, "resize", lambda num_workers: None)
        monkeypatch.setattr(context_module, "Workers", lambda number: contextlib.nullcontext(workers))
        checked = context.forecast(list(plan.cells), plan)
        assert (tried, checked.steppings) == (2 * [1, 2, 4], {}), "to look is not to fill the home"
        first, second = (context.forecast(list(plan.cells), plan, workers) for _ in range(2))
    assert tried == 2 * [1, 2, 4] + 2 * [2, 2], "the images of both data sets have one shape; both ways as they will run"
    assert first == second
    assert "up to 2 cells at once on the GPU" in second.line()
    assert second.source == "a probe"
    assert sum("2 at once: 2 at once are 2.0 times as fast as one, 4 would be no faster" in line for line in lines) == 3
    told = "steps compiled: compiled steps are 4.00 times as fast, 20 s of compilation in each of 2 workers"
    assert sum(told in line for line in lines) == 3
    assert all(found.way is StepWay.COMPILED for found in first.steppings.values())
    assert min(first.cell_s.values()) >= 12 * 2.5


def test_the_commit_is_stated_or_found_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "abc")
    assert source_commit() == "abc"
    monkeypatch.delenv(COMMIT_VARIABLE)
    monkeypatch.setattr(context_module, "__file__", str(tmp_path / "repro" / "context.py"))
    assert source_commit() is None
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = source_commit()
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "file").write_text("2")
    assert source_commit() == f"{commit}+changes"


def test_the_command_line_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/repro/__main__.py", "run", "--only", "a b"])
    assert command_line() == "vitrepro run --only a b"
