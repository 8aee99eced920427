"""The benchmark of a small profile, with real workers: rows, the file, what goes wrong, what a signal leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import spine
from compiler_here import needs_a_compiler
from small_json_schema import complaints

from repro.bench.clock import LEAST_BLOCKS
from repro.benchmarks import Benchmark, BenchRow, read_benchmark, read_benchmarks
from repro.catalog import load_catalog, load_profile
from repro.choices import StepWay
from repro.context import Context
from repro.errors import DiskFull, Interrupted, UsageError
from repro.messages import Failed
from repro.narration import bench_table
from repro.plan import PlannedCell
from repro.spec import Role
from repro.stages import bench as stage
from repro.stages.bench import bench, kinds_of
from repro.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
SECONDS = 0.02

STUDY = f"""
name = "tiny"
seeds = 2
{spine.PARTS}
[[model]]
name = "wider_than_memory"
family = "vit"
patch_size = 4
width = 100_000_000
depth = 1
num_heads = 2
[[cells]]
dataset = ["dots"]
size = [12, 40]
model = ["wider_than_memory", "tiny_vit"]
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


def context_of(folder: Path, *, only: str | None = None, fetched: bool = True) -> Context:
    profile = spine.write_study(folder / "study", STUDY)
    context, _ = spine.make_context(profile, folder / "home", only=only)
    if fetched:
        spine.fetch(context)
    return context


def shipped(name: str, home: Path) -> Context:
    return Context(
        workspace=Workspace(home=home),
        catalog=load_catalog(),
        profile=load_profile(name),
        profile_argument=name,
        requested_device="cpu",
        only=None,
        force=False,
        verbose=False,
        say=lambda line: None,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Benchmark, Path, list[tuple[str, int, int]]]:
    context = context_of(tmp_path_factory.mktemp("bench"))
    told: list[tuple[str, int, int]] = []

    def row_done(row: BenchRow, number: int, num_rows: int) -> None:
        told.append((row.case.model, number, num_rows))

    benchmark, path = bench(context, seconds=SECONDS, row_done=row_done)
    return context, benchmark, path, told


Measured = tuple[Context, Benchmark, Path, list[tuple[str, int, int]]]


def test_cells_whose_steps_cost_the_same_are_one_case(measured: Measured) -> None:
    _, benchmark, _, told = measured
    found = {(row.case.model, row.case.dataset): row.case for row in benchmark.rows}
    assert found.keys() == {("wider_than_memory", "dots"), ("tiny_vit", "dots"), ("tiny_vit", "marks")}
    # Two sizes and two seeds from scratch, and two seeds after the upstream run; the check is not counted.
    case = found["tiny_vit", "dots"]
    assert (case.num_cells, case.num_train_images, case.batch_size, case.image_size) == (6, 40, 8, 8)
    assert found["tiny_vit", "marks"].num_cells == 2
    assert (benchmark.num_cases, [number for _, number, _ in told]) == (3, [1, 2, 3])
    assert {total for *_, total in told} == {3}


def test_a_case_that_runs_out_of_memory_is_a_row_and_the_others_go_on(measured: Measured) -> None:
    rows = {row.case.model: row for row in measured[1].rows}
    failed = rows["wider_than_memory"]
    assert failed.speed is None
    assert failed.problem.startswith("Out of memory: ")
    assert "batch_size" in failed.remedy
    speed = rows["tiny_vit"].speed
    assert speed is not None and speed.loop_to_ceiling_ratio is not None
    assert len(speed.loop_to_ceiling_ratio.values) >= LEAST_BLOCKS
    assert rows["tiny_vit"].problem == rows["tiny_vit"].remedy == ""


def test_the_file_is_what_was_measured_and_fits_its_schema(measured: Measured) -> None:
    context, benchmark, path, _ = measured
    assert path == context.workspace.home / "bench" / "tiny" / "cpu.json"
    assert read_benchmark(path) == benchmark
    assert read_benchmarks(context.workspace, "tiny") == ((benchmark,), ())
    assert sorted(found.name for found in (context.workspace.home / "bench").rglob("*")) == ["cpu.json", "tiny"]
    schema = json.loads((ROOT / "docs" / "schemas" / "bench.schema.json").read_text())
    assert complaints(json.loads(path.read_text()), schema) == []


def test_device_and_versions_are_told_with_reasons(measured: Measured) -> None:
    benchmark = measured[1]
    assert benchmark.environment is not None and "torch" in benchmark.environment.packages
    told = {choice.what: choice for choice in benchmark.choices}
    assert told.keys() == {"device", "precision", "workers"}
    assert "1 thread, as in training" in told["workers"].reason
    assert all(choice.reason for choice in benchmark.choices)


def test_the_table_has_a_line_a_case(measured: Measured) -> None:
    lines = bench_table(measured[1]).splitlines()
    assert lines[0].split()[:3] == ["model", "recipe", "batch"]
    assert sum(line.startswith("tiny_vit ") for line in lines) == 2
    assert lines[-1].startswith("wider_than_memory plain: not measured. Out of memory")


