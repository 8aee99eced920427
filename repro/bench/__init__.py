"""How near the training loop comes to what the device can do: one case measured in a worker process.

`setting` builds a case as a cell would, on random images; `ceiling` is the bare optimizer step; `pairs` lets both run in turn;
`product` finds the peak of matrix products; `compiled` times the bare step compiled. Must not know the matrix, files of the
home or who asks. Read `measure_speed` in `measure` first.
"""

from repro.bench.compiled import measure_compiled
from repro.bench.measure import measure_speed

__all__ = ["measure_compiled", "measure_speed"]
