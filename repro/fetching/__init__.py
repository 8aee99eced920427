"""Brings data sets and weights into the home, verified: first what is at hand, then what must come over the network.

Data sets or weights that cannot be had cost their own cells only. Must not know what is done with them meanwhile. Read
`DataFetch` in `data` first.
"""

from repro.fetching.data import DataFetch
from repro.fetching.surroundings import Stopping
from repro.fetching.weights import WeightsFetch

__all__ = ["DataFetch", "Stopping", "WeightsFetch"]
