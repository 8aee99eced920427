"""How long the steps of each kind of cell take here: from earlier records on the same hardware, else from a short probe.

A probe runs in as many worker processes as cells will, so that their contention is in the figure. Must not know torch, nor
what is made of the times (`forecast`). Read `kinds` first.
"""

from repro.timing.kinds import cell_seconds, step_key
from repro.timing.probed import probe_step_times
from repro.timing.recorded import recorded_step_times

__all__ = ["cell_seconds", "probe_step_times", "recorded_step_times", "step_key"]
