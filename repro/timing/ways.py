"""On a GPU: in which way steps of each kind of cell are taken, and how long they take so. From earlier records, or measured.

It is settled after how many of a kind run at once, and measured with as many: steps that have the GPU to themselves would
promise what they do not keep beside others, and the workers that compile are those that run the cells afterwards. Must not
know torch. Read `WayTiming.settle` first.
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from repro.choices import StepWay
from repro.errors import StepsNotGraphed
from repro.hardware import COMPILE_VARIABLE, lacks_for_compiling
from repro.messages import Failed, Measured, Probe
from repro.plan import PlannedCell
from repro.timing.probed import probe_of
from repro.timing.recorded import recorded_steppings
from repro.timing.shared import GpuTiming
from repro.timing.sharing import AtOnce
from repro.timing.stepping import Candidate, Stepping, decide_stepping

LONGEST_SILENCE_S = 300.0
"""How long a worker may be silent while it compiles, at most; no longer than the kind's cells will take, but a minute."""
LEAST_SILENCE_S = 60.0
"""That minute."""
NEVER = Stepping(way=StepWay.PLAIN, reason=f"{COMPILE_VARIABLE} is never", holds=False)
TOO_SHORT = Stepping(
    way=StepWay.PLAIN, reason="cells of this kind take less than a minute together, and other ways were not tried", holds=False
)
CLOSED_FORM = Stepping(
    way=StepWay.PLAIN, reason="the head is solved for in closed form, so that there are no steps", holds=False
)
SHAPE_UNKNOWN = Stepping(way=StepWay.PLAIN, reason="nothing was known of its images when the others were timed", holds=False)


class WayTiming:
    """Finds out for the unfinished cells, kind by kind, what `timing` has settled before."""

    def __init__(self, timing: GpuTiming, planned: Sequence[PlannedCell], cache: Path) -> None:
        self.timing, self.cache = timing, cache
        self.recorded = recorded_steppings(planned, timing.device, torch=importlib.metadata.version("torch"))
        self.alike: dict[tuple[str, StepWay], Measured | Failed] = {}
        self.lacking = lacks_for_compiling(timing.device.device)
        self.has_told = False

    def settle(self, key: str, at_once: AtOnce, known: Measured) -> tuple[Stepping, Measured]:
        """In which way the kind's steps are taken, and their time then. `known` is what so many at once take, as far as
        settled: plain steps, or those taken as records tell that they were.
        """
        timing, cells = self.timing, self.timing.cells[key]
        if not timing.device.ways:
            return NEVER, known
        if cells[0].recipe.ridge_penalty is not None:
            return CLOSED_FORM, known
        if (recorded := self.recorded.get(key)) is not None and (key in timing.recorded or recorded.way is StepWay.PLAIN):
            return recorded, known
        if not timing.pays(key, known):
            return TOO_SHORT, known
        probe = probe_of(cells[0], timing.facts, timing.device)
        if probe is None:
            return SHAPE_UNKNOWN, known
        times = {StepWay.COMPILED: min(at_once.number, len(cells)), StepWay.GRAPHED: len(cells)}
        candidates, untried = list[Candidate](), list[str]()
        may_change = False
        for way in timing.device.ways:
            if way is StepWay.COMPILED and self.lacking:
                untried.append(self.lacking)
                continue
            found = self._measure(key, probe.model_copy(update={"way": way, "cache": self.cache}), at_once, known)
            if isinstance(found, Measured):
                candidates.append(Candidate(way=way, step_s=found.step_s, ready_s=found.ready_s, times=times[way]))
                continue
            untried.append(_brief(found, way))
            may_change = may_change or found.error != StepsNotGraphed.__name__
        # A kind of which nothing was measured is looked at again in no time.
        stepping = decide_stepping(
            candidates,
            plain_step_s=known.step_s,
            num_steps=sum(cell.recipe.steps for cell in cells),
            untried=untried,
            holds=bool(candidates) and not may_change,
        )
        faster = {one.way: one.step_s for one in candidates}
        return stepping, known.model_copy(update={"step_s": faster.get(stepping.way, known.step_s)})

    def _measure(self, key: str, probe: Probe, at_once: AtOnce, known: Measured) -> Measured | Failed:
        """Such steps in as many workers as will run; kinds that differ in the head's width only are measured once."""
        timing = self.timing
        alike = timing.alike_key(key, probe), probe.way
        if alike not in self.alike:
            if not self.has_told:
                how = "through CUDA graphs" + " and compiled" * (StepWay.COMPILED in timing.device.ways and not self.lacking)
                timing.say(f"timing steps {how} to see whether that pays: up to some minutes for each kind of cell")
            self.has_told = True
            silence_s = max(LEAST_SILENCE_S, min(LONGEST_SILENCE_S, timing.seconds(key, known)))
            self.alike[alike] = timing.take(probe, at_once.number, patience_s=silence_s)
        return self.alike[alike]


def _brief(failed: Failed, way: StepWay) -> str:
    if failed.error == StepsNotGraphed.__name__:
        return failed.message
    return f"{way.failure}: {failed.error}: {failed.message}"[:300]
