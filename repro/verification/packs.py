"""Data sets, weights and downloads: their manifests, and their files held to the digests that these tell.

What a copy of the home was made without (images, weights) is no difference, and said. Must not know cells. Read `check_packs`
first.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.datasets import load_pack
from repro.datasets.manifest import MANIFEST, Manifest, parse_manifest
from repro.download.locks import DownloadLock
from repro.errors import CorruptFile, DataError
from repro.spec import CheckpointSpec, DatasetSpec, slug
from repro.verification.comparisons import ABSENT, Part
from repro.weights import weights_dir
from repro.weights.manifest import MANIFEST as WEIGHTS_MANIFEST
from repro.weights.manifest import WeightsManifest, read_failure
from repro.weights.manifest import read_manifest as read_weights_manifest
from repro.workspace import Workspace

Labels = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""True classes of the training and of the test part, in the pack's order."""


def sha256_of(path: Path) -> str:
    """Digest of a file, `(absent)` where there is none, or why it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return f"({error.strerror or error})"


def check_packs(
    datasets: Mapping[str, DatasetSpec], workspace: Workspace
) -> tuple[Part, dict[str, Manifest], dict[str, Labels]]:
    """The data sets that are there: comparisons, manifests and labels, by name."""
    part, manifests, labels = Part(name="data sets"), dict[str, Manifest](), dict[str, Labels]()
    for name, spec in datasets.items():
        folder = workspace.dataset_dir(slug(name))
        shown = _below(workspace, folder / MANIFEST)
        try:
            manifest = parse_manifest(folder / MANIFEST)
        except CorruptFile as error:
            part.compare(f"{shown} schema", "schema_version 1", error.message)
            continue
        if manifest is None:
            part.notes.append(f"{name} is not fetched")
            continue
        part.compare(f"{shown} schema_version", 1, manifest.schema_version)
        part.compare(f"{shown} name", name, manifest.name)
        for field in ("content_sha256", "train_sha256", "test_sha256"):
            published, told = getattr(spec, field), getattr(manifest, field)
            if published is not None and told is not None:
                part.compare(f"{shown} {field}", published, told)
        manifests[name] = manifest
        _check_arrays(part, folder, manifest, workspace)
        try:
            pack = load_pack(workspace, spec, trusts_source=True)
        except (CorruptFile, DataError):
            continue  # told above by its digests
        labels[name] = (pack.y_train, pack.y_test)
    return part, manifests, labels


def check_weights(checkpoints: Iterable[CheckpointSpec], workspace: Workspace) -> tuple[Part, dict[str, WeightsManifest]]:
    """The weights that are there: comparisons, and manifests by key."""
    part, manifests = Part(name="weights"), dict[str, WeightsManifest]()
    for checkpoint in checkpoints:
        shown = _below(workspace, weights_dir(workspace, checkpoint) / WEIGHTS_MANIFEST)
        try:
            manifest, failure = read_weights_manifest(workspace, checkpoint), read_failure(workspace, checkpoint)
        except CorruptFile as error:
            part.compare(f"{shown} schema", "schema_version 1", error.message)
            continue
        if manifest is None:
            part.notes.append(f"{checkpoint.name} {'could not be had' if failure else 'is not fetched'}")
            continue
        part.compare(f"{shown} schema_version", 1, manifest.schema_version)
        manifests[checkpoint.key] = manifest
        path = manifest.file_in(weights_dir(workspace, checkpoint))
        found = sha256_of(path)
        if found == ABSENT:
            part.notes.append(f"{_below(workspace, path)} is not there; its manifest says what it was")
        else:
            part.compare(f"{_below(workspace, path)} sha256", manifest.sha256, found)
    return part, manifests


def check_downloads(part: Part, workspace: Workspace) -> None:
    """Whether the record of first downloads can be read, where there is one."""
    path = workspace.downloads_dir / "lock.json"
    if not path.exists():
        return
    try:
        DownloadLock(workspace)
    except CorruptFile as error:
        part.compare(f"{_below(workspace, path)} schema", "schema_version 1", error.message)
    else:
        part.compare(f"{_below(workspace, path)} schema_version", 1, 1)


def _check_arrays(part: Part, folder: Path, manifest: Manifest, workspace: Workspace) -> None:
    if not any((folder / entry.name).exists() for entry in manifest.files):
        part.notes.append(f"the images of {manifest.name} are not there; its manifest says what they were")
        return
    for entry in manifest.files:
        path = folder / entry.name
        part.compare(f"{_below(workspace, path)} sha256", entry.sha256, sha256_of(path))


def _below(workspace: Workspace, path: Path) -> str:
    """The path as it stands below the home; of a user's own file the whole path."""
    return str(path.relative_to(workspace.home)) if path.is_relative_to(workspace.home) else str(path)
