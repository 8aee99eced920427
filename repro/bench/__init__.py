"""How near the training loop comes to what the device can do: one case measured in a worker process.

`setting` builds a case as a cell would, on random images; `ceiling` is the bare optimizer step; `pairs` lets both run in turn;
`product` finds the peak of matrix products; `ways` times the bare step compiled and through CUDA graphs. Must not know the
matrix, files of the home or who asks. Read `measure_speed` in `measure` first.
"""

from repro.bench.measure import measure_speed
from repro.bench.ways import measure_way

__all__ = ["measure_speed", "measure_way"]
