"""On a GPU: how many cells of each kind run at once, and how long their steps take then. From earlier records, else measured.

What was measured once stands in the records, so that a resumed run does not measure for minutes again. Must not know torch.
Read `GpuTiming.settle` first.
"""

import importlib.metadata
import statistics
from collections.abc import Callable, Mapping, Sequence

from repro.datasets import pack_bytes
from repro.hardware import DeviceChoice
from repro.messages import Failed, Measured, Probe
from repro.plan import DataFacts, PlannedCell
from repro.spec import Cell
from repro.timing.kinds import cell_seconds, step_key
from repro.timing.probed import failed, probe_of, take_together
from repro.timing.recorded import recorded_at_once, recorded_step_times, recorded_steppings
from repro.timing.sharing import AtOnce, Limit, decide, memory_limit, next_number, rate_together
from repro.workers import Workers

PAYS_S = 60.0
"""A kind whose cells take less than this together is not measured: it would take as long as it could save."""
TOO_SHORT = AtOnce(
    number=1, reason="cells of this kind take less than a minute together, and more at once were not tried", holds=False
)
CLOSED_FORM = AtOnce(number=1, reason="the head is solved for in closed form, so that there are no steps", holds=False)


class GpuTiming:
    """Finds out for the unfinished cells, kind by kind; workers are started as they are needed."""

    def __init__(
        self,
        unfinished: Sequence[PlannedCell],
        planned: Sequence[PlannedCell],
        facts: Mapping[str, DataFacts],
        device: DeviceChoice,
        workers: Workers,
        say: Callable[[str], None],
    ) -> None:
        self.cells: dict[str, list[Cell]] = {}
        for entry in unfinished:
            self.cells.setdefault(step_key(entry.cell), []).append(entry.cell)
        self.facts, self.device, self.workers, self.say = facts, device, workers, say
        self.at_once = {key: self._bounded(found) for key, found in recorded_at_once(planned, device).items()}
        if device.at_once is not None:
            stated = AtOnce(number=device.at_once, reason=device.workers_reason, holds=False)
            self.at_once = dict.fromkeys(self.cells, stated)
        steppings = recorded_steppings(planned, device, torch=importlib.metadata.version("torch"))
        self.recorded = recorded_step_times(planned, device, self.at_once, steppings)
        self.limit = min(
            Limit(number=device.num_workers, reason=device.workers_reason),
            Limit(number=len(unfinished), reason=f"cells left to run: {len(unfinished)}", holds=False),
            key=lambda one: one.number,
        )
        self.has_probed = False
        self.alike: dict[str, tuple[AtOnce, Measured]] = {}

    def settle(self, key: str) -> tuple[AtOnce, Measured] | None:
        """How many cells of the kind run at once, and their step time then; None where the images' shape is not known yet.

        Raises EnvironmentProblem if a single worker fails, or as many as the user asks for.
        """
        probe = probe_of(self.cells[key][0], self.facts, self.device)
        if (settled := self.at_once.get(key)) is not None:
            if key in self.recorded:
                return settled, self.recorded[key]
            if probe is None:
                return None
            found = self.take(probe, settled.number)
            if isinstance(found, Measured):
                return settled, found
            if self.device.at_once is not None or settled.number == 1:
                raise failed(probe, settled.number, found)
        elif (alone := self.recorded.get(key)) is not None:
            if self.limit.number == 1:
                return decide({1: 1.0}, self.limit), alone
            if not self.pays(key, alone):
                return TOO_SHORT, alone
        return self._search_once(key, probe) if probe is not None else None

    def _search_once(self, key: str, probe: Probe) -> tuple[AtOnce, Measured]:
        alike = self.alike_key(key, probe)
        if alike not in self.alike:
            found = self._search(key, probe)
            if found[0] is TOO_SHORT:
                return found
            self.alike[alike] = found
        return self.alike[alike]

    def alike_key(self, key: str, probe: Probe) -> str:
        """What kinds have in common whose steps take the same time all but exactly.

        Data sets whose images have one shape differ in the head's width only, which is nothing beside the rest.
        """
        shape = f"{probe.image_size} px, {probe.num_channels} channels"
        return key.replace(f" {self.cells[key][0].dataset.name} ", f" {shape} ", 1)

    def _search(self, key: str, probe: Probe) -> tuple[AtOnce, Measured]:
        """Twice as many at once, as long as that is worth it."""
        alone = self.take(probe, 1)
        if isinstance(alone, Failed):
            raise failed(probe, 1, alone)
        if not alone.blocks:
            return CLOSED_FORM, alone
        if not self.pays(key, alone):
            return TOO_SHORT, alone
        memory = memory_limit(
            peak_bytes=alone.peak_bytes, image_bytes=self._image_bytes(self.cells[key][0]), free_bytes=alone.free_bytes
        )
        limit = min(self.limit, memory, key=lambda one: one.number)
        times, rates = {1: alone}, {1: 1 / alone.step_s}
        while (number := next_number(rates, limit)) is not None:
            found = self.take(probe, number)
            if isinstance(found, Failed):
                limit = Limit(number=number // 2, reason=f"{number} ended in {found.error}")
                continue
            # Evaluation was not timed while all were at it; it is held up as the steps are.
            slower = found.step_s / alone.step_s
            times[number] = found.model_copy(update={"image_s": alone.image_s * slower})
            rates[number] = number / found.step_s
        at_once = decide(rates, limit)
        return at_once, times[at_once.number]

    def take(self, probe: Probe, number: int, *, patience_s: float | None = None) -> Measured | Failed:
        """What one of `number` workers measures that take steps at once; `patience_s` as for `take_together`."""
        if not self.has_probed:
            # This takes minutes where there are many kinds, and silence would look like a hang.
            self.say("timing steps for the forecast, of one cell and of several at once: up to a minute for each kind of cell")
        self.has_probed = True
        self.workers.resize(max(number, self.workers.num_workers))
        probe = probe.model_copy(update={"until_enough": True, "at_once": number})
        answers = take_together(self.workers, probe, number, patience_s=patience_s)
        if isinstance(answers, Failed):
            return answers
        rate = rate_together([answer.blocks for answer in answers])
        return answers[0].model_copy(
            update={
                "step_s": number / rate if rate else max(answer.step_s for answer in answers),
                "image_s": statistics.mean(answer.image_s for answer in answers),
                "ready_s": max(answer.ready_s for answer in answers),
                "peak_bytes": max(answer.peak_bytes for answer in answers),
            }
        )

    def pays(self, key: str, alone: Measured) -> bool:
        """Whether the kind's cells, one after another, take long enough for more to be measured of them."""
        return self.seconds(key, alone) >= PAYS_S

    def seconds(self, key: str, measured: Measured) -> float:
        """Seconds of the kind's cells, added up."""
        tested = {name: facts.num_test_images for name, facts in self.facts.items()}
        return sum(cell_seconds(cell, measured, tested.get(cell.dataset.name, 0)) for cell in self.cells[key])

    def _bounded(self, found: AtOnce) -> AtOnce:
        """What an earlier run has measured, no more than there may be now."""
        if found.number <= self.device.num_workers:
            return found
        return AtOnce(number=self.device.num_workers, reason=self.device.workers_reason, holds=False)

    def _image_bytes(self, cell: Cell) -> int:
        facts = self.facts.get(cell.dataset.name)
        if facts is None:
            return pack_bytes(cell.dataset)
        return (facts.num_train_images + facts.num_test_images) * facts.image_size**2 * facts.num_channels
