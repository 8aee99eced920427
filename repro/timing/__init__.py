"""How long the steps of each kind of cell take here, how many cells share a GPU, and in which way steps are taken there: from
earlier records on the same hardware, else from a short probe.

A probe runs in as many worker processes as cells will, so that their contention is in the figure. Must not know torch, nor
what is made of the times (`forecast`). Read `kinds`, then `sharing`.
"""

from repro.timing.kinds import cell_seconds, step_key
from repro.timing.precision import interrupted_attempts, settle_precision
from repro.timing.probed import image_shape, probe_step_times
from repro.timing.recorded import recorded_step_times
from repro.timing.shared import GpuTiming
from repro.timing.sharing import AtOnce, Sharing, by_cores, seconds_together
from repro.timing.stepping import Stepping
from repro.timing.ways import WayTiming

__all__ = [
    "AtOnce",
    "GpuTiming",
    "Sharing",
    "Stepping",
    "WayTiming",
    "by_cores",
    "cell_seconds",
    "image_shape",
    "interrupted_attempts",
    "probe_step_times",
    "recorded_step_times",
    "seconds_together",
    "settle_precision",
    "step_key",
]
