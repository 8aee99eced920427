"""The file of a benchmark is read strictly, and its numbers are shown as they are."""

import json
from pathlib import Path

import pytest

from repro.benchmarks import (
    BenchCase,
    Benchmark,
    BenchRow,
    Speed,
    WaySpeed,
    blocks_of,
    read_benchmark,
    read_benchmarks,
    write_benchmark,
)
from repro.choices import Choice
from repro.errors import CorruptFile
from repro.records import Environment
from repro.speed_table import speed_rows, speed_text
from repro.workspace import Workspace

CASE = BenchCase(
    cell="digits.n1197.vit_micro.scratch.micro-scratch.s1",
    num_cells=30,
    dataset="digits",
    model="vit_micro",
    family="vit",
    recipe="micro-scratch",
    optimizer="adamw",
    batch_size=64,
    source_size=8,
    image_size=8,
    num_channels=1,
    num_classes=10,
    num_train_images=1197,
)
SPEED = Speed(
    batch_size=16,
    loop_images_per_s=blocks_of([1400.0, 1500.0, 1600.0]),
    ceiling_images_per_s=blocks_of([1450.0, 1500.0, 1700.0]),
    loop_to_ceiling_ratio=blocks_of([1400 / 1450, 1.0, 1600 / 1700]),
    evaluation_images_per_s=blocks_of([12.25, 12.5]),
    forward_macs=1_000_000,
    flops_per_image=6e6,
    loop_flops_per_s=9e9,
    peak_flops_per_s=3e10,
    peak_share=0.3,
    peak_mem_bytes=3 * 2**28,
    joules_per_image=0.0123,
    energy_problem="",
    first_step_s=0.25,
    choices=(Choice(what="batch", value="16 of 64", reason="time"),),
)
READY = WaySpeed(ceiling_images_per_s=blocks_of([3000.0, 3200.0, 3400.0]), ready_s=22.4, problem="")
NOT_READY = WaySpeed(ceiling_images_per_s=None, ready_s=None, problem="compiling needs a C compiler (gcc)")
FAILED = BenchRow(
    case=CASE.model_copy(update={"model": "vit_<huge>"}), speed=None, problem="Out of memory: 3 GiB.", remedy="Less."
)
BENCHMARK = Benchmark(
    profile="demo",
    device="NVIDIA H200",
    seconds=10.0,
    num_cases=3,
    rows=(BenchRow(case=CASE, speed=SPEED, problem="", remedy=""), FAILED),
    choices=(Choice(what="device", value="NVIDIA H200", reason="a usable GPU"),),
    environment=Environment(
        vitrepro="0.1.0",
        commit="abc",
        python="3.12.1",
        packages={"torch": "2.11.0"},
        platform="Linux",
        processor="EPYC",
        num_cores=16,
        device="NVIDIA H200",
        driver="580.1",
        command="vitrepro bench",
    ),
    started_at="2026-01-31T14:00:00+00:00",
    finished_at="2026-01-31T14:05:00+00:00",
)


def test_a_benchmark_comes_back_as_it_was_written(workspace: Workspace) -> None:
    path = write_benchmark(workspace, BENCHMARK)
    assert path == workspace.home / "bench" / "demo" / "NVIDIA_H200.json"
    assert read_benchmark(path) == BENCHMARK
    assert read_benchmarks(workspace, "demo") == ((BENCHMARK,), ())
    assert read_benchmarks(workspace, "other") == ((), ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema_version": 2}, "schema_version is 2, this version of vitrepro reads 1"),
        ({"schema_version": None}, "schema_version is None"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"num_cases": "3"}, "num_cases: Input should be a valid integer"),
    ],
)
def test_another_file_is_refused_by_name(changes: dict[str, object], told: str, workspace: Workspace) -> None:
    path = write_benchmark(workspace, BENCHMARK)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CorruptFile) as raised:
        read_benchmark(path)
    assert told in raised.value.message
    assert "vitrepro bench" in raised.value.remedy
    found, [problem] = read_benchmarks(workspace, "demo")
    assert found == () and str(path) in problem


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_what_is_no_benchmark_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    path.write_text(text)
    with pytest.raises(CorruptFile):
        read_benchmark(path)


def test_blocks_have_a_median_and_quartiles() -> None:
    blocks = blocks_of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (blocks.lower, blocks.median, blocks.upper) == (2.0, 3.0, 4.0)
    assert blocks.values == (4.0, 1.0, 2.0, 3.0, 5.0)
    alone = blocks_of([7.0])
    assert (alone.lower, alone.median, alone.upper) == (7.0, 7.0, 7.0)


def test_a_row_in_words() -> None:
    measured, failed = speed_rows(BENCHMARK)
    assert (measured.loop, measured.loop_spread) == ("1,500", "1,450 to 1,550")
    assert (measured.ratio, measured.ratio_spread) == ("96.6\u00a0%", "95.3 to 98.3")
    assert (measured.evaluation, measured.batch) == ("12.38", "16 of 64")
    assert (measured.flops, measured.share) == ("9\u00a0GFLOP/s", "30.0\u00a0%")
    assert (measured.memory, measured.joules, measured.first_step) == ("768\u00a0MiB", "0.0123\u00a0J", "0.2\u00a0s")
    assert (failed.loop, failed.ratio, failed.loop_spread, failed.problem) == ("–", "–", "", "Out of memory: 3 GiB.")


@pytest.mark.parametrize(
    ("compiled", "graphed", "words"),
    [
        (READY, None, ("compiled: 3,200 images/s after 22\u00a0s of compiling",)),
        (None, READY, ("through CUDA graphs: 3,200 images/s after 22\u00a0s of recording",)),
        (
            NOT_READY,
            NOT_READY.model_copy(update={"problem": "in parts"}),
            ("not compiled: compiling needs a C compiler (gcc)", "not through CUDA graphs: in parts"),
        ),
        (None, None, ()),
    ],
)
def test_what_other_ways_would_bring_stands_below_the_table(
    compiled: WaySpeed | None, graphed: WaySpeed | None, words: tuple[str, ...]
) -> None:
    speed = SPEED.model_copy(update={"compiled": compiled, "graphed": graphed})
    benchmark = BENCHMARK.model_copy(update={"rows": (BenchRow(case=CASE, speed=speed, problem="", remedy=""),)})
    assert speed_rows(benchmark)[0].other_ways == words
    told = [line for line in speed_text(benchmark, width=80).splitlines() if "bare step" in line]
    assert told == [f"{CASE.model} {CASE.recipe}: bare step {way}" for way in words]


def test_a_table_without_a_measured_row_is_the_reasons() -> None:
    text = speed_text(BENCHMARK.model_copy(update={"rows": (FAILED,)}), width=120)
    assert text == "vit_<huge> micro-scratch: not measured. Out of memory: 3 GiB."


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_keeps_to_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in speed_text(BENCHMARK, width=width).splitlines()[:-1])


def test_a_narrow_terminal_is_shown_fewer_columns_and_no_broken_number() -> None:
    wide, narrow = (speed_text(BENCHMARK, width=width).splitlines() for width in (200, 80))
    assert wide[0].split()[-1] == "J/image" and "J/image" not in narrow[0] and "ratio" in narrow[0]
    numbers = wide[1].split()
    assert set(narrow[1].split()) <= {*numbers, narrow[1].split()[0]}, "what is shown is shown whole"
