"""What the first download of a file, or of a data set's content, looked like, where nothing published says it.

`downloads/lock.json` of the home: every later download, from whatever host, is held to it. Must not know how files are fetched.
Read `DownloadLock` first.
"""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from repro.documents import read_document, write_document
from repro.spec import DatasetSpec, Spec
from repro.spec.distributions import DataFile, Md5, Sha256
from repro.workspace import Workspace


class LockedFile(Spec):
    """A file without a published sha256, as it first came."""

    sha256: Sha256
    """Its digest."""
    md5: Md5
    """The same in MD5, which published figures often are."""
    size_bytes: int
    """Its length."""
    url: str
    """From where it came."""
    recorded_at: str
    """UTC time, ISO 8601."""


class LockedContent(Spec):
    """The images of a data set, as they first came; the digests are those of `repro.datasets.arrays.part_sha256`."""

    train_sha256: Sha256
    """Of the training part."""
    test_sha256: Sha256
    """Of the test part."""
    source: str
    """Which files they came from."""
    recorded_at: str
    """UTC time, ISO 8601."""


class _Document(Spec):
    schema_version: Literal[1] = 1
    files: dict[str, LockedFile] = {}
    contents: dict[str, LockedContent] = {}


class DownloadLock:
    """The lock of one home. Safe to use from several threads; each entry is written once and never changed."""

    def __init__(self, workspace: Workspace) -> None:
        """Raises CorruptFile when the lock cannot be read: it must not be forgotten silently."""
        self.path = workspace.downloads_dir / "lock.json"
        self._mutex = threading.Lock()
        self._document = _read(self.path)

    def file(self, file: DataFile) -> LockedFile | None:
        """What is recorded of a file."""
        return self._document.files.get(file_key(file))

    def content(self, spec: DatasetSpec) -> LockedContent | None:
        """What is recorded of a data set's images."""
        return self._document.contents.get(content_key(spec))

    def record_file(self, file: DataFile, *, sha256: str, md5: str, size_bytes: int, url: str) -> None:
        """Record a file's first download, unless one is recorded."""
        entry = LockedFile(sha256=sha256, md5=md5, size_bytes=size_bytes, url=url, recorded_at=_now())
        with self._mutex:
            self._write(self._document.model_copy(update={"files": {file_key(file): entry} | self._document.files}))

    def record_content(self, spec: DatasetSpec, *, train_sha256: str, test_sha256: str, source: str) -> None:
        """Record the images of a data set's first download, unless they are recorded."""
        entry = LockedContent(train_sha256=train_sha256, test_sha256=test_sha256, source=source, recorded_at=_now())
        with self._mutex:
            self._write(self._document.model_copy(update={"contents": {content_key(spec): entry} | self._document.contents}))

    def _write(self, document: _Document) -> None:
        if document != self._document:
            write_document(self.path, document)
            self._document = document


def file_key(file: DataFile) -> str:
    """`host/path`: the same whatever mirror serves it."""
    return f"{file.host}/{file.path}"


def content_key(spec: DatasetSpec) -> str:
    """The same for every distribution of a data set: its preferred one's files, and the size to which images are brought."""
    return f"{' + '.join(file_key(file) for file in spec.distribution[0].file)} at {spec.image_size or 'its own'} px"


def _read(path: Path) -> _Document:
    remedy = "It holds the digests of first downloads. Restore it, or remove it to have them recorded anew."
    return read_document(path, _Document, remedy=remedy) or _Document()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
