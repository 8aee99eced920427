"""What one command works on: home, profile, device, options, and the facts of the data sets and weights that are there.

Must not know any stage. Read `Context` first.
"""

import contextlib
import fnmatch
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from repro.catalog import Catalog
from repro.datasets import missing_bytes, pack_bytes, read_manifest
from repro.errors import CorruptFile, ProfileError, UsageError
from repro.forecast import Forecast, make_forecast
from repro.hardware import DeviceChoice, choose_device
from repro.messages import Measured
from repro.plan import DataFacts, Plan, PlannedCell, WeightsState, datasets_of, make_plan
from repro.records import CellStatus
from repro.screen import Screen
from repro.spec import CheckpointSpec, DatasetSpec, ModelSpec, Profile
from repro.timing import (
    AtOnce,
    GpuTiming,
    Sharing,
    Stepping,
    WayTiming,
    by_cores,
    interrupted_attempts,
    probe_step_times,
    recorded_step_times,
    settle_precision,
    step_key,
)
from repro.weights import WeightFacts, read_weight_facts
from repro.weights import missing_bytes as missing_weights_bytes
from repro.workers import Workers
from repro.workspace import Workspace

COMMIT_VARIABLE = "VITREPRO_COMMIT"
"""Where a container image says which commit it was built from."""


