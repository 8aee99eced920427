"""Whether this process runs in a container, in which, and whether a folder outlives it.

Told by the marks that the runtimes leave (environment, files, mount table), all readable without privileges. Must not know what
vitrepro keeps where. Read `find_container` first.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCK_VARIABLE = "VITREPRO_LOCK"
"""Where the image says which lock file it was built from; its being set means: the project's own image."""

_ID = re.compile(r"/(?:containers|overlay-containers)/([0-9a-f]{64})/")
"""Docker and podman keep /etc/hostname and its like in a folder named after the container, which the mount table shows."""
_ALL_USERS = ["0", "0", "4294967295"]
"""What /proc/self/uid_map holds where every user is who it is outside (user_namespaces(7))."""
_VOLATILE = frozenset({"tmpfs", "ramfs"})
"""File systems in memory: they end with the container, and `docker cp` cannot read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of the mount table."""

    point: str
    """Where it is mounted."""
    file_system: str
    """Its type: `ext4`, `overlay`, `tmpfs`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container around this process."""

    runtime: str
    """`docker`, `podman`, `apptainer`, or `container` where it cannot be told."""
    id: str
    """The first twelve digits, as `docker ps` shows them; empty where it cannot be told."""
    lock: str
    """Which lock file the image was built from (`cuda`, `cuda128`, `venv`); empty in an image that is not the project's own."""
    mounts: tuple[Mount, ...]
    """The mount table."""
    is_rootless: bool = False
    """Whether user numbers inside are others than outside, as under rootless engines."""

    @property
    def command(self) -> str:
        """The program that manages it."""
        return self.runtime if self.runtime in ("docker", "podman") else "docker"

    @property
    def name(self) -> str:
        """What to call it in a command: its id, or a placeholder."""
        return self.id or "CONTAINER"

    def keeps(self, folder: Path) -> bool:
        """Whether what is written to `folder` outlives the container: whether it lies on a mount from outside."""
        mount = self._mount_of(folder)
        return mount is not None and mount.point != "/" and mount.file_system not in _VOLATILE

    def is_in_memory(self, folder: Path) -> bool:
        """Whether `folder` lies in memory, where not even the engine can read it."""
        mount = self._mount_of(folder)
        return mount is not None and mount.file_system in _VOLATILE

    def _mount_of(self, folder: Path) -> Mount | None:
        resolved = folder.resolve()
        around = [mount for mount in self.mounts if resolved.is_relative_to(mount.point)]
        # The longest path decides; of two mounts at one place the later is the one that is seen.
        return max(reversed(around), key=lambda mount: len(mount.point), default=None)


def find_container(*, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Container | None:
    """The container around this process, or None. `root` is where the marks are looked for."""
    lock = environment.get(LOCK_VARIABLE, "")
    table = _read(root / "proc/self/mountinfo")
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        runtime = "apptainer"
    elif (root / "run/.containerenv").exists():
        runtime = "podman"
    elif (root / ".dockerenv").exists():
        runtime = "docker"
    elif lock:
        runtime = "container"
    else:
        return None
    found = _ID.search(table)
    return Container(
        runtime=runtime,
        id=found.group(1)[:12] if found else "",
        lock=lock,
        mounts=tuple(_mounts(table)),
        is_rootless=_read(root / "proc/self/uid_map").split() not in ([], _ALL_USERS),
    )


def _mounts(table: str) -> list[Mount]:
    """The lines of a mount table (proc(5), /proc/pid/mountinfo): the fifth field is the place, the type follows ` - `."""
    mounts = []
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if separator and len(fields) > 4 and after.split():
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), fields[4])
            mounts.append(Mount(point=point, file_system=after.split()[0]))
    return mounts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
