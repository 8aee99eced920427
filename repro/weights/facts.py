"""What the home says of a checkpoint's weights, and whether they are still those that were inspected.

Must not know the network. Read `read_weight_facts` first.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.download import KnownBytes
from repro.errors import CorruptFile
from repro.spec import CheckpointSpec, InputSpec
from repro.weights.expected import Unfit, verified
from repro.weights.manifest import (
    WeightsManifest,
    discard_failure,
    read_failure,
    read_manifest,
    weights_dir,
    write_manifest,
)
from repro.workspace import Workspace, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFacts:
    """What is known of a checkpoint's weights."""

    digest: str | None
    """What they add to a cell's fingerprint; None where they were never there."""
    sha256: str | None
    """Digest of the file, likewise."""
    input: InputSpec | None
    """How they want their images; None where they were never there, and for an in-house architecture."""
    path: Path | None
    """Where the file lies now; None if it is gone."""
    problem: str
    """Empty, or why they cannot be used: what `fetch` ended with, or what has become of the file since."""


def read_weight_facts(workspace: Workspace, checkpoint: CheckpointSpec) -> WeightFacts | None:
    """What is known of the weights; None if they were never tried, and for a file of the user's that has changed since.

    Looks at the file's length and time, and reads nothing of it. Raises CorruptFile for a manifest or failure that cannot be
    read: it counts as not fetched.
    """
    manifest = read_manifest(workspace, checkpoint)
    if manifest is None:
        return _failed(workspace, checkpoint)
    path = manifest.file_in(weights_dir(workspace, checkpoint))
    found = _stat(path)
    problem = ""
    if found is None:
        failure = read_failure(workspace, checkpoint)
        problem = failure.message if failure else f"{path} is gone; `vitrepro fetch` looks for the weights anew."
    elif checkpoint.path is not None and not _is_unchanged(manifest, found):
        return _failed(workspace, checkpoint)
    elif found.st_size != manifest.size_bytes:
        problem = f"{path} has {found.st_size:,} bytes instead of {manifest.size_bytes:,}; `vitrepro fetch` brings it anew."
    return WeightFacts(
        digest=manifest.digest,
        sha256=manifest.sha256,
        input=manifest.input,
        path=path if found else None,
        problem=problem,
    )


def intact_manifest(
    workspace: Workspace, checkpoint: CheckpointSpec, say: Callable[[str], None], *, reread: bool = False
) -> WeightsManifest | None:
    """The manifest, if its file is what was inspected; its bytes are read only where its time has changed, or to `reread` them.

    A file of the home that proves wrong is removed, so that it is fetched anew, and said. Raises EnvironmentProblem, DiskFull.
    """
    try:
        manifest = read_manifest(workspace, checkpoint)
    except CorruptFile as error:
        say(f"warning: {error.message} They are verified anew.")
        return None
    if manifest is None:
        return None
    path = manifest.file_in(weights_dir(workspace, checkpoint))
    found = _stat(path)
    if found is None:
        say(f"warning: {path} is gone; the weights of {checkpoint.name} are looked for anew.")
        return None
    if not _is_unchanged(manifest, found) or reread:
        try:
            verified(path, KnownBytes(size_bytes=manifest.size_bytes, sha256=manifest.sha256, md5=None))
        except Unfit as reason:
            _tell_wrong(path, str(reason), checkpoint, say)
            return None
        manifest = manifest.model_copy(update={"mtime_ns": found.st_mtime_ns})
        write_manifest(workspace, checkpoint, manifest)
    discard_failure(workspace, checkpoint)
    return manifest


def _failed(workspace: Workspace, checkpoint: CheckpointSpec) -> WeightFacts | None:
    failure = read_failure(workspace, checkpoint)
    return WeightFacts(digest=None, sha256=None, input=None, path=None, problem=failure.message) if failure else None


def _tell_wrong(path: Path, reason: str, checkpoint: CheckpointSpec, say: Callable[[str], None]) -> None:
    if checkpoint.path is not None:
        say(f"note: {path} has changed since it was inspected; it is inspected anew.")
        return
    say(f"warning: {reason} It is fetched anew.")
    with writing(path):
        path.unlink()


def _is_unchanged(manifest: WeightsManifest, found: os.stat_result) -> bool:
    return (found.st_size, found.st_mtime_ns) == (manifest.size_bytes, manifest.mtime_ns)


def _stat(path: Path) -> os.stat_result | None:
    """What the system knows of the file; None if it is not there, or no file, or not to be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None
