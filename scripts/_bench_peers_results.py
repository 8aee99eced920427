"""What a race of loops found: the JSON file and the table, made of the same numbers.

Must not know how anything was measured. Read `Results` first.
"""

import tomllib
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from repro.spec import Spec, parse

PUBLISHED = Path(__file__).parent / "peers.toml"
OURS = "ours"
COMPILED = ", compiled"
"""What the name of a compiled variant ends with."""

Rate = Annotated[float, Field(gt=0)]


class Published(Spec):
    """A number of somebody else."""

    what: str
    """Model, data, task."""
    value: str
    """As published, with its unit."""
    images_per_s: Rate | None = None
    """Where the source says so or its numbers give it."""
    hardware: str
    """On what."""
    source: str
    """Where it is published."""


class Target(Spec):
    """What our loop is to reach on a GPU."""

    case: str
    """Name of the case."""
    library: str
    """Whose loop; the faster of its variants counts."""
    at_least: Rate
    """Our images a second over its."""


class PeersFile(Spec):
    """`peers.toml`."""

    published: tuple[Published, ...]
    """Numbers of others."""
    target: tuple[Target, ...]
    """What is to be reached."""


class ContenderResult(Spec):
    """One row of a case."""

    contender: str
    """Its name."""
    images_per_s: tuple[Rate, ...] = ()
    """Of each block."""
    loader_images_per_s: tuple[Rate, ...] = ()
    """Of each block, its loader alone; empty for ours, which has none, and shared by eager and compiled variants."""
    losses: tuple[float, ...] = ()
    """Mean training loss of each block in nats."""
    ours_to_it: Rate | None = None
    """Median of ours over its median."""
    problem: str = ""
    """Why there are no numbers."""

    @property
    def middle(self) -> float | None:
        """Median images a second."""
        return median(self.images_per_s) if self.images_per_s else None


class CaseResult(Spec):
    """One case."""

    case: str
    """Its name."""
    model: str
    """What was trained."""
    recipe: str
    """Whose optimizer, augmentation and loss."""
    source_size: int
    """Side in pixels of the images as they came."""
    image_size: int
    """Side in pixels of what the model was given."""
    batch_size: int
    """Images in a step."""
    micro_batch: int
    """Images that went through the model at once."""
    micro_batch_reason: str
    """Why so many."""
    timed_steps: int
    """Steps of each block that were timed, the same for all."""
    untimed_steps: int
    """Steps of each block before them."""
    contenders: tuple[ContenderResult, ...]
    """The rows, ours first."""


class Results(Spec):
    """Everything that one call measured."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    commit: str | None
    """Of the checkout."""
    versions: dict[str, str]
    """Python and packages."""
    device: str
    """The GPU's or the processor's name."""
    device_type: Literal["cpu", "cuda"]
    """Where models were."""
    precision: str
    """Number format, and why."""
    num_cores: int
    """Usable cores."""
    num_threads: int
    """Threads of torch in the training process."""
    num_workers: int
    """Processes of each peer's loader."""
    seconds: float
    """Asked for: training of the slowest contender of a case."""
    compiles: bool
    """Whether peers were measured compiled as well."""
    cases: tuple[CaseResult, ...]
    """In the order asked for."""
    published: tuple[Published, ...]
    """Numbers of others, on other hardware; not measured here."""


def read_peers_file() -> PeersFile:
    """Raises ProfileError where the file is not what it should be."""
    return parse(PeersFile, tomllib.loads(PUBLISHED.read_text(encoding="utf-8")), origin=PUBLISHED.name)


def with_ratios(rows: list[ContenderResult]) -> tuple[ContenderResult, ...]:
    """The rows, each peer's with how many times as many images a second ours has."""
    ours = next((row.middle for row in rows if row.contender == OURS), None)
    return tuple(
        row.model_copy(update={"ours_to_it": ours / row.middle if ours and row.middle and row.contender != OURS else None})
        for row in rows
    )


def table(results: Results) -> list[str]:
    """What is measured, as Markdown, then what others published, apart from it."""
    lines = [
        f"{results.device}, {results.precision}; {results.num_cores} cores, {results.num_threads} threads, "
        f"{results.num_workers} loader processes; commit {results.commit or 'unknown'}; "
        + ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    ]
    if results.device_type == "cpu":
        lines.append(
            "On a CPU the model bounds every loop: these figures compare loops that wait for it, not how they feed a GPU."
        )
    lines += [
        "",
        "| case | contender | images/s (lowest to highest block) | its loader alone | ours / it |",
        "|---|---|---|---|---|",
    ]
    for case in results.cases:
        for row in case.contenders:
            lines.append(f"| {case.case} | {row.contender} | {_cells(row)} |")
    lines.append("")
    for case in results.cases:
        lines.append(
            f"{case.case}: {case.model}, {case.recipe}, {case.source_size} px to {case.image_size} px, batch {case.batch_size} "
            f"({case.micro_batch} at once), {case.timed_steps} timed steps a block after {case.untimed_steps}"
        )
    lines += targets(results, read_peers_file().target)
    lines += ["", "Published by others, on their hardware, not measured here:"]
    lines += [f"- {one.what}: {one.value}; {one.hardware}; {one.source}" for one in results.published]
    return lines


def _cells(row: ContenderResult) -> str:
    if row.middle is None:
        return f"not measured: {row.problem} | | "
    spread = f"{row.middle:,.1f} ({min(row.images_per_s):,.1f} to {max(row.images_per_s):,.1f})"
    loader = f"{median(row.loader_images_per_s):,.0f}" if row.loader_images_per_s else "-"
    return f"{spread} | {loader} | {f'{row.ours_to_it:.2f}' if row.ours_to_it else '-'}"


def targets(results: Results, wanted: tuple[Target, ...]) -> list[str]:
    """Which targets were reached; they are for a GPU and whole batches, so that elsewhere nothing is said."""
    lines = []
    for target in wanted if results.device_type == "cuda" else ():
        for case in results.cases:
            ratios = [
                row.ours_to_it
                for row in case.contenders
                if row.contender.removesuffix(COMPILED) == target.library and row.ours_to_it
            ]
            if case.case == target.case and ratios:
                verdict = "reached" if min(ratios) >= target.at_least else "missed"
                lines.append(
                    f"target {case.case}: {min(ratios):.2f} times {target.library}, {target.at_least:g} wanted: {verdict}"
                )
    return lines
