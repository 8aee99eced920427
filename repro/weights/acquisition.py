"""Brings the weights of one checkpoint into the home: from the user's folder or a cache of this machine, else from their hosts.

Every file is held to what is known of its bytes, then inspected, then recorded; a place that fails is said, and the next is
tried. What networks are is not known here: see `networks`. Read `WeightsAcquisition.bring` first.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

from repro.download import Downloaded, Downloader, DownloadFailed, KnownBytes, RemoteFile, TooSlow, address_of
from repro.download.locks import DownloadLock, file_key
from repro.download.partial import discard
from repro.errors import CorruptFile, DataError, WeightsUnavailable
from repro.spec import DataFile, HostSpec
from repro.weights.expected import Unfit, digits_in, known_bytes, verified
from repro.weights.manifest import CONFIG, WeightsManifest, read_manifest, utc_now, weights_dir, write_failure, write_manifest
from repro.weights.networks import Networks, Wanted
from repro.weights.places import GENERIC, Candidate, candidates, config_file, is_file, place_file, read_config
from repro.weights.wording import cannot_be_had, missing_offline, unusable_file
from repro.workspace import Workspace, write_atomically, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsAcquisition:
    """How and where weights are looked for. `bring` may be called from several threads at once."""

    workspace: Workspace
    """The home."""
    hosts: Mapping[str, HostSpec]
    """Known hosts by name."""
    lock: DownloadLock
    """What first downloads looked like."""
    source_dir: Path | None
    """A folder of the user's (`--from`), looked through before any cache."""
    downloader: Downloader | None
    """None where the network must not be touched (`--offline`)."""
    networks: Networks
    """What must be asked of code that knows networks."""
    say: Callable[[str], None]
    """Writes one line for the user."""
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """Held while networks are asked: a file takes its size in memory, and libraries are not imported by two threads at once."""

    def bring(self, wanted: Wanted) -> WeightsManifest:
        """The weights, in the home (a file of the user's stays where it is), verified, inspected and recorded.

        Raises WeightsUnavailable, which is recorded as well, when no place has them: with what each answered, or offline with
        what is missing and where to put it. Also DiskFull and EnvironmentProblem where files cannot be written.
        """
        try:
            return self._own(wanted, wanted.checkpoint.path) if wanted.checkpoint.path else self._listed(wanted)
        except WeightsUnavailable as error:
            write_failure(self.workspace, wanted.checkpoint, error)
            raise

    def _own(self, wanted: Wanted, given: Path) -> WeightsManifest:
        """A file of the user's, where it lies."""
        path = given.absolute()
        try:
            known = KnownBytes(size_bytes=None, sha256=None, md5=None, sha256_prefix=digits_in(path.name))
            seen = verified(path, known)
            # Beside a file of any other name, a config.json may be of anything.
            config = read_config(path.with_name(CONFIG) if path.name in GENERIC else None)
            return self._recorded(wanted, seen, config, None)
        except (Unfit, CorruptFile) as reason:
            raise unusable_file(wanted.checkpoint, path, str(reason)) from reason

    def _listed(self, wanted: Wanted) -> WeightsManifest:
        """A file that the catalogue, the profile or the library lists, from wherever it is nearest."""
        files, complaints = self._possible(wanted)
        wrong: dict[Path, str] = {}
        for candidate in candidates(self.workspace, self.source_dir, wanted.checkpoint, list(files)):
            known = files[candidate.file]
            if not is_file(candidate.path) or (candidate.must_be_known and not known.is_pinned):
                continue
            try:
                manifest = self._from_here(wanted, candidate, known)
            except Unfit as reason:
                wrong[candidate.path] = str(reason)
                continue
            wrong.pop(candidate.path, None)  # what is not the one file may be the other
            self._warn(wanted, [*complaints, *wrong.values()])
            return manifest
        complaints += wrong.values()
        if not files:
            raise cannot_be_had(wanted.checkpoint, complaints, {}, self.hosts)
        if self.downloader is None:
            raise missing_offline(wanted.checkpoint, files, complaints, self.hosts)
        self._warn(wanted, complaints)
        for path in wrong:
            if path.parent == weights_dir(self.workspace, wanted.checkpoint):
                _remove(path)
        return self._download(wanted, files, complaints, self.downloader)

    def _possible(self, wanted: Wanted) -> tuple[dict[DataFile, KnownBytes], list[str]]:
        """The files with what is known of them, and what is wrong with those that no bytes could satisfy."""
        files: dict[DataFile, KnownBytes] = {}
        complaints = []
        for file in wanted.files:
            try:
                files[file] = known_bytes(file, self.lock)
            except Unfit as reason:
                complaints.append(str(reason))
        return files, complaints

    def _from_here(self, wanted: Wanted, candidate: Candidate, known: KnownBytes) -> WeightsManifest:
        """The weights, from a file of this machine. Raises Unfit."""
        seen = verified(candidate.path, known)
        placed = place_file(candidate.path, weights_dir(self.workspace, wanted.checkpoint) / candidate.path.name)
        source = self._earlier_source(wanted, seen) if placed == candidate.path else None
        if source is None and not known.is_pinned:
            self.say(f"note: no digest of {candidate.file.name} is published or recorded; {candidate.path} is taken as it is")
        try:
            config = read_config(candidate.config)
            return self._recorded(wanted, replace(seen, path=placed, url=source or seen.url), config, candidate.file)
        except (Unfit, CorruptFile) as error:
            if placed != candidate.path:
                _remove(placed)
            raise Unfit(f"{candidate.path} is of no use: {error}") from error

    def _earlier_source(self, wanted: Wanted, seen: Downloaded) -> str | None:
        """Where a file of the home came from, if it is the one that was recorded."""
        try:
            manifest = read_manifest(self.workspace, wanted.checkpoint)
        except CorruptFile:
            return None
        return manifest.source if manifest is not None and manifest.sha256 == seen.sha256 else None

    def _download(
        self, wanted: Wanted, files: Mapping[DataFile, KnownBytes], complaints: list[str], downloader: Downloader
    ) -> WeightsManifest:
        """The file of the first host that gives it; a slow one is left for a faster one, and tried again if there is none."""
        failures: dict[DataFile, DownloadFailed] = {}
        for may_be_slow in (False, True):
            for number, (file, known) in enumerate(files.items(), start=1):
                if may_be_slow and not isinstance(failures[file], TooSlow):
                    continue
                is_last = number == len(files)
                try:
                    return self._from_host(wanted, file, known, downloader, may_be_slow=may_be_slow or is_last)
                except DownloadFailed as failure:
                    failures[file] = failure
                    if not is_last or isinstance(failure, TooSlow):
                        self._warn(wanted, [f"{failure.message} Trying another place."])
        reasons = [*complaints, *(failure.message for failure in failures.values())]
        statuses = {file: failure.status for file, failure in failures.items()}
        raise cannot_be_had(wanted.checkpoint, reasons, statuses, self.hosts)

    def _from_host(
        self, wanted: Wanted, file: DataFile, known: KnownBytes, downloader: Downloader, *, may_be_slow: bool
    ) -> WeightsManifest:
        """The weights, from one host. Raises DownloadFailed also for a file that is of no use; it is removed then."""
        try:
            address = address_of(file, self.hosts)
        except DataError as error:
            raise DownloadFailed(f"{file.name}: {error.message}", remedy=error.remedy) from error
        destination = weights_dir(self.workspace, wanted.checkpoint) / file.name
        # First, so that no large file comes in vain, and none is taken without its configuration after an interruption.
        config = self._config_from_host(wanted, file, downloader, may_be_slow=may_be_slow)
        remote = RemoteFile(name=file.name, addresses=(address,), **asdict(known))
        [done] = downloader.get_all([(remote, destination)], may_be_slow=may_be_slow)
        try:
            manifest = self._recorded(wanted, done, read_config(config), file)
        except (Unfit, CorruptFile) as error:
            _remove(destination)
            raise DownloadFailed(f"{file.name} from {address.host} is of no use: {error}", remedy="") from error
        if not file.is_pinned:
            self.lock.record_file(file, sha256=done.sha256, md5=done.md5, size_bytes=done.size_bytes, url=done.url)
        return manifest

    def _config_from_host(self, wanted: Wanted, file: DataFile, downloader: Downloader, *, may_be_slow: bool) -> Path | None:
        """The configuration beside a file of the hub, from the same host; None where there is none. Raises DownloadFailed."""
        beside = config_file(file) if wanted.model.library_name else None
        destination = weights_dir(self.workspace, wanted.checkpoint) / CONFIG
        _remove(destination)
        if beside is None:
            return None
        remote = RemoteFile(name=CONFIG, addresses=(address_of(beside, self.hosts),), size_bytes=None, sha256=None, md5=None)
        try:
            [done] = downloader.get_all([(remote, destination)], may_be_slow=may_be_slow)
        except TooSlow:
            raise
        except DownloadFailed as failure:
            if failure.status == HTTPStatus.NOT_FOUND:
                return None
            message = f"{file.name} needs the configuration beside it: {failure.message}"
            raise DownloadFailed(message, remedy=failure.remedy, status=failure.status) from failure
        return done.path

    def _recorded(self, wanted: Wanted, seen: Downloaded, config: str | None, file: DataFile | None) -> WeightsManifest:
        """Inspect the verified file and record it; `file` is the place that it is a copy from. Raises CorruptFile."""
        workspace, checkpoint, model = self.workspace, wanted.checkpoint, wanted.model
        mtime_ns = seen.path.stat().st_mtime_ns
        with self._one_at_a_time:
            given = wanted.input
            if config is not None and model.library_name is not None:
                try:
                    given = self.networks.input_from_config(config, model.library_name)
                except CorruptFile as error:
                    raise CorruptFile(f"{CONFIG} beside it is wrong. {error.message}", remedy=error.remedy) from error
            found = self.networks.inspect(seen.path, model)
        folder = weights_dir(workspace, checkpoint)
        manifest = WeightsManifest(
            name=checkpoint.name,
            architecture=checkpoint.model,
            path=seen.path if checkpoint.path else Path(seen.path.name),
            size_bytes=seen.size_bytes,
            mtime_ns=mtime_ns,
            sha256=seen.sha256,
            content_sha256=found.content_sha256,
            input=given,
            num_parameters=found.num_parameters,
            source=seen.url,
            place=file_key(file) if file and checkpoint.file else "",
            recorded_at=utc_now(),
        )
        for other in wanted.files:
            discard(folder / other.name)
        if config is None:
            _remove(folder / CONFIG)
        elif checkpoint.path is None:
            with writing(folder / CONFIG):
                write_atomically(folder / CONFIG, config)
        write_manifest(workspace, checkpoint, manifest)
        return manifest

    def _warn(self, wanted: Wanted, lines: Iterable[str]) -> None:
        for line in lines:
            self.say(f"warning: {wanted.checkpoint.name}: {line}")


def _remove(path: Path) -> None:
    """Remove a file of the home that is of no use, if it is there."""
    with writing(path):
        path.unlink(missing_ok=True)
