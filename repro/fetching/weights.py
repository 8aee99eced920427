"""Published weights, and those of the user's own files, that cells start from.

Must not know how data sets are fetched; only that some cells cannot be listed before they are. Read `WeightsFetch` first.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from repro.context import Context
from repro.download.locks import DownloadLock
from repro.errors import DataError, WeightsUnavailable
from repro.fetching.surroundings import Stopping, downloading, require_space
from repro.weights import Networks, Wanted, WeightsAcquisition, WeightsManifest
from repro.weights import intact_manifest as intact_weights


class WeightsFetch:
    """The weights of one command's cells, by key."""

    def __init__(
        self,
        context: Context,
        stopping: Stopping,
        arrived: Callable[[str, WeightsManifest], None],
        failed: Callable[[str, DataError], None],
    ) -> None:
        """`arrived` is called with the key of each file of weights as it is there, `failed` where it cannot be had."""
        self.context = context
        self.stopping = stopping
        self.arrived = arrived
        self.failed = failed
        self.manifests: dict[str, WeightsManifest] = {}
        self.missing: dict[str, Wanted] = {}
        self.names: dict[str, str] = {}
        self.problems: dict[str, DataError] = {}

    def at_hand(self) -> None:
        """Find what is there; the others are `missing` afterwards, as far as the cells can be listed by now.

        May be called again when more data sets are there. With `--force` nothing counts as there. Raises ProfileError for
        weights that their library does not know, DiskFull where there is no room for what is missing.
        """
        context = self.context
        new = {}
        for key, (checkpoint, model) in context.checkpoints().items():
            if key in self.names:
                continue
            self.names[key] = checkpoint.name
            found = intact_weights(context.workspace, checkpoint, context.say, reread=context.force)
            if found is not None and not context.force:
                self._have(key, found)
            else:
                new[key] = checkpoint, model
        if new:
            require_space(context, downloads=0, packs=0)
            networks = _networks()
            self.missing |= {key: Wanted.of(checkpoint, model, networks) for key, (checkpoint, model) in new.items()}

    def rest(self) -> None:
        """Fetch what is missing, several at once; why one cannot be had is in `problems`.

        Raises DownloadCancelled once stopped.
        """
        if not self.missing:
            return
        context = self.context
        # The downloader is left first: an interruption ends the transfers that the pool's threads wait for.
        with (
            ThreadPoolExecutor(max_workers=len(self.missing)) as pool,
            downloading(context, self.stopping) as downloader,
        ):
            acquisition = WeightsAcquisition(
                workspace=context.workspace,
                hosts=context.catalog.hosts,
                lock=DownloadLock(context.workspace),
                source_dir=context.source_dir,
                downloader=downloader,
                networks=_networks(),
                say=context.say,
            )
            keys = {pool.submit(acquisition.bring, wanted): key for key, wanted in self.missing.items()}
            for future in as_completed(keys):
                key = keys[future]
                try:
                    self._have(key, future.result())
                except WeightsUnavailable as error:
                    name = self.names[key]
                    self.problems[name if name not in self.problems else f"{name} ({key})"] = error
                    self.failed(key, error)

    def _have(self, key: str, manifest: WeightsManifest) -> None:
        self.manifests[key] = manifest
        self.arrived(key, manifest)


def _networks() -> Networks:
    """What is asked of torch, timm and torchvision; imported here, since it takes seconds and often is not needed."""
    from repro.models import published

    return Networks(
        library=published.library_checkpoint,
        library_input=published.library_input,
        input_from_config=lambda text, architecture: published.input_from_config(text, architecture=architecture),
        inspect=published.inspect_weights,
    )
