"""What `vitrepro bench` leaves on disk: how fast each model of a profile trains and is evaluated on one device, beside what the
device can do with it. The one place that reads and writes it.

Reading is strict: unknown or missing keys and another schema version raise CorruptFile. Must not know how anything is measured.
Read `Benchmark` first.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from repro.choices import Choice
from repro.documents import read_document, write_document
from repro.errors import CorruptFile
from repro.records import Environment
from repro.spec import Family, Spec, slug
from repro.workspace import Workspace

Rate = Annotated[float, Field(gt=0)]


class Blocks(Spec):
    """One quantity, measured several times in blocks of equal work: the median, and how far the blocks lie apart."""

    median: Rate
    """Of the blocks."""
    lower: Rate
    """Lower quartile."""
    upper: Rate
    """Upper quartile."""
    values: tuple[Rate, ...] = Field(min_length=1)
    """Each block's value, in the order in which they were measured."""


class BenchCase(Spec):
    """One kind of training in a profile: all cells whose steps cost the same."""

    cell: str
    """Id of the cell that stands for it, the one with the most training images."""
    num_cells: Annotated[int, Field(ge=1)]
    """Study and upstream cells of the profile that it stands for."""
    dataset: str
    """Data set of that cell; random images of its shape stand for it."""
    model: str
    """Name of the model."""
    family: Family
    """`vit` or `cnn`."""
    recipe: str
    """Name of the cell's recipe."""
    optimizer: str
    """`adamw` or `sgd`."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images of a step by the recipe."""
    source_size: Annotated[int, Field(ge=1)]
    """Side of the data set's images in pixels."""
    image_size: Annotated[int, Field(ge=1)]
    """Side in pixels of what the model is given."""
    num_channels: Literal[1, 3]
    """Channels of the data set's images."""
    num_classes: Annotated[int, Field(ge=2)]
    """Number of classes."""
    num_train_images: Annotated[int, Field(ge=1)]
    """Images of that cell's training subset."""


class WaySpeed(Spec):
    """What the bare step brings when it is compiled, or goes through CUDA graphs."""

    ceiling_images_per_s: Blocks | None
    """Images a second of such a step; None where it could not be measured."""
    ready_s: float | None
    """Seconds of compiling or recording, to the end of the first step; less where the home held its code already."""
    problem: str
    """Why it could not be measured; empty where it was."""


class Speed(Spec):
    """What was measured of one case."""

    batch_size: Annotated[int, Field(ge=1)]
    """Images of a step as it was timed; fewer than the recipe's where a whole batch would take too long, see `choices`."""
    loop_images_per_s: Blocks | None
    """Images a second of the training loop, with data, augmentation and logging; None where the head is solved for."""
    ceiling_images_per_s: Blocks | None
    """Images a second of the same optimizer step on images that lie on the device ready-made; as many blocks as the loop's."""
    loop_to_ceiling_ratio: Blocks | None
    """Of each pair of blocks, one after the other: the loop's images a second by the ceiling's."""
    evaluation_images_per_s: Blocks
    """Images a second of evaluation."""
    forward_macs: int
    """Multiply-adds of one image's forward pass."""
    flops_per_image: float
    """Floating-point operations of one trained image, as records count them: 6 x multiply-adds, 2 x for frozen features."""
    loop_flops_per_s: float | None
    """Floating-point operations a second of the loop: its median images a second times the operations of one."""
    peak_flops_per_s: Rate
    """Floating-point operations a second of a large matrix product in the same precision, the fastest block of the same run."""
    peak_share: float | None
    """The loop's share of that."""
    peak_mem_bytes: int | None
    """Peak memory of the loop: allocated on the GPU, or resident in the worker process."""
    joules_per_image: float | None
    """Joules of the GPU for one image through the loop; None without a counter."""
    energy_problem: str
    """Why there are no joules; empty where there are."""
    first_step_s: float | None
    """Seconds from the start of building the model to the end of the first step: what a cell waits for, torch being loaded."""
    choices: tuple[Choice, ...]
    """What was chosen automatically, as records tell it."""
    compiled: WaySpeed | None = None
    """The ceiling of compiled steps; None where steps are never compiled, as on a CPU."""
    graphed: WaySpeed | None = None
    """The ceiling of steps through CUDA graphs; None where there are none, as on a CPU."""


class BenchRow(Spec):
    """One case, and what came of it."""

    case: BenchCase
    """What was to be measured."""
    speed: Speed | None
    """What was measured; None where it could not be."""
    problem: str
    """Why nothing was measured; empty where it was."""
    remedy: str
    """What to do about it."""


class Benchmark(Spec):
    """One run of `vitrepro bench`."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    profile: str
    """Name of the profile."""
    device: str
    """`cpu` or the name of the GPU."""
    seconds: Rate
    """Seconds that each of the three measurements of a case was to take."""
    num_cases: Annotated[int, Field(ge=1)]
    """Cases that were to be measured; more than there are rows where the run was stopped."""
    rows: tuple[BenchRow, ...]
    """The cases that were tried, in order."""
    choices: tuple[Choice, ...]
    """What was chosen for all of them: device, precision, workers."""
    environment: Environment | None
    """Versions and hardware; None where nothing could be measured."""
    started_at: str
    """UTC time of the start, ISO 8601."""
    finished_at: str
    """UTC time of the last row, ISO 8601."""


def blocks_of(values: Sequence[float]) -> Blocks:
    """Median and quartiles of one or more positive values."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Blocks(median=median, lower=lower, upper=upper, values=tuple(values))


def benchmark_path(workspace: Workspace, profile: str, device: str) -> Path:
    """Where the benchmark of a profile on a device lies."""
    return workspace.bench_dir(slug(profile)) / f"{slug(device)}.json"


def write_benchmark(workspace: Workspace, benchmark: Benchmark) -> Path:
    """Write it in place of an earlier one of the same profile and device; its path. Raises DiskFull."""
    path = benchmark_path(workspace, benchmark.profile, benchmark.device)
    write_document(path, benchmark)
    return path


def read_benchmark(path: Path) -> Benchmark | None:
    """The benchmark at `path`, or None where there is none. Raises CorruptFile."""
    return read_document(path, Benchmark, remedy="`vitrepro bench` writes it anew; or remove it.")


def read_benchmarks(workspace: Workspace, profile: str) -> tuple[tuple[Benchmark, ...], tuple[str, ...]]:
    """All benchmarks of a profile in this home, by device, and what is wrong with those that cannot be read."""
    found, problems = [], []
    for path in sorted(workspace.bench_dir(slug(profile)).glob("*.json")):
        try:
            found += [benchmark] if (benchmark := read_benchmark(path)) else []
        except CorruptFile as error:
            problems.append(f"{error.message} {error.remedy}")
    return tuple(found), tuple(problems)
