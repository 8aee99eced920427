"""Stage `fetch`: bring every data set of the profile into the home, and the weights that its cells start from, verified.

What is made here or lies in files of the user's comes first, since a mistake there should not wait for a download; then all
files are fetched at once, then packed; then the weights, likewise at once. A data set or weights that cannot be had cost their
own cells only. Read `fetch` first.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from repro.context import Context
from repro.datasets import Located, Manifest, intact_manifest, prepare
from repro.datasets.acquisition import Acquisition
from repro.download import Downloader, Patience, make_transfer_display
from repro.download.locks import DownloadLock
from repro.errors import DataError, DataUnavailable, DiskFull, WeightsUnavailable
from repro.progress import CountingDisplay
from repro.spec import CheckpointSpec, DatasetSpec, ModelSpec
from repro.weights import Networks, Wanted, WeightsAcquisition, WeightsManifest
from repro.weights import intact_manifest as intact_weights
from repro.workspace import free_disk_bytes


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


def fetch(context: Context) -> FetchSummary:
    """Prepare the selected cells' data sets and weights that are not there yet (with `--force`: all of them).

    Test images that also stand in the training part are warned of by `prepare`. Raises DataError for data of the user's own
    that cannot be used, ProfileError for weights that their library does not know; what cannot be fetched stands in `problems`
    instead, and the others go on.
    """
    data, problems = _fetch_datasets(context)
    context.forget_facts()
    weights, unavailable = _fetch_weights(context)
    context.forget_facts()
    return FetchSummary(fetched=data, weights=weights, problems=problems | unavailable)


def _fetch_datasets(context: Context) -> tuple[tuple[Fetched, ...], dict[str, DataError]]:
    specs = context.wanted_datasets()
    manifests: dict[str, Manifest] = {}
    for name, spec in specs.items():
        if not spec.distribution:
            with _progress(context) as progress:
                manifests[name] = prepare(context.workspace, spec, force=context.force, log=context.say, progress=progress)
        elif not context.force and (found := intact_manifest(context.workspace, spec, context.say)):
            manifests[name] = found
    missing = [spec for name, spec in specs.items() if name not in manifests]
    problems: dict[str, DataError] = {}
    if missing:
        packed, problems = _fetch_missing(context, missing)
        manifests |= packed
    rows = [
        Fetched(name=name, num_train=one.num_train, num_test=one.num_test, content_sha256=one.content_sha256)
        for name in specs
        if (one := manifests.get(name))
    ]
    return tuple(rows), problems


def _fetch_missing(context: Context, specs: list[DatasetSpec]) -> tuple[dict[str, Manifest], dict[str, DataError]]:
    downloads, packs = context.bytes_to_fetch()
    _require_space(context, downloads=downloads, packs=packs)
    manifests: dict[str, Manifest] = {}
    problems: dict[str, DataError] = {}
    refused: dict[str, set[int]] = {spec.name: set() for spec in specs}
    lock = DownloadLock(context.workspace)
    waiting = specs
    while waiting:
        located, failed = _locate(context, lock, waiting, refused)
        problems |= failed
        again = []
        for spec in waiting:
            if spec.name not in located:
                continue
            try:
                manifests[spec.name] = _pack(context, lock, spec, located[spec.name])
            except DataError as error:
                # Another distribution may hold what this one should; its files are not to be taken a second time.
                context.say(f"warning: {error.message}")
                refused[spec.name].add(located[spec.name].number)
                problems[spec.name] = error
                if len(refused[spec.name]) < len(spec.distribution):
                    again.append(spec)
            else:
                problems.pop(spec.name, None)
        waiting = again
    return manifests, problems


def _locate(
    context: Context, lock: DownloadLock, specs: list[DatasetSpec], refused: dict[str, set[int]]
) -> tuple[dict[str, Located], dict[str, DataError]]:
    """Files of all data sets, fetched at once; data sets of the same files (other image sizes) share one fetch."""
    located: dict[str, Located] = {}
    problems: dict[str, DataError] = {}
    # The downloader is left first: an interruption ends the transfers that the pool's threads wait for.
    with ThreadPoolExecutor(max_workers=len(specs)) as pool, _downloader(context) as downloader:
        acquisition = _acquisition(context, downloader, lock)
        shared: dict[tuple[object, ...], tuple[Future[Located], list[str]]] = {}
        for spec in specs:
            key = (spec.distribution, tuple(sorted(refused[spec.name])))
            if key not in shared:
                shared[key] = pool.submit(acquisition.locate, spec, refused=refused[spec.name]), []
            shared[key][1].append(spec.name)
        for future, names in shared.values():
            try:
                found = future.result()
            except DataUnavailable as error:
                problems |= dict.fromkeys(names, error)
            else:
                located |= dict.fromkeys(names, found)
    return located, problems


def _pack(context: Context, lock: DownloadLock, spec: DatasetSpec, located: Located) -> Manifest:
    """Make the pack, held to what is published or was recorded; then record what was seen for the first time."""
    recorded = lock.content(spec)
    with _progress(context) as progress:
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
            lock.record_file(file, sha256=entry.sha256, md5=entry.md5, size_bytes=entry.size_bytes, url=entry.url or "")
        if recorded is None and manifest.train_sha256 and manifest.test_sha256:
            source = ", ".join(located.paths)
            lock.record_content(spec, train_sha256=manifest.train_sha256, test_sha256=manifest.test_sha256, source=source)
    return manifest


def _fetch_weights(context: Context) -> tuple[tuple[FetchedWeights, ...], dict[str, DataError]]:
    """The weights of the selected cells, as far as these can be listed by now."""
    manifests: dict[str, WeightsManifest] = {}
    missing: dict[str, tuple[CheckpointSpec, ModelSpec]] = {}
    checkpoints = context.checkpoints()
    for key, (checkpoint, model) in checkpoints.items():
        found = intact_weights(context.workspace, checkpoint, context.say, reread=context.force)
        if found is not None and not context.force:
            manifests[key] = found
        else:
            missing[key] = checkpoint, model
    problems: dict[str, DataError] = {}
    if missing:
        _require_space(context, downloads=0, packs=0)
        networks = _networks()
        wanted = {key: Wanted.of(checkpoint, model, networks) for key, (checkpoint, model) in missing.items()}
        brought, failed = _bring(context, wanted, networks)
        manifests |= brought
        for key, error in failed.items():
            name = missing[key][0].name
            problems[name if name not in problems else f"{name} ({key})"] = error
    rows = [
        FetchedWeights(name=one.name, source=one.source, sha256=one.sha256, num_parameters=one.num_parameters)
        for key in checkpoints
        if (one := manifests.get(key))
    ]
    return tuple(rows), problems


def _bring(
    context: Context, wanted: dict[str, Wanted], networks: Networks
) -> tuple[dict[str, WeightsManifest], dict[str, WeightsUnavailable]]:
    """Weights, several checkpoints at once."""
    manifests: dict[str, WeightsManifest] = {}
    problems: dict[str, WeightsUnavailable] = {}
    # The downloader is left first, as for data sets.
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool, _downloader(context) as downloader:
        acquisition = WeightsAcquisition(
            workspace=context.workspace,
            hosts=context.catalog.hosts,
            lock=DownloadLock(context.workspace),
            source_dir=context.source_dir,
            downloader=downloader,
            networks=networks,
            say=context.say,
        )
        for key, future in {key: pool.submit(acquisition.bring, one) for key, one in wanted.items()}.items():
            try:
                manifests[key] = future.result()
            except WeightsUnavailable as error:
                problems[key] = error
    return manifests, problems


def _networks() -> Networks:
    """What is asked of torch, timm and torchvision; imported here, since it takes seconds and often is not needed."""
    from repro.models import published

    return Networks(
        library=published.library_checkpoint,
        library_input=published.library_input,
        input_from_config=lambda text, architecture: published.input_from_config(text, architecture=architecture),
        inspect=published.inspect_weights,
    )


def _require_space(context: Context, *, downloads: int, packs: int) -> None:
    """For so many bytes of data sets, and for the weights besides."""
    weights = context.weights_bytes_to_fetch()
    free = free_disk_bytes(context.workspace)
    if free < downloads + packs + weights:
        raise DiskFull(
            f"{(downloads + weights) / 1e6:,.0f} MB must be downloaded and {packs / 1e6:,.0f} MB of images stored; "
            f"{free / 1e6:,.0f} MB are free at {context.workspace.home}.",
            remedy="Free some space, or give a --home on a larger disk.",
        )


def _acquisition(context: Context, downloader: Downloader | None, lock: DownloadLock) -> Acquisition:
    return Acquisition(
        workspace=context.workspace,
        hosts=context.catalog.hosts,
        lock=lock,
        source_dir=context.source_dir,
        downloader=downloader,
        say=context.say,
    )


@contextmanager
def _downloader(context: Context) -> Iterator[Downloader | None]:
    """None with `--offline`."""
    if context.offline:
        yield None
        return
    display = make_transfer_display(context.say, context.screen)
    try:
        with Downloader(display=display, patience=Patience.from_environment()) as downloader:
            yield downloader
    finally:
        display.close()


@contextmanager
def _progress(context: Context) -> Iterator[Callable[[str, int, int], None]]:
    display = CountingDisplay(context.say, context.screen)
    try:
        yield display.show
    finally:
        display.close()
