"""Where on this machine a checkpoint's file may lie: in the home, in a folder of the user's, in the caches of other tools.

All of these are read only, the home excepted. Must not know the network or what files hold. Read `candidates` first.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro.download.partial import part_path
from repro.spec import CheckpointSpec, DataFile, slug
from repro.weights.expected import Unfit
from repro.weights.manifest import CONFIG, weights_dir
from repro.workspace import Workspace, replacing, writing

HUB = "huggingface"
"""The catalogue's name of the hub."""
HUB_URL = "https://huggingface.co"
GENERIC = frozenset({"model.safetensors", "pytorch_model.bin"})
"""Names that every repository of the hub gives its weights, so that they tell nothing."""
SUFFIXES = (".safetensors", ".pth")
"""Endings that a file may have which is named after its model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file as the hub's own tools name it."""

    repository: str
    """Owner and name."""
    revision: str
    """Commit, tag or branch."""
    name: str
    """Path inside the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A path where one of the checkpoint's files may lie."""

    file: DataFile
    """Which of them."""
    path: Path
    """Where it may lie."""
    config: Path | None
    """Where its configuration would lie, for a file of the hub."""
    must_be_known: bool = False
    """Whether it is taken only if something tells what its bytes are: a cache that files by name alone may hold another's."""


def candidates(
    workspace: Workspace, source_dir: Path | None, checkpoint: CheckpointSpec, files: Sequence[DataFile]
) -> Iterator[Candidate]:
    """All of them, the likeliest first: the home, the user's folder (`--from`), the hub's cache, torch's cache."""
    for file in files:
        yield from _in_own_folder(weights_dir(workspace, checkpoint), checkpoint, file)
    if source_dir is not None:
        for file in files:
            yield from _in_folder(source_dir, checkpoint, file)
    for file in files:
        yield from _in_hub_cache(file)
        if file.name not in GENERIC:
            yield Candidate(file=file, path=_torch_cache() / file.name, config=None, must_be_known=True)


def hub_file(file: DataFile) -> HubFile | None:
    """The file as the hub names it, if its path is that of a file of a repository, on whatever host."""
    found = re.fullmatch(r"([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", file.path)
    return HubFile(repository=found[1], revision=found[2], name=found[3]) if found else None


def config_file(file: DataFile) -> DataFile | None:
    """The configuration beside a file of the hub, of the same revision."""
    if hub_file(file) is None:
        return None
    return DataFile(host=file.host, path=str(PurePosixPath(file.path).with_name(CONFIG)))


def place_file(source: Path, destination: Path) -> Path:
    """Have a file at `destination` too: as a hard link, or else as a copy. Raises DiskFull, EnvironmentProblem."""
    if is_file(destination) and source.samefile(destination):
        return destination
    with writing(destination), replacing(destination) as temporary:
        # A link that a killed process left must not be written through.
        temporary.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # another disk, or a file of somebody else's
            shutil.copyfile(source, temporary)
    return destination


def is_file(path: Path) -> bool:
    """Whether there is a file; what this user may not see is none, as the caches of a container's root."""
    return os.path.isfile(path)  # noqa: PTH113 - Path raises where a folder must not be looked into


def read_config(path: Path | None) -> str | None:
    """The text of a configuration; None where there is none. Raises Unfit."""
    try:
        return path.read_text(encoding="utf-8") if path is not None else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unfit(f"{path} beside it cannot be read: {error}.") from error


def missing_bytes(workspace: Workspace, source_dir: Path | None, checkpoint: CheckpointSpec, files: Sequence[DataFile]) -> int:
    """Bytes of the preferred file still to be downloaded, as far as known; 0 where any place has a file of its name."""
    if not files or any(is_file(one.path) for one in candidates(workspace, source_dir, checkpoint, files)):
        return 0
    part = part_path(weights_dir(workspace, checkpoint) / files[0].name)
    return max(0, (files[0].size_bytes or 0) - (part.stat().st_size if is_file(part) else 0))


def _in_own_folder(folder: Path, checkpoint: CheckpointSpec, file: DataFile) -> Iterator[Candidate]:
    config = folder / CONFIG if hub_file(file) else None
    for name in dict.fromkeys((file.name, *_model_names(checkpoint))):
        yield Candidate(file=file, path=folder / name, config=config)


def _in_folder(folder: Path, checkpoint: CheckpointSpec, file: DataFile) -> Iterator[Candidate]:
    """Where the user may have put it; a configuration is taken only from a folder that holds one model."""
    hub = hub_file(file)
    yield from _in_own_folder(folder / checkpoint.key, checkpoint, file)
    ways = [Path(slug(file.host)) / file.path, Path(file.path)]
    if hub is not None:
        # As the hub's own tools lay out a copy of a repository.
        ways += [Path(hub.repository) / hub.name, Path(hub.repository).name / Path(hub.name)]
    for way in ways:
        path = folder / way
        yield Candidate(file=file, path=path, config=path.with_name(CONFIG) if hub else None)
    for name in dict.fromkeys((*([] if file.name in GENERIC else [file.name]), *_model_names(checkpoint))):
        yield Candidate(file=file, path=folder / name, config=None)


def _model_names(checkpoint: CheckpointSpec) -> list[str]:
    """What a file named after its model is called."""
    last = checkpoint.name.rpartition("/")[2]
    return [f"{last}{suffix}" for suffix in SUFFIXES]


def _in_hub_cache(file: DataFile) -> Iterator[Candidate]:
    hub = hub_file(file)
    if hub is None or file.host.rstrip("/") not in (HUB, HUB_URL):
        return
    if path := _cached(hub, hub.name):
        yield Candidate(file=file, path=path, config=_cached(hub, str(PurePosixPath(hub.name).with_name(CONFIG))))


def _cached(hub: HubFile, name: str) -> Path | None:
    """Where the hub's cache has a file of this repository and revision."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(hub.repository, name, cache_dir=_hub_cache(), revision=hub.revision)
    except (ValueError, OSError):  # a name that the hub could not have, or a cache that cannot be read
        return None
    return Path(found) if isinstance(found, str) else None


def _hub_cache() -> Path:
    # As huggingface_hub looks for it, which reads the environment once, when it is imported.
    home = os.environ.get("HF_HOME") or _user_cache() / "huggingface"
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return _expanded(chosen)


def _torch_cache() -> Path:
    return _expanded(os.environ.get("TORCH_HOME") or _user_cache() / "torch") / "hub" / "checkpoints"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def _expanded(path: Path | str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))  # noqa: PTH111 - Path raises for an unknown ~user
