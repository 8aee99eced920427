"""Runs a stage and tells the user, on stderr, what came of it. Between the options of `cli` and the stages.

Must not know options or exit codes. Read `check` first.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.arrivals import Arrivals
from repro.benchmarks import Benchmark, BenchRow
from repro.container import find_container
from repro.context import Context
from repro.errors import DataError, Interrupted, ReproError
from repro.formatting import percent
from repro.progress import duration_words, eta_words
from repro.renewal import ReportRenewal
from repro.speed_table import speed_text
from repro.stages.bench import bench as bench_stage
from repro.stages.check import CheckResult, Level
from repro.stages.check import check as check_stage
from repro.stages.fetch import Fetch, Fetched, FetchedWeights, FetchSummary
from repro.stages.fetch import fetch as fetch_stage
from repro.stages.run import RunSummary
from repro.stages.run import run as run_stage
from repro.workspace import prepare_home

if TYPE_CHECKING:
    from repro.verification import Verification

ALWAYS_TOLD = ("device", "home", "disk")
"""Lines of the check that are told though they are ok and `--verbose` is not given."""
TABLE_WIDTH = 160
"""Columns of a table that goes to no terminal."""


@contextlib.contextmanager
def keeping_results(context: Context) -> Iterator[None]:
    """Tell, before and after the block, how to get at results that lie inside a container and nowhere else.

    Raises EnvironmentProblem where the home cannot be written at all.
    """
    container, home = find_container(), context.workspace.home
    if container is None or not container.lock or container.keeps(home):
        yield
        return
    # A home that cannot be written holds no results to speak of.
    prepare_home(context.workspace)
    if container.runtime == "apptainer":
        context.say(
            f"warning: nothing is bound to {home}, so the results end with this container: --bind DIR:{home} keeps them."
        )
        yield
        return
    if container.is_in_memory(home):
        context.say(
            f"warning: {home} is in memory only, so the results end with this container: -v vitrepro:{home} keeps them."
        )
        yield
        return
    copy = f"{container.command} cp {container.name}:{home} ./vitrepro-home"
    context.say(
        f"warning: nothing is mounted at {home}, so the results stay inside this container. Copy them out afterwards with "
        f"`{copy}` (not possible with --rm, which removes them), or start it with -v vitrepro:{home} to keep them."
    )
    try:
        yield
    except Interrupted:
        context.say(f"this container goes on where it was with: {container.command} start --attach {container.name}")
        raise
    finally:
        context.say(f"the results are inside this container only; copy them out (unless it was started with --rm): {copy}")


def check(context: Context) -> CheckResult:
    """Tell what is not ok, and the forecast."""
    checked = check_stage(context)
    for line in checked.lines:
        if context.verbose or line.level is not Level.OK or line.name in ALWAYS_TOLD:
            told = f"{line.message.rstrip('.')}. {line.remedy}" if line.remedy else line.message
            context.say(f"{line.level.value:8s} {line.name:7s} {told}")
    if checked.forecast is not None:
        context.say(checked.forecast.line())
    return checked


def fetch(context: Context) -> FetchSummary:
    """Tell what is there, as it comes; problems are left to the caller, who knows which of them ends the command."""

    def settled(_name: str, what: Fetched | FetchedWeights | DataError) -> None:
        if not isinstance(what, DataError):
            _tell_arrival(context, what)

    return fetch_stage(context, settled)


def _tell_arrival(context: Context, what: Fetched | FetchedWeights) -> None:
    if isinstance(what, Fetched):
        digest = what.content_sha256[:12]
        context.say(f"data {what.name}: {what.num_train} training and {what.num_test} test images, digest {digest}")
    else:
        size = f"{what.num_parameters / 1e6:,.1f} million parameters"
        context.say(f"weights {what.name}: {size}, sha256 {what.sha256[:12]}, from {what.source}")


def fetch_and_run(context: Context) -> RunSummary:
    """Fetch, and run the cells that have what they need meanwhile; the report is renewed after each seed.

    What cannot be had is warned of as soon as that is known, costs its own cells, and is told again at the end. Raises as both
    stages do, and why the first data set cannot be had where none can.
    """
    arrivals = Arrivals()
    problems: list[DataError] = []
    num_told = 0

    def settled(name: str, what: Fetched | FetchedWeights | DataError) -> None:
        nonlocal num_told
        if not isinstance(what, DataError):
            _tell_arrival(context, what)
        elif what not in problems:  # data sets of the same files cannot be had for one reason
            problems.append(what)
        # As long as nothing is there, the first of them may be what ends the command.
        if fetching.summary().fetched:
            warn_of(context, problems[num_told:])
            num_told = len(problems)
        arrivals.settled(name)

    # A context of its own for the thread: each looks up facts when it must.
    fetching = Fetch(replace(context), settled)
    fetching.at_hand()
    with contextlib.ExitStack() as beside:
        # With --force cells must not start from what lies in the home, for it is made anew. And a cell that ends before all are
        # listed may be what others start from, its weights gone.
        if context.force or not fetching.missing or not fetching.lists_all:
            fetching.rest()
        else:
            beside.enter_context(arrivals.of(fetching.missing, work=fetching.rest, stop=fetching.stop))
        while not (coming := arrivals.coming()).is_over and not fetching.summary().fetched:
            arrivals.wait(coming)
        if problems and not fetching.summary().fetched:
            warn_of(context, problems[1:])
            raise problems[0]
        return run(context, renew=True, arrivals=arrivals)


def warn_of(context: Context, problems: Sequence[ReproError]) -> None:
    """Tell problems that do not end the command."""
    for problem in problems:
        context.say(f"warning: {problem.message}")
        context.say(f"  what to do: {problem.remedy}")


def run(context: Context, *, renew: bool, arrivals: Arrivals | None = None) -> RunSummary:
    """Tell how many cells ended how; with `renew` the report is renewed after each seed."""
    with ReportRenewal(context, enabled=renew) as renewal:
        summary = run_stage(context, seed_done=renewal.start, arrivals=arrivals)
    context.say(f"cells: {summary.num_done} done, {summary.num_failed} failed, {summary.num_blocked} blocked or without data")
    if summary.busy_share is not None:
        device = "GPU" if context.device.device == "cuda" else "workers"
        context.say(f"{device} busy with cells {percent(summary.busy_share)} of {duration_words(summary.wall_s)}")
    return summary


def report(context: Context, *, with_pdf: bool = True) -> dict[str, str | None]:
    """The paths of what was written, by kind."""
    # pandas and scipy come with it, for which the other stages need not wait.
    from repro.stages.report import report as report_stage

    paths = report_stage(context, with_pdf=with_pdf)
    return {
        "html": str(paths.html),
        "pdf": str(paths.pdf) if paths.pdf else None,
        "csv": str(paths.csv),
        "json": str(paths.json),
        "predictions": str(paths.predictions),
    }


def verify(context: Context) -> "Verification":
    """Tell what is about to be read, for it may take minutes; what came of it is what was asked for, and left to the caller."""
    from repro.stages.verify import verify as verify_stage

    context.say(f"verifying profile {context.profile.name} in {context.workspace.home}")
    verification = verify_stage(context)
    if verification.num_different:
        context.say(
            "what to do: `vitrepro report` writes the report anew, `vitrepro fetch` a damaged data set or file of weights, "
            "`vitrepro run --force --only CELL` a cell; a difference that stays was measured, or is a defect of this kit."
        )
    return verification


def bench(context: Context, *, seconds: float) -> Benchmark:
    """Tell each case as it is measured, and where the file lies, also where a signal ends it."""
    context.say(f"device {context.device.name}: {context.device.reason}; {context.device.precision_reason}")
    if context.device.device == "cpu":
        context.say("one worker with one thread, as each of a run's workers; other cores are left idle, and should be")
    watch = _BenchWatch(context)
    try:
        benchmark, path = bench_stage(context, seconds=seconds, row_done=watch.row_done)
    except Interrupted:
        if watch.num_done:
            context.say(f"{watch.num_done} cases are measured, and stay in the home; bench begins anew when it is called again")
        raise
    context.say(f"written to {path}; `vitrepro report` shows it")
    return benchmark


class _BenchWatch:
    """Says a line for each case of a benchmark."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._started_s = time.monotonic()
        self.num_done = 0

    def row_done(self, row: BenchRow, number: int, num_rows: int) -> None:
        self.num_done = number
        eta = eta_words((time.monotonic() - self._started_s) / number * (num_rows - number))
        case, speed = row.case, row.speed
        told = f"not measured: {row.problem} {row.remedy}"
        if speed is not None:
            evaluated = f"evaluation {speed.evaluation_images_per_s.median:,.0f} images/s"
            told = evaluated
            if speed.loop_images_per_s is not None and speed.loop_to_ceiling_ratio is not None:
                ratio = percent(speed.loop_to_ceiling_ratio.median)
                told = f"{speed.loop_images_per_s.median:,.0f} images/s, {ratio} of the ceiling, {evaluated}"
        name = f"{case.model} {case.recipe} {case.image_size} px"
        self._context.say(f"[{number:{len(str(num_rows))}d}/{num_rows}] {name}: {told}  {eta}".rstrip())


def bench_table(benchmark: Benchmark) -> str:
    """The benchmark as a table, as wide as the terminal."""
    return speed_text(benchmark, width=shutil.get_terminal_size((TABLE_WIDTH, 24)).columns)
