"""Stage `fetch`: bring every data set of the profile into the home, and the weights that its cells start from, verified.

What is made here or lies in files of the user's comes first, since a mistake there should not wait for a download; then all
files are fetched at once, and packed as they come; then the weights, likewise. A data set or weights that cannot be had cost
their own cells only. Read `fetch` first, then `Fetch`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from repro.context import Context
from repro.datasets import Manifest
from repro.errors import DataError
from repro.fetching import DataFetch, Stopping, WeightsFetch
from repro.weights import WeightsManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One data set that is there now."""

    name: str
    """Its name."""
    num_train: int
    """Training images."""
    num_test: int
    """Test images."""
    content_sha256: str
    """Content digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedWeights:
    """Weights that are there now."""

    name: str
    """Name of the checkpoint."""
    source: str
    """Address or path that they came from."""
    sha256: str
    """Digest of the file."""
    num_parameters: int
    """How many numbers they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSummary:
    """How a fetch ended."""

    fetched: tuple[Fetched, ...]
    """Data sets that are there now, in the profile's order."""
    weights: tuple[FetchedWeights, ...] = ()
    """Weights that are there now, in the order of the cells that need them."""
    problems: dict[str, DataError] = field(default_factory=dict)
    """Why a data set or weights are not, by name."""


Settled = Callable[[str, Fetched | FetchedWeights | DataError], None]
"""Called with a data set's name, or the key of weights, as it is there, or once it is known why it cannot be had."""


def fetch(context: Context, settled: Settled | None = None) -> FetchSummary:
    """Prepare the selected cells' data sets and weights that are not there yet (with `--force`: all of them).

    Raises as `Fetch` does. What cannot be fetched stands in `problems`, and the others go on.
    """
    fetching = Fetch(context, settled or _nobody)
    fetching.at_hand()
    fetching.rest()
    return fetching.summary()


class Fetch:
    """A fetch in two parts: what is at hand, and what may take long, which another thread may do, and stop."""

    def __init__(self, context: Context, settled: Settled) -> None:
        """`context` belongs to the thread that fetches: the facts of its data are looked up anew while they come."""
        self.context = context
        self._stopping = Stopping()
        self._data = DataFetch(context, self._stopping, lambda name, made: settled(name, _data_row(name, made)), settled)
        self._weights = WeightsFetch(context, self._stopping, lambda key, made: settled(key, _weights_row(made)), settled)

    def at_hand(self) -> None:
        """What needs no network: find what is there, prepare what is made here or is the user's own.

        Raises DataError for data of the user's own that cannot be used, ProfileError for weights that their library does not
        know (here, or in `rest` where cells could not be listed before), DiskFull where what is missing has no room.
        """
        self._data.at_hand()
        self.context.forget_facts()
        if self.lists_all:
            self._weights.at_hand()

    @property
    def lists_all(self) -> bool:
        """Whether all cells can be listed already: the size of each data set is known, though not all of them are there."""
        return not self.context.plan().unsized

    @property
    def missing(self) -> dict[str, str]:
        """What `rest` will fetch, as far as known: data sets by name, weights by key; each with what to call it."""
        names = {key: self._weights.names[key] for key in self._weights.missing}
        return {spec.name: spec.name for spec in self._data.missing} | names

    def rest(self) -> None:
        """All that is missing. Raises DownloadCancelled once stopped."""
        self._data.rest()
        self.context.forget_facts()
        self._weights.at_hand()
        self._weights.rest()
        self.context.forget_facts()

    def stop(self) -> None:
        """End `rest` in another thread within moments; what has come of unfinished files is kept."""
        self._stopping.set()

    def summary(self) -> FetchSummary:
        """How it ended, or stands."""
        data, weights = self._data.manifests, self._weights.manifests
        return FetchSummary(
            fetched=tuple(_data_row(name, data[name]) for name in self._data.specs if name in data),
            weights=tuple(_weights_row(weights[key]) for key in list(self._weights.names) if key in weights),
            problems=self._data.problems | self._weights.problems,
        )


def _nobody(*_arrived: object) -> None:
    """Nobody is told."""


def _data_row(name: str, made: Manifest) -> Fetched:
    return Fetched(name=name, num_train=made.num_train, num_test=made.num_test, content_sha256=made.content_sha256)


def _weights_row(made: WeightsManifest) -> FetchedWeights:
    return FetchedWeights(name=made.name, source=made.source, sha256=made.sha256, num_parameters=made.num_parameters)
