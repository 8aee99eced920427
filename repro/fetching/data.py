"""Data sets: what is made here or lies in files of the user's, what is there already, and what must be downloaded.

Must not know weights. Read `DataFetch` first.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from repro.context import Context
from repro.datasets import Located, Manifest, intact_manifest, prepare
from repro.datasets.acquisition import Acquisition
from repro.download import Downloader
from repro.download.locks import DownloadLock
from repro.errors import DataError, DataUnavailable
from repro.fetching.surroundings import Stopping, counting, downloading, require_space
from repro.spec import DatasetSpec


class DataFetch:
    """The data sets of one command's cells."""

    def __init__(
        self,
        context: Context,
        stopping: Stopping,
        arrived: Callable[[str, Manifest], None],
        failed: Callable[[str, DataError], None],
    ) -> None:
        """`arrived` is called with the name of each data set as it is there, `failed` where it cannot be had."""
        self.context = context
        self.stopping = stopping
        self.arrived = arrived
        self.failed = failed
        self.specs = context.wanted_datasets()
        self.manifests: dict[str, Manifest] = {}
        self.missing: list[DatasetSpec] = []
        self.problems: dict[str, DataError] = {}
        self._lock = DownloadLock(context.workspace)

    def at_hand(self) -> None:
        """Prepare what needs no network, and find what is there; the others are `missing` afterwards.

        With `--force` nothing counts as there. Raises DataError for data of the user's own that cannot be used, DiskFull where
        there is no room for what is missing.
        """
        context = self.context
        for name, spec in self.specs.items():
            if not spec.distribution:
                with counting(context, self.stopping) as progress:
                    made = prepare(context.workspace, spec, force=context.force, log=context.say, progress=progress)
                self._have(name, made)
            elif not context.force and (found := intact_manifest(context.workspace, spec, context.say)):
                self._have(name, found)
        self.missing = [spec for name, spec in self.specs.items() if name not in self.manifests]
        if self.missing:
            downloads, packs = context.bytes_to_fetch()
            require_space(context, downloads=downloads, packs=packs)

    def rest(self) -> None:
        """Fetch all that is missing at once, and pack each as its files are there; why one cannot be had is in `problems`.

        Test images that also stand in the training part are warned of by `prepare`. Raises DownloadCancelled once stopped.
        """
        refused: dict[str, set[int]] = {spec.name: set() for spec in self.missing}
        waiting = self.missing
        while waiting:
            again = []
            # The downloader is left first: an interruption ends the transfers that the pool's threads wait for.
            with (
                ThreadPoolExecutor(max_workers=len(waiting)) as pool,
                downloading(self.context, self.stopping) as downloader,
            ):
                located = self._located(pool, downloader, waiting, refused)
                for future in as_completed(located):
                    try:
                        files = future.result()
                    except DataUnavailable as error:
                        for spec in located[future]:
                            self.problems[spec.name] = error
                            self.failed(spec.name, error)
                        continue
                    for spec in located[future]:
                        if self._pack(spec, files, refused[spec.name]):
                            continue
                        if len(refused[spec.name]) < len(spec.distribution):
                            again.append(spec)
                        else:
                            self.failed(spec.name, self.problems[spec.name])
            waiting = again

    def _have(self, name: str, manifest: Manifest) -> None:
        self.manifests[name] = manifest
        self.arrived(name, manifest)

    def _located(
        self, pool: ThreadPoolExecutor, downloader: Downloader | None, specs: list[DatasetSpec], refused: dict[str, set[int]]
    ) -> dict[Future[Located], list[DatasetSpec]]:
        """The files of all data sets, to come; data sets of the same files (other image sizes) share one fetch."""
        context = self.context
        acquisition = Acquisition(
            workspace=context.workspace,
            hosts=context.catalog.hosts,
            lock=self._lock,
            source_dir=context.source_dir,
            downloader=downloader,
            say=context.say,
        )
        shared: dict[tuple[object, ...], list[DatasetSpec]] = {}
        for spec in specs:
            shared.setdefault((spec.distribution, tuple(sorted(refused[spec.name]))), []).append(spec)
        return {pool.submit(acquisition.locate, alike[0], refused=refused[alike[0].name]): alike for alike in shared.values()}

    def _pack(self, spec: DatasetSpec, located: Located, refused: set[int]) -> bool:
        """Make the pack; where its images prove wrong, say so, and these files are refused from now on."""
        try:
            manifest = self._make(spec, located)
        except DataError as error:
            # Another distribution may hold what this one should; its files are not to be taken a second time.
            self.context.say(f"warning: {error.message}")
            refused.add(located.number)
            self.problems[spec.name] = error
            return False
        self.problems.pop(spec.name, None)
        self._have(spec.name, manifest)
        return True

    def _make(self, spec: DatasetSpec, located: Located) -> Manifest:
        """The pack, held to what is published or was recorded; what is seen for the first time is recorded then."""
        context, recorded = self.context, self._lock.content(spec)
        with counting(context, self.stopping) as progress:
            manifest = prepare(
                context.workspace,
                spec,
                located=located,
                recorded=recorded,
                force=context.force,
                log=context.say,
                progress=progress,
            )
        if located.was_downloaded:
            told = {entry.name: entry for entry in located.provenance}
            for file in located.unpinned:
                entry = told[file.name]
                assert entry.sha256 and entry.md5 and entry.size_bytes, "a downloaded file has been read whole"
                self._lock.record_file(
                    file, sha256=entry.sha256, md5=entry.md5, size_bytes=entry.size_bytes, url=entry.url or ""
                )
            if recorded is None and manifest.train_sha256 and manifest.test_sha256:
                source, seen = ", ".join(located.paths), (manifest.train_sha256, manifest.test_sha256)
                self._lock.record_content(spec, train_sha256=seen[0], test_sha256=seen[1], source=source)
        return manifest