@dataclass(kw_only=True)
class Context:
    """One command's surroundings."""

    workspace: Workspace
    """The home."""
    catalog: Catalog
    """What comes with the kit."""
    profile: Profile
    """The matrix."""
    profile_argument: str
    """The profile as the user named it."""
    requested_device: str
    """`auto`, `cpu` or `cuda`."""
    only: str | None
    """Glob over cell ids, or None for all."""
    force: bool
    """Whether finished work is redone."""
    verbose: bool
    """Whether to say more."""
    say: Callable[[str], None]
    """Writes one line for the user to stderr."""
    screen: Screen = field(default_factory=Screen)
    """Where bars are drawn."""
    source_dir: Path | None = None
    """Folder with files already there, for data sets that are downloaded otherwise."""
    offline: bool = False
    """Whether the network must not be touched."""
    measured: dict[str, Measured] = field(default_factory=dict)
    """Step times that this command has measured, by `timing.step_key`."""
    at_once: dict[str, AtOnce] = field(default_factory=dict)
    """How many cells run at once on a GPU, as far as this command knows, likewise."""
    steppings: dict[str, Stepping] = field(default_factory=dict)
    """In which way steps are taken on a GPU, as far as this command knows, likewise."""
    _has_probed: bool = field(default=False, init=False)
    """Whether step times on a GPU were measured by this command."""
    _facts: dict[str, DataFacts] | None = field(default=None, init=False)
    """Facts of the data sets as they were last looked up."""
    _weights: dict[str, WeightFacts | None] = field(default_factory=dict, init=False)
    """Facts of the weights as they were last looked up, by key."""

    @cached_property
    def device(self) -> DeviceChoice:
        """The device, chosen at first use."""
        return choose_device(self.requested_device)

    def datasets(self) -> dict[str, DatasetSpec]:
        """The data sets of the profile, by name. Raises ProfileError for a name that nobody knows."""
        with self._naming_the_profile():
            return datasets_of(self.profile, self.catalog)

    def wanted_datasets(self) -> dict[str, DatasetSpec]:
        """The data sets that the selected cells need; with some cells not listed yet, all of the profile's."""
        specs = self.datasets()
        if self.only is None or (plan := self.plan()).unsized:
            return specs
        names = {entry.cell.dataset.name for entry in self.selected(plan)}
        return {name: spec for name, spec in specs.items() if name in names}

    def facts(self) -> dict[str, DataFacts]:
        """Facts of the fetched data sets, by name; a corrupt manifest counts as not fetched, and is said.

        Looked up once, for a folder of a million pictures takes seconds to be seen unchanged; `fetch` has them looked up anew.
        """
        if self._facts is None:
            self._facts = self._look_up_facts()
        return self._facts

    def forget_facts(self) -> None:
        """Have the facts looked up anew, after data sets were fetched."""
        self._facts = None
        self._weights.clear()

    def weight_facts(self, checkpoint: CheckpointSpec) -> WeightFacts | None:
        """What is known of fetched weights, or of why they could not be had; None where they were never tried."""
        if checkpoint.key not in self._weights:
            try:
                self._weights[checkpoint.key] = read_weight_facts(self.workspace, checkpoint)
            except CorruptFile as error:
                self.say(f"warning: {error.message} {error.remedy}")
                self._weights[checkpoint.key] = None
        return self._weights[checkpoint.key]

    def checkpoints(self) -> dict[str, tuple[CheckpointSpec, ModelSpec]]:
        """The weights that the selected cells start from, with a model for each, by key."""
        plan = self.plan()
        cells = [entry.cell for entry in self.selected(plan)] if plan.cells else []
        return {cell.weights.key: (cell.weights, cell.model) for cell in cells if cell.weights is not None}

    def _look_up_facts(self) -> dict[str, DataFacts]:
        found = {}
        for name, spec in self.datasets().items():
            try:
                manifest = read_manifest(self.workspace, spec)
            except CorruptFile as error:
                self.say(f"warning: {error.message} {error.remedy}")
                continue
            if manifest is not None:
                found[name] = DataFacts(
                    content_sha256=manifest.content_sha256,
                    num_train_images=manifest.num_train,
                    image_size=manifest.image_size,
                    num_channels=manifest.num_channels,
                    num_classes=manifest.num_classes,
                    num_test_images=manifest.num_test,
                )
        return found

    def bytes_to_fetch(self) -> tuple[int, int]:
        """Bytes of data sets that must still be downloaded, as far as known, and bytes of the packs to be made from them."""
        there = self.facts()
        missing = [spec for name, spec in self.wanted_datasets().items() if name not in there and spec.distribution]
        downloads = {spec.distribution: missing_bytes(self.workspace, self.source_dir, spec) for spec in missing}
        return sum(downloads.values()), sum(pack_bytes(spec) for spec in missing)

    def weights_bytes_to_fetch(self) -> int:
        """Bytes of weights that must still be downloaded, as far as known: not before the cells can be listed."""
        if self.plan().unsized:
            return 0
        return sum(
            missing_weights_bytes(self.workspace, self.source_dir, checkpoint, checkpoint.file)
            for checkpoint, _ in self.checkpoints().values()
        )

    def plan(self) -> Plan:
        """The profile's cells as they now stand. Raises ProfileError for what cannot be resolved."""
        facts = self.facts()
        with self._naming_the_profile():
            return make_plan(self.profile, self.catalog, facts, self.workspace, self._weights_state)

    def _weights_state(self, checkpoint: CheckpointSpec) -> WeightsState | None:
        facts = self.weight_facts(checkpoint)
        # In one line, since that is what a cell has in every list.
        return WeightsState(digest=facts.digest, problem=" ".join(facts.problem.split())) if facts is not None else None

    def forecast(self, entries: list[PlannedCell], plan: Plan, workers: Workers | None = None) -> Forecast:
        """Forecast of the entries that are not done: step times from the plan's records where they tell, else probed, once.

        On a GPU `workers` do the probing, more being started as needed, and settle in which way steps are taken, which may fill
        a folder of the home; without them some are started for it, and steps are plain.
        """
        unfinished = [entry for entry in entries if entry.status is not CellStatus.DONE]
        if self.device.device == "cpu":
            sharing = by_cores(self.device.num_workers)
            times, source = self._times_on_a_cpu(unfinished, plan)
        else:
            with contextlib.nullcontext(workers) if workers is not None else Workers(0) as probing:
                times, sharing, source = self._times_on_a_gpu(unfinished, plan, probing, seeks_ways=workers is not None)
        tested = {name: facts.num_test_images for name, facts in self.facts().items()}
        forecast = make_forecast(entries, times, sharing=sharing, source=source, num_test_images=tested)
        return replace(forecast, smaller_profile=self.profile.smaller, steppings=dict(self.steppings))

    def settle_precision(self, unfinished: list[PlannedCell], plan: Plan) -> None:
        """Settle whether cells run in bfloat16 where that is still to be found out: `device` is another one then."""
        if not self.device.may_bfloat16:
            return
        kept = [entry for entry in plan.cells if not (self.force and self.is_named(entry))]
        self.device, times = settle_precision(
            unfinished,
            kept,
            self.device,
            self.measured,
            lambda device: self._probe(unfinished, device, {}),
            begun=interrupted_attempts(kept, self.workspace),
        )
        self.measured.update(times)
        if self.device.bfloat16 or self.verbose:
            self.say(self.device.precision_reason)

    def _probe(self, unfinished: list[PlannedCell], device: DeviceChoice, known: dict[str, Measured]) -> dict[str, Measured]:
        if new := {step_key(entry.cell) for entry in unfinished} - known.keys():
            # On a slow device this takes minutes, and silence would look like a hang.
            precision = " in bfloat16" * device.bfloat16
            self.say(f"timing a few steps{precision} of {len(new)} kind{'s' * (len(new) > 1)} of cells for the forecast")
        return probe_step_times(unfinished, self.facts(), device, known)

    def _times_on_a_cpu(self, unfinished: list[PlannedCell], plan: Plan) -> tuple[dict[str, Measured], str]:
        self.settle_precision(unfinished, plan)
        recorded = recorded_step_times(plan.cells, self.device)
        source = "earlier records on this machine"
        if {step_key(entry.cell) for entry in unfinished} - recorded.keys():
            self.measured.update(self._probe(unfinished, self.device, {**self.measured, **recorded}))
            source = f"a probe in {self.device.num_workers} worker{'s' * (self.device.num_workers > 1)}"
        return {**self.measured, **recorded}, source

    def _times_on_a_gpu(
        self, unfinished: list[PlannedCell], plan: Plan, workers: Workers, *, seeks_ways: bool
    ) -> tuple[dict[str, Measured], Sharing, str]:
        timing = GpuTiming(unfinished, plan.cells, self.facts(), self.device, workers, self.say)
        way_timing = WayTiming(timing, plan.cells, self.workspace.compiled_dir)
        for key in timing.cells:
            if key not in self.measured and (settled := timing.settle(key)) is not None:
                self.at_once[key], self.measured[key] = settled
                if self.verbose:
                    self.say(f"{key}: {self.at_once[key].number} at once: {self.at_once[key].reason}")
            if seeks_ways and key in self.measured and key not in self.steppings:
                self.steppings[key], self.measured[key] = way_timing.settle(key, self.at_once[key], self.measured[key])
                if self.verbose:
                    self.say(f"{key}: steps {self.steppings[key].way}: {self.steppings[key].reason}")
        kinds = {key: self.at_once[key] for key in timing.cells if key in self.at_once}
        unknown = AtOnce(number=1, reason="nothing was known of its images when the others were timed", holds=False)
        self._has_probed = self._has_probed or timing.has_probed
        source = "a probe" if self._has_probed else "earlier records on this machine"
        return self.measured, Sharing(kinds=kinds, otherwise=unknown, on_gpu=True), source

    def selected(self, plan: Plan) -> list[PlannedCell]:
        """The cells that `--only` names, with those that they need. Raises UsageError when it names none."""
        if self.only is None:
            return list(plan.cells)
        named = [entry for entry in plan.cells if self.is_named(entry)]
        if not named:
            example = plan.cells[0].cell.id if plan.cells else "(no cells)"
            raise UsageError(
                f"--only {self.only!r} matches no cell of profile {self.profile.name!r}.",
                remedy=f"It is a shell pattern over ids like {example}; `vitrepro plan` lists them.",
            )
        by_id = {entry.cell.id: entry for entry in plan.cells}
        chosen, waiting = set[str](), [entry.cell.id for entry in named]
        while waiting:
            cell_id = waiting.pop()
            if cell_id not in chosen:
                chosen.add(cell_id)
                waiting += by_id[cell_id].needs
        return [entry for entry in plan.cells if entry.cell.id in chosen]

    def is_named(self, entry: PlannedCell) -> bool:
        """Whether `--only` names the cell itself; without `--only` all are named."""
        return self.only is None or fnmatch.fnmatchcase(entry.cell.id, self.only)

    @contextlib.contextmanager
    def _naming_the_profile(self) -> Iterator[None]:
        try:
            yield
        except ProfileError as error:
            raise ProfileError(f"{self.profile_argument}: {error.message}", remedy=error.remedy) from error


def source_commit() -> str | None:
    """Commit of the checkout that this package lies in, `+changes` appended where it is not clean; None outside one."""
    if stated := os.environ.get(COMMIT_VARIABLE):
        return stated
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
