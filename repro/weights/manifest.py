"""What a folder of weights says of itself: `manifest.json` once they are there, `failure.json` where they could not be had.

The one place that reads and writes them. Must not know how files are fetched or read. Read `WeightsManifest` first.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from repro.documents import read_document, write_document
from repro.errors import ReproError
from repro.spec import CheckpointSpec, InputSpec, Spec
from repro.workspace import Workspace, writing

MANIFEST = "manifest.json"
FAILURE = "failure.json"
CONFIG = "config.json"
"""Kept beside weights from the hub: it says how they want their images."""
REMEDY = "`vitrepro fetch` verifies these weights anew."


class WeightsManifest(Spec):
    """Weights that are there, verified and inspected."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    name: str
    """Name of the checkpoint."""
    architecture: str
    """Name of the architecture that they were found to fit."""
    path: Path
    """The file's name inside the folder, or the absolute path of a file of the user's, which stays where it is."""
    size_bytes: int
    """Its length."""
    mtime_ns: int
    """When it was last changed, in nanoseconds."""
    sha256: str
    """Its digest."""
    content_sha256: str
    """Digest of the tensors, the same for every file format."""
    input: InputSpec | None
    """How they want their images; None for an in-house architecture."""
    num_parameters: int
    """Numbers in the tensors that are trained."""
    source: str
    """Address or path that the file came from."""
    place: str = ""
    """`host/path` under which it is listed; empty for a file of the user's, and where the library named it."""
    recorded_at: str
    """UTC time, ISO 8601."""

    @property
    def digest(self) -> str:
        """64 hex digits over what decides a cell's numbers: the tensors, and how images are normalised for them."""
        decisive: list[object] = [self.content_sha256]
        if self.input is not None:
            decisive += [self.input.mean, self.input.std]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def is_of(self, checkpoint: CheckpointSpec) -> bool:
        """Whether these are the weights that are meant; a profile may list other files under a shipped checkpoint's name."""
        if (self.name, self.architecture) != (checkpoint.name, checkpoint.model):
            return False
        if checkpoint.path is not None:
            return self.path == checkpoint.path.absolute()
        listed = {f"{file.host}/{file.path}": file for file in checkpoint.file}
        if not listed or self.place not in listed:
            return not listed and not self.place and not self.path.is_absolute()
        return listed[self.place].sha256 in (None, self.sha256)

    def file_in(self, folder: Path) -> Path:
        """Where the file lies, `folder` being that of this manifest."""
        return folder / self.path  # an absolute path stays what it is


class WeightsFailure(Spec):
    """Why weights could not be had, the last time they were fetched."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    name: str
    """Name of the checkpoint."""
    message: str
    """What went wrong."""
    remedy: str
    """What to do next."""
    failed_at: str
    """UTC time, ISO 8601."""


def weights_dir(workspace: Workspace, checkpoint: CheckpointSpec) -> Path:
    """Folder of the checkpoint: the file (if it is not one of the user's), its manifest or failure."""
    return workspace.home / "weights" / checkpoint.key


def read_manifest(workspace: Workspace, checkpoint: CheckpointSpec) -> WeightsManifest | None:
    """The manifest, or None where there is none of these weights. Raises CorruptFile when it is not one of this version."""
    manifest = read_document(weights_dir(workspace, checkpoint) / MANIFEST, WeightsManifest, remedy=REMEDY)
    return manifest if manifest is not None and manifest.is_of(checkpoint) else None


def read_failure(workspace: Workspace, checkpoint: CheckpointSpec) -> WeightsFailure | None:
    """Why the weights could not be had, if so. Raises CorruptFile when the file is not one of this version."""
    failure = read_document(weights_dir(workspace, checkpoint) / FAILURE, WeightsFailure, remedy=REMEDY)
    return failure if failure is not None and failure.name == checkpoint.name else None


def write_manifest(workspace: Workspace, checkpoint: CheckpointSpec, manifest: WeightsManifest) -> None:
    """Record that the weights are there, and no failure any more. Raises DiskFull, EnvironmentProblem."""
    discard_failure(workspace, checkpoint)
    _write(weights_dir(workspace, checkpoint) / MANIFEST, manifest)


def write_failure(workspace: Workspace, checkpoint: CheckpointSpec, error: ReproError) -> None:
    """Record why the weights cannot be had. Raises DiskFull, EnvironmentProblem."""
    failure = WeightsFailure(name=checkpoint.name, message=error.message, remedy=error.remedy, failed_at=utc_now())
    _write(weights_dir(workspace, checkpoint) / FAILURE, failure)


def discard_failure(workspace: Workspace, checkpoint: CheckpointSpec) -> None:
    """Remove the record of a failure, if there is one."""
    path = weights_dir(workspace, checkpoint) / FAILURE
    with writing(path):
        path.unlink(missing_ok=True)


def utc_now() -> str:
    """The time as manifests give it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, document: Spec) -> None:
    with writing(path):
        write_document(path, document)
