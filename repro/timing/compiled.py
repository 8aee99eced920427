"""On a GPU: whether steps of each kind of cell are compiled, and how long they take then. From earlier records, else measured.

It is settled after how many of a kind run at once, and measured with as many: compiled steps that have the GPU to themselves
would promise what they do not keep beside others, and the workers that compile are those that run the cells afterwards. Must
not know torch. Read `CompileTiming.settle` first.
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from repro.hardware import COMPILE_VARIABLE, lacks_for_compiling
from repro.messages import Failed, Measured
from repro.plan import PlannedCell
from repro.timing.compiling import Compiling, decide_compiling
from repro.timing.probed import probe_of
from repro.timing.recorded import recorded_compiling
from repro.timing.shared import GpuTiming
from repro.timing.sharing import AtOnce

COMPILE_TIMEOUT_S = 300.0
"""How long a worker may be silent while it compiles, at most; no longer than the kind's cells will take, but a minute."""
LEAST_TIMEOUT_S = 60.0
"""That minute."""
NEVER = Compiling(compiled=False, reason=f"{COMPILE_VARIABLE} is never", holds=False)
TOO_SHORT = Compiling(
    compiled=False, reason="cells of this kind take less than a minute together, and compiling was not tried", holds=False
)
CLOSED_FORM = Compiling(compiled=False, reason="the head is solved for in closed form, so that there are no steps", holds=False)
SHAPE_UNKNOWN = Compiling(compiled=False, reason="nothing was known of its images when the others were timed", holds=False)


class CompileTiming:
    """Finds out for the unfinished cells, kind by kind, what `timing` has settled before."""

    def __init__(self, timing: GpuTiming, planned: Sequence[PlannedCell], cache: Path) -> None:
        self.timing, self.cache = timing, cache
        self.recorded = recorded_compiling(planned, timing.device, torch=importlib.metadata.version("torch"))
        self.alike: dict[str, Measured | Failed] = {}
        self.lacking = lacks_for_compiling(timing.device.device)
        self.has_told = False

    def settle(self, key: str, at_once: AtOnce, known: Measured) -> tuple[Compiling, Measured]:
        """Whether the kind's steps are compiled, and their time then. `known` is what so many at once take, as far as settled:
        steps as they are, or compiled ones where records tell that they were.
        """
        timing, cells = self.timing, self.timing.cells[key]
        if not timing.device.compiles:
            return NEVER, known
        if cells[0].recipe.ridge_penalty is not None:
            return CLOSED_FORM, known
        if (recorded := self.recorded.get(key)) is not None and (key in timing.recorded or not recorded.compiled):
            return recorded, known
        if not timing.pays(key, known):
            return TOO_SHORT, known
        if self.lacking:
            return Compiling(compiled=False, reason=self.lacking, holds=False), known
        found = self._measure(key, at_once, known)
        if found is None:
            return SHAPE_UNKNOWN, known
        if isinstance(found, Failed):
            return Compiling(compiled=False, reason=f"compiling failed: {_brief(found)}", holds=False), known
        compiling = decide_compiling(
            eager_step_s=known.step_s,
            compiled_step_s=found.step_s,
            compile_s=found.compile_s,
            num_steps=sum(cell.recipe.steps for cell in cells),
            num_workers=min(at_once.number, len(cells)),
        )
        return compiling, known.model_copy(update={"step_s": found.step_s}) if compiling.compiled else known

    def _measure(self, key: str, at_once: AtOnce, known: Measured) -> Measured | Failed | None:
        """Compiled steps in as many workers as will run; kinds that differ in the head's width only are measured once."""
        timing = self.timing
        cell = timing.cells[key][0]
        probe = probe_of(cell, timing.facts, timing.device)
        if probe is None:
            return None
        alike = timing.alike_key(key, probe)
        if alike not in self.alike:
            if not self.has_told:
                timing.say("compiling training steps to see whether it pays: a minute or more for each kind of cell")
            self.has_told = True
            silence_s = max(LEAST_TIMEOUT_S, min(COMPILE_TIMEOUT_S, timing.seconds(key, known)))
            probe = probe.model_copy(update={"compiles_into": self.cache})
            self.alike[alike] = timing.take(probe, at_once.number, patience_s=silence_s)
        return self.alike[alike]


def _brief(failed: Failed) -> str:
    return f"{failed.error}: {failed.message}"[:300]
