"""The command line: options, wiring, exit codes. What is said of the stages lies in `narration`, all else in them.

stdout carries exactly what was asked for; progress, notes and errors go to stderr. Heavy imports happen inside the commands, so
that `--help` answers at once. Read `all_stages` first.
"""

import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from repro.errors import NO_SPACE_ERRNOS, ExitCode, Interrupted, ReproError, UsageError

if TYPE_CHECKING:
    from repro.context import Context
    from repro.stages.run import RunSummary

app = typer.Typer(
    help="Re-test whether a Vision Transformer loses to a ResNet on small data and wins once pre-trained at scale.",
    epilog="Everyday use: vitrepro all. With own data or recipes: vitrepro all --profile my.toml. Exit codes: 0 done, 1 error, "
    "2 usage, 3 finished with failed or blocked cells, 4 verify found a difference, 130 or 143 interrupted (the same command "
    "resumes).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    """What --device takes."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


class Listing(StrEnum):
    """What `list` takes."""

    MODELS = "models"
    DATASETS = "datasets"
    PROFILES = "profiles"
    CLAIMS = "claims"


ProfileOption = Annotated[str, typer.Option("--profile", help="A shipped profile's name, a .toml file, or auto.")]
HomeOption = Annotated[str | None, typer.Option("--home", help="Root of all files; else $VITREPRO_HOME, else ./vitrepro-home.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where cells run.")]
OnlyOption = Annotated[str | None, typer.Option("--only", metavar="GLOB", help="Only the cells whose ids match.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Redo what is finished.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Say more on stderr.")]
FromOption = Annotated[Path | None, typer.Option("--from", metavar="DIR", help="Folder with data files already there.")]
HomeArgument = Annotated[str | None, typer.Argument(metavar="HOME", help="The same as --home.", show_default=False)]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network; say what is missing.")]

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AUTO = "auto"
CPU_PROFILE = "demo"
GPU_PROFILE = "full"


@app.command("all")
def all_stages(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    source: FromOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """check, fetch, run, report: from a bare home to the finished page."""
    from repro import narration
    from repro.workspace import exclusive

    context = _context(profile, home, device, only=only, source=source, offline=offline, force=force, verbose=verbose)
    with narration.keeping_results(context):
        with exclusive(context.workspace):
            checked = narration.check(context)
            if checked.failed:
                raise typer.Exit(ExitCode.ERROR)
            summary = narration.fetch_and_run(context)
        report = narration.report(context)
    _out(report if as_json else report["html"], as_json=as_json)
    _exit_after(summary)


@app.command()
def check(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Can this machine run the profile, and how long will it take?"""
    from dataclasses import asdict

    from repro import narration

    checked = narration.check(_context(profile, home, device, only=only, verbose=verbose))
    if as_json:
        _out(asdict(checked), as_json=True)
    raise typer.Exit(ExitCode.ERROR if checked.failed else ExitCode.DONE)


@app.command()
def fetch(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    source: FromOption = None,
    offline: OfflineOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring the profile's data sets and weights into the home, verified."""
    from dataclasses import asdict

    from repro import narration
    from repro.workspace import exclusive

    context = _context(profile, home, device, only=only, source=source, offline=offline, force=force, verbose=verbose)
    with narration.keeping_results(context), exclusive(context.workspace):
        fetched = narration.fetch(context)
    if as_json:
        _out([*map(asdict, fetched.fetched), *map(asdict, fetched.weights)], as_json=True)
    if problems := list(fetched.problems.values()):
        narration.warn_of(context, problems[1:])
        raise problems[0]


@app.command()
def plan(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the profile's cells and how far each has come."""
    context = _context(profile, home, device, only=only, verbose=verbose)
    planned = context.plan()
    entries = context.selected(planned)
    if planned.unsized:
        context.say(f"note: cells of {', '.join(planned.unsized)} are listed once `vitrepro fetch` has counted its images")
    rows = [
        {"id": entry.cell.id, "status": entry.status.value, "fingerprint": entry.fingerprint, "reason": entry.reason}
        for entry in entries
    ]
    if as_json:
        _out(rows, as_json=True)
        return
    for entry in entries:
        _out(f"{entry.status.value:9s}  {entry.cell.id}{'  ' + entry.reason if entry.reason else ''}", as_json=False)


@app.command()
def run(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train every cell that is not done; resumes what was interrupted."""
    from dataclasses import asdict

    from repro import narration
    from repro.workspace import exclusive

    context = _context(profile, home, device, only=only, force=force, verbose=verbose)
    with narration.keeping_results(context), exclusive(context.workspace):
        summary = narration.run(context, renew=False)
    if as_json:
        _out(asdict(summary), as_json=True)
    _exit_after(summary)


@app.command()
def report(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    pdf: Annotated[bool, typer.Option("--pdf/--no-pdf", help="Whether to make the PDF, the slowest part.")] = True,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write page, PDF and tables from what is finished, without torch."""
    from repro import narration

    context = _context(profile, home, device, verbose=verbose)
    with narration.keeping_results(context):
        paths = narration.report(context, with_pdf=pdf)
    _out(paths if as_json else paths["html"], as_json=as_json)


@app.command()
def bench(
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    device: DeviceOption = Device.AUTO,
    only: OnlyOption = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.01, help="Of each of three measurements a model.")] = 10.0,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """How near training comes to what this device can do, by model."""
    from repro import narration
    from repro.workspace import exclusive

    context = _context(profile, home, device, only=only, verbose=verbose)
    with narration.keeping_results(context), exclusive(context.workspace):
        benchmark = narration.bench(context, seconds=seconds)
    _out(benchmark.model_dump(mode="json") if as_json else narration.bench_table(benchmark), as_json=as_json)
    measured = all(row.speed is not None for row in benchmark.rows)
    raise typer.Exit(ExitCode.DONE if measured else ExitCode.UNFINISHED)


@app.command()
def verify(
    folder: HomeArgument = None,
    profile: ProfileOption = AUTO,
    home: HomeOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Recompute every number of the report; code 4 if one differs."""
    from repro import narration
    from repro.verification import reported_profile
    from repro.workspace import resolve_home

    if folder and home and resolve_home(folder) != resolve_home(home):
        raise UsageError(f"Two homes: {folder} and --home {home}.", remedy="Name one of them.")
    home = folder or home
    if profile == AUTO:
        profile = reported_profile(resolve_home(home))
        _say(f"profile {profile}: its report lies in this home")
    verification = narration.verify(_context(profile, home, Device.AUTO, verbose=verbose))
    if as_json:
        _out(verification.as_json(verbose=verbose), as_json=True)
    else:
        _out("\n".join(verification.lines(verbose=verbose)), as_json=False)
    raise typer.Exit(ExitCode.DIFFERENT if verification.num_different else ExitCode.DONE)


@app.command("list")
def list_entries(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    as_json: JsonOption = False,
) -> None:
    """List what comes with the kit."""
    from repro.catalog import load_catalog, load_profile, shipped_profiles

    catalog = load_catalog()
    if what is Listing.PROFILES:
        rows = [(name, load_profile(name).description) for name in shipped_profiles()]
    elif what is Listing.MODELS:
        rows = [(spec.name, f"{spec.family}, {spec.citation}") for spec in catalog.models.values()]
        rows += [(spec.name, f"{spec.family}, {spec.title}, {spec.upstream}") for spec in catalog.checkpoints.values()]
        rows += [("timm/NAME.TAG", "any of timm's pre-trained models"), ("torchvision/NAME.WEIGHTS", "any of torchvision's")]
    elif what is Listing.DATASETS:
        rows = [(spec.name, spec.title) for spec in catalog.datasets.values()]
    else:
        rows = [(claim.id, claim.statement) for claim in catalog.claims.values()]
    if as_json:
        _out([{"name": name, "description": text} for name, text in rows], as_json=True)
        return
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        _out(f"{name:{width}s}  {text}", as_json=False)


def main() -> NoReturn:
    """Run the command line; the only place that turns a ReproError into words and an exit code."""
    for number in STOPPING_SIGNALS:
        # What the caller has set to be ignored stays so: `nohup vitrepro all &` outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        app(prog_name="vitrepro")
    except ReproError as error:
        _say(f"error: {error.message}")
        _say(f"  what to do: {error.remedy}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`); what it wanted it has.
        _abandon_stdout()
        sys.exit(ExitCode.ERROR)
    except OSError as error:
        if error.errno not in NO_SPACE_ERRNOS:
            raise
        _say(f"error: No space left on the disk ({error.filename or 'writing to stdout'}).")
        _say("  what to do: Free some space and run the same command again; finished cells are kept.")
        _abandon_stdout()
        sys.exit(ExitCode.ERROR)
    sys.exit(ExitCode.DONE)


def _abandon_stdout() -> None:
    """Let Python's flush at exit go nowhere: it would fail again and change the exit code (Python manual, SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, _frame: object) -> NoReturn:
    # A second signal must not disturb the ending of the workers, which takes seconds at most.
    for other in STOPPING_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
    raise Interrupted(
        f"Stopped by {signal.Signals(number).name}.",
        remedy="Give the same command again: finished cells are kept, the others go on from their last state.",
        exit_code=code,
    )


def _context(
    profile: str,
    home: str | None,
    device: Device,
    *,
    only: str | None = None,
    source: Path | None = None,
    offline: bool = False,
    force: bool = False,
    verbose: bool = False,
) -> "Context":
    from repro.catalog import load_catalog, load_profile
    from repro.context import Context
    from repro.workspace import resolve_home

    name = _choose_profile(profile, device)
    return Context(
        workspace=resolve_home(home),
        catalog=load_catalog(),
        profile=load_profile(name),
        profile_argument=name,
        requested_device=device.value,
        only=only,
        force=force,
        verbose=verbose,
        say=_say,
        source_dir=source,
        offline=offline,
    )


def _choose_profile(profile: str, device: Device) -> str:
    if profile != AUTO:
        return profile
    from repro.hardware import choose_device

    chosen = choose_device(device.value)
    name = CPU_PROFILE if chosen.device == "cpu" else GPU_PROFILE
    _say(f"profile {name}: {chosen.reason}")
    return name


def _exit_after(summary: "RunSummary") -> NoReturn:
    unfinished = summary.num_failed or summary.num_blocked or summary.unfetched
    raise typer.Exit(ExitCode.UNFINISHED if unfinished else ExitCode.DONE)


def _out(what: object, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(what, indent=1, default=str) if as_json else str(what)) + "\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