def test_every_case_of_the_demo_appears(tmp_path: Path) -> None:
    context = shipped("demo", tmp_path)
    kinds = kinds_of(context)
    entries = [entry for entry in context.plan().cells if entry.cell.role in (Role.STUDY, Role.UPSTREAM)]

    def shown(entry: PlannedCell) -> tuple[str, str, int, str]:
        cell = entry.cell
        return cell.model.name, cell.dataset.name, cell.recipe.batch_size, cell.recipe.optimizer

    found = [(kind.case.model, kind.case.dataset, kind.case.batch_size, kind.case.optimizer) for kind in kinds]
    assert len(found) == len(set(found)) == 4
    assert set(found) == {shown(entry) for entry in entries}
    assert sum(kind.num_cells for kind in kinds) == len(entries)


@pytest.mark.parametrize("profile", ["quick", "full", "paper"])
def test_the_shipped_profiles_need_no_data_to_be_measured(profile: str, tmp_path: Path) -> None:
    context = shipped(profile, tmp_path)
    kinds = kinds_of(context)
    entries = [entry for entry in context.plan().cells if entry.cell.role in (Role.STUDY, Role.UPSTREAM)]
    assert {(kind.case.model, kind.case.recipe) for kind in kinds} <= {
        (entry.cell.model.name, entry.cell.recipe.name) for entry in entries
    }
    assert {kind.case.model for kind in kinds} == {entry.cell.model.name for entry in entries}
    assert sum(kind.num_cells for kind in kinds) == len(entries)
    assert all(kind.num_images >= kind.cell.num_train_images for kind in kinds)


def test_only_names_what_is_measured_and_not_what_that_needs(tmp_path: Path) -> None:
    [kind] = kinds_of(context_of(tmp_path, only="*marks-30*"))
    assert kind.cell.dataset.name == "dots"
    for only in ("*+4x*", "nothing*"):
        with pytest.raises(UsageError):
            kinds_of(context_of(tmp_path, only=only))


def test_data_of_unknown_shape_must_be_fetched(tmp_path: Path) -> None:
    context = context_of(tmp_path, fetched=False)
    with pytest.raises(UsageError) as raised:
        kinds_of(context)
    assert "vitrepro fetch" in raised.value.remedy


def test_a_signal_leaves_what_is_measured(tmp_path: Path) -> None:
    context = context_of(tmp_path, only="*tiny_vit*")

    def stop(row: BenchRow, number: int, num_rows: int) -> None:
        raise Interrupted("Stopped.", remedy="Again.")

    with pytest.raises(Interrupted):
        bench(context, seconds=SECONDS, row_done=stop)
    [benchmark], _ = read_benchmarks(context.workspace, "tiny")
    assert (len(benchmark.rows), benchmark.num_cases) == (1, 2)
    assert [path.name for path in (context.workspace.home / "bench").iterdir()] == ["tiny"]


def test_a_full_disk_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(tmp_path)
    told = {"error": "DiskFull", "message": "No space.", "remedy": "Free some.", "traceback": ""}
    full = Failed.model_validate(told | {"stops_the_run": True, "worker_is_spoilt": False})
    monkeypatch.setattr("repro.stages.bench._measured", lambda trial, device: full)
    with pytest.raises(DiskFull):
        bench(context, seconds=SECONDS, row_done=lambda row, number, num_rows: None)
    assert read_benchmarks(context.workspace, "tiny") == ((), ())


def test_a_worker_that_dies_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(tmp_path, only="dots.n12.tiny_vit.scratch.plain.s1")
    monkeypatch.setattr("repro.workers.sys.executable", "false")
    benchmark, _ = bench(context, seconds=SECONDS, row_done=lambda row, number, num_rows: None)
    [row] = benchmark.rows
    assert row.problem == "The worker that measured it ended with exit code 1."
    assert "close other programs" in row.remedy
    assert benchmark.environment is None


@pytest.mark.slow
@needs_a_compiler
def test_where_steps_may_be_taken_otherwise_that_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(tmp_path, only="*tiny_vit.scratch.plain.s1")
    context.__dict__["device"] = replace(context.device, ways=(StepWay.COMPILED, StepWay.GRAPHED))
    benchmark, _ = bench(context, seconds=SECONDS, row_done=lambda *row: None)
    (speed,) = [row.speed for row in benchmark.rows]
    assert speed is not None and speed.compiled is not None
    assert speed.compiled.problem == ""
    assert speed.compiled.ceiling_images_per_s is not None
    assert speed.compiled.ready_s is not None and speed.compiled.ready_s > 0
    assert speed.graphed is not None
    assert speed.graphed.problem and speed.graphed.ready_s is None, "there are none on a CPU, which costs nothing else"
    assert any(context.workspace.compiled_dir.iterdir())
    schema = json.loads((ROOT / "docs" / "schemas" / "bench.schema.json").read_text())
    assert complaints(json.loads(benchmark.model_dump_json()), schema) == []

    monkeypatch.setattr(stage, "lacks_for_compiling", lambda device: "there is no compiler")
    benchmark, _ = bench(context, seconds=SECONDS, row_done=lambda *row: None)
    (speed,) = [row.speed for row in benchmark.rows]
    assert speed is not None and speed.compiled is not None
    assert (speed.compiled.problem, speed.compiled.ready_s) == ("there is no compiler", None)
