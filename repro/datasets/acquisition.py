"""Finds the files of a data set: in a folder of the user's, among earlier downloads, else at their hosts, one after another.

Every file is held to its published digest, or to the one recorded at its first download. What a data set's images are is not
known here: see `pack`. Read `Acquisition.locate` first.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from repro.datasets.located import Located, candidates, destination, unpacked_content
from repro.datasets.manifest import SourceFile
from repro.download import Downloader, DownloadFailed, RemoteFile, TooSlow, address_of
from repro.download.locks import DownloadLock
from repro.errors import DataUnavailable
from repro.spec import DataFile, DatasetSpec, Distribution, HostSpec
from repro.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """How and where files are looked for. `locate` may be called from several threads at once."""

    workspace: Workspace
    """The home; downloads lie in it."""
    hosts: Mapping[str, HostSpec]
    """Known hosts by name."""
    lock: DownloadLock
    """What first downloads looked like."""
    source_dir: Path | None
    """A folder of the user's (`--from`), looked through first."""
    downloader: Downloader | None
    """None where the network must not be touched (`--offline`)."""
    say: Callable[[str], None]
    """Writes one line for the user."""
    complaints: dict[str, list[str]] = field(default_factory=dict)
    """What was found in the user's folder and could not be taken, by data set."""

    def locate(self, spec: DatasetSpec, *, refused: Collection[int] = ()) -> Located:
        """A complete distribution of the data set; `refused` are the numbers of those whose content proved wrong.

        Raises DataUnavailable when none can be had, with what each host answered, or offline with what is missing and where to
        put it; DiskFull and EnvironmentProblem where files cannot be written.
        """
        numbered = [(number, one) for number, one in enumerate(spec.distribution) if number not in refused]
        self.complaints[spec.name] = []
        for folder in filter(None, (self.source_dir, self.workspace.downloads_dir)):
            for number, distribution in numbered:
                if found := self._in_folder(folder, spec, number, distribution):
                    self._note_unverified(spec, found)
                    return found
        for complaint in self.complaints[spec.name]:
            self.say(f"warning: {complaint}")
        if self.downloader is None:
            raise self._missing(spec, [one for _, one in numbered])
        return self._download(spec, numbered, self.downloader)

    def _note_unverified(self, spec: DatasetSpec, found: Located) -> None:
        """Say so where files of the user's are taken and nothing tells what they should be."""
        is_known = not found.unpinned or spec.train_sha256 or self.lock.content(spec)
        if not found.was_downloaded and not is_known:
            names = ", ".join(str(path) for path in found.paths.values())
            self.say(f"note: no digest of {spec.name} is published or recorded; {names} is taken as it is")

    def _in_folder(self, folder: Path, spec: DatasetSpec, number: int, distribution: Distribution) -> Located | None:
        """The distribution, complete in one folder, or None; what is there and wrong is noted."""
        is_download = folder == self.workspace.downloads_dir
        paths: dict[str, Path] = {}
        digests: list[SourceFile] = []
        for file in distribution.file:
            for path in candidates(self.workspace, folder, spec, file):
                if not path.is_file():
                    continue
                told = _digests_of(path)
                problem = self._problem(file, told, path)
                if not problem:
                    paths[file.name] = path
                    digests.append(told)
                    break
                # A wrong file among the downloads is fetched anew, and the downloader says so.
                if not is_download:
                    self.complaints[spec.name].append(problem)
        if len(paths) == len(distribution.file):
            return self._located(number, distribution, paths, digests, was_downloaded=is_download)
        unpacked = None if is_download else unpacked_content(folder, distribution)
        if unpacked is not None:
            name = distribution.file[0].name
            return self._located(number, distribution, {name: unpacked}, [], was_downloaded=False)
        return None

    def _problem(self, file: DataFile, told: SourceFile, path: Path) -> str:
        """Why a file that is there is not the one that is wanted; empty if it is."""
        recorded = None if file.is_pinned else self.lock.file(file)
        size_bytes = file.size_bytes if recorded is None else recorded.size_bytes
        sha256, md5 = (file.sha256, file.md5) if recorded is None else (recorded.sha256, recorded.md5)
        if size_bytes is not None and told.size_bytes != size_bytes:
            return f"{path} is not {file.name} as it should be: it has {told.size_bytes:,} bytes instead of {size_bytes:,}."
        if sha256 is not None and told.sha256 != sha256:
            return f"{path} is not {file.name} as it should be: its sha256 is {told.sha256}, it should be {sha256}."
        if sha256 is None and md5 is not None and told.md5 != md5:
            return f"{path} is not {file.name} as it should be: its md5 is {told.md5}, it should be {md5}."
        return ""

    def _located(
        self, number: int, distribution: Distribution, paths: dict[str, Path], files: list[SourceFile], *, was_downloaded: bool
    ) -> Located:
        return Located(
            number=number,
            format=distribution.format,
            paths=paths,
            is_official=all(file.is_pinned for file in distribution.file),
            was_downloaded=was_downloaded,
            provenance=tuple(files) or tuple(SourceFile(name=str(path)) for path in paths.values()),
            unpinned=tuple(file for file in distribution.file if not file.is_pinned),
        )

    def _download(self, spec: DatasetSpec, numbered: list[tuple[int, Distribution]], downloader: Downloader) -> Located:
        """The first distribution that can be had; a slow host is left for a faster one, and tried again if there is none."""
        failures: dict[int, DownloadFailed] = {}
        for may_be_slow in (False, True):
            for position, (number, distribution) in enumerate(numbered):
                is_last = position == len(numbered) - 1
                if may_be_slow and not isinstance(failures[number], TooSlow):
                    continue
                requests = [(self._remote(file), destination(self.workspace, file)) for file in distribution.file]
                try:
                    done = downloader.get_all(requests, may_be_slow=may_be_slow or is_last)
                except DownloadFailed as failure:
                    failures[number] = failure
                    if not is_last or isinstance(failure, TooSlow):
                        self.say(f"warning: {failure.message} Trying another source.")
                    continue
                files = [
                    SourceFile(name=file.name, sha256=one.sha256, md5=one.md5, size_bytes=one.size_bytes, url=one.url)
                    for file, one in zip(distribution.file, done, strict=True)
                ]
                paths = {file.name: one.path for file, one in zip(distribution.file, done, strict=True)}
                return self._located(number, distribution, paths, files, was_downloaded=True)
        raise self._unreachable(spec, list(failures.values()))

    def _remote(self, file: DataFile) -> RemoteFile:
        recorded = None if file.is_pinned else self.lock.file(file)
        return RemoteFile(
            name=file.name,
            addresses=(address_of(file, self.hosts),),
            size_bytes=file.size_bytes if recorded is None else recorded.size_bytes,
            sha256=file.sha256 if recorded is None else recorded.sha256,
            md5=file.md5 if recorded is None else recorded.md5,
        )

    def _unreachable(self, spec: DatasetSpec, failures: list[DownloadFailed]) -> DataUnavailable:
        reasons = "\n".join(f"  {failure.message}" for failure in failures) or "  no distribution is left to try"
        return DataUnavailable(
            f"The data set {spec.name} cannot be had:\n{reasons}",
            remedy="Try again later (what has come is kept and resumed), name a mirror by "
            f"{', '.join(self._variables(spec)) or 'another address in the profile'}, or get the files elsewhere and name "
            "their folder with --from DIR. Without a network: --profile demo.",
        )

    def _missing(self, spec: DatasetSpec, distributions: list[Distribution]) -> DataUnavailable:
        ways = []
        for distribution in distributions:
            for file in distribution.file:
                facts = [f"{file.size_bytes:,} bytes"] if file.size_bytes else []
                facts += [f"sha256 {file.sha256}"] if file.sha256 else [f"md5 {file.md5}"] if file.md5 else []
                told = f" ({', '.join(facts)})" if facts else ""
                ways.append(f"  {address_of(file, self.hosts).url}{told}\n    as {destination(self.workspace, file)}")
            ways.append("or")
        complaints = "".join(f"\n{line}" for line in self.complaints[spec.name])
        listed = "\n".join(ways[:-1])
        return DataUnavailable(
            f"The data set {spec.name} is not in the home, and --offline forbids the network.{complaints}\nMissing:\n{listed}",
            remedy="Put the files there, or name a folder that holds them with --from DIR, or leave out --offline. Without any "
            "data: --profile demo.",
        )

    def _variables(self, spec: DatasetSpec) -> list[str]:
        hosts = [file.host for distribution in spec.distribution for file in distribution.file]
        return [self.hosts[name].mirror_variable for name in dict.fromkeys(hosts) if name in self.hosts]


def _digests_of(path: Path) -> SourceFile:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return SourceFile(name=path.name, sha256=sha256.hexdigest(), md5=md5.hexdigest(), size_bytes=path.stat().st_size)
