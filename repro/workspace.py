"""Where every file lives, how it is written, and who may write.

Everything lies under one root, the home. Files are written beside their place and then renamed, so a reader sees the old
file, the new one or none. Must not know what the files mean. Read `Workspace` first.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repro.container import Container, find_container
from repro.errors import NO_SPACE_ERRNOS, DiskFull, EnvironmentProblem, HomeBusy

HOME_VARIABLE = "VITREPRO_HOME"
DEFAULT_HOME = "vitrepro-home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The layout of one home."""

    home: Path
    """Absolute path of the root."""

    @property
    def lock_path(self) -> Path:
        """The file whose lock the running command holds."""
        return self.home / "lock"

    @property
    def runs_dir(self) -> Path:
        """One folder a cell, shared by all profiles."""
        return self.home / "runs"

    @property
    def downloads_dir(self) -> Path:
        """Downloaded files, one folder a host, and the digests of first downloads."""
        return self.home / "downloads"

    def dataset_dir(self, name: str) -> Path:
        """Pack and manifest of the data set with slug `name`."""
        return self.home / "data" / name

    def run_dir(self, cell_id: str, fingerprint: str) -> Path:
        """What one cell leaves on disk: `runs/<cell id>-<first 8 hex digits of the fingerprint>`."""
        # A file name may have 255 bytes; ids of long names are cut, the fingerprint keeps them apart.
        return self.runs_dir / f"{cell_id[:200]}-{fingerprint[:8]}"

    def report_dir(self, profile: str) -> Path:
        """Report, figures and tables of the profile with slug `profile`."""
        return self.home / "report" / profile

    def without_home(self, text: str) -> str:
        """The text with paths in the home relative to it: a report is passed on, and where its maker's files lie is not."""
        return text.replace(f"{self.home}{os.sep}", "")

    @property
    def compiled_dir(self) -> Path:
        """Code that torch has compiled; made by torch where something is compiled, and may be removed at any time."""
        return self.home / "cache" / "inductor"

    def bench_dir(self, profile: str) -> Path:
        """How fast the models of the profile with slug `profile` were, one file a device."""
        return self.home / "bench" / profile


def resolve_home(option: str | None) -> Workspace:
    """The workspace of `--home`, else `$VITREPRO_HOME`, else `./vitrepro-home`. Creates nothing."""
    chosen = option or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
    return Workspace(home=Path(os.path.expanduser(chosen)).absolute())  # noqa: PTH111 - Path raises for an unknown ~user


def prepare_home(workspace: Workspace) -> None:
    """Create the home and prove that a file can be written there.

    Raises EnvironmentProblem when it cannot, naming the folder and the two usual remedies.
    """
    probe = workspace.home / f".write-test-{os.getpid()}"
    try:
        workspace.home.mkdir(parents=True, exist_ok=True)
        write_atomically(probe, b"x")
        probe.unlink()
    except OSError as error:
        owner, uid = "", os.getuid()
        with contextlib.suppress(OSError):
            uid = workspace.home.stat().st_uid
            owner = f" (it belongs to uid {uid}, this process runs as uid {os.getuid()})"
        what = "it is a file, not a folder" if isinstance(error, FileExistsError) else error.strerror or error
        container = find_container()
        raise EnvironmentProblem(
            f"The home {workspace.home} cannot be written: {what}{owner}.",
            remedy=_remedy_in(container, workspace.home, is_read_only=error.errno == errno.EROFS or uid == os.getuid())
            if container is not None and container.lock
            else f"Give a writable folder with --home DIR or ${HOME_VARIABLE}, or change the folder's owner; in a "
            "container run with --user $(id -u):$(id -g) or use a named volume.",
        ) from error


def _remedy_in(container: Container, home: Path, *, is_read_only: bool) -> str:
    """What to do about a home that cannot be written, in the words of the container's runtime."""
    if container.runtime == "apptainer":
        return f'Bind a folder of your own to it: mkdir -p vitrepro-home && apptainer run --bind "$PWD/vitrepro-home:{home}" …'
    volume = f"a named volume: {container.command} run -v vitrepro:{home} …"
    if not container.keeps(home):
        return f"Mount something there, best {volume}"
    if is_read_only:
        return f"It is mounted read-only, or on a disk that cannot be written: mount it without `:ro`, or use {volume}"
    # Rootless Podman shows the user's own folder as root's unless it is told to keep the numbers; and it makes no folders.
    user = f"{'--userns=keep-id ' * (container.runtime == 'podman' and container.is_rootless)}--user $(id -u):$(id -g)"
    made = (
        ""
        if container.runtime == "podman"
        else (
            " (a folder that did not exist was made by the engine and is root's: `sudo chown $(id -u):$(id -g) FOLDER` first)"
        )
    )
    return f"Run as the folder's owner: {container.command} run {user} …{made}. Or use {volume}"


def write_atomically(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a whole file: temporary file in the same folder, flushed to the disk if `durable`, then renamed over `path`.

    Raises DiskFull when there is no space; the old file, if any, is untouched then.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is flushed (if `durable`) and renamed, else removed.

    Raises DiskFull when there is no space.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            raise disk_full(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, what: str = "") -> Iterator[None]:
    """Tell what the system says of a write inside the block as the user's problem; `what` is being written to `path`.

    Raises DiskFull or EnvironmentProblem in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            raise disk_full(path) from error
        where = f"{what} cannot be written to {path}" if what else f"{error.filename or path} cannot be written"
        raise EnvironmentProblem(
            f"{where}: {error.strerror or error}.",
            remedy="Make it and its folder writable for this user, or give another --home, and run the same command again.",
        ) from error


def disk_full(path: Path) -> DiskFull:
    """The error to raise when `path` could not be written for want of space."""
    return DiskFull(
        f"No space left on the disk while writing {path}.",
        remedy="Free some space (or give another --home) and run the same command again; finished cells are kept.",
    )


def move_aside(path: Path) -> Path:
    """Rename a corrupt file or folder to `<name>.corrupt-<n>` and return the new path."""
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(target)
    return target


def free_disk_bytes(workspace: Workspace) -> int:
    """Free bytes on the file system that holds, or will hold, the home."""
    folder = workspace.home
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def exclusive(workspace: Workspace) -> Iterator[None]:
    """Hold the home for one run at a time; the system releases the lock when the holder dies.

    Raises HomeBusy, saying who holds it since when, and EnvironmentProblem where the home cannot be written.
    """
    prepare_home(workspace)
    descriptor = _locked(workspace)
    try:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "command": command_line(),
        }
        # Who holds it is a courtesy; a disk too full for it is told where it matters.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def command_line() -> str:
    """The command as it was typed, the program's name without its folder."""
    return " ".join([Path(sys.argv[0]).name.replace("__main__.py", "vitrepro"), *sys.argv[1:]])


def _locked(workspace: Workspace) -> int:
    """A descriptor that holds the lock of the home."""
    descriptor = None
    try:
        descriptor = os.open(workspace.lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(descriptor) if isinstance(error, BlockingIOError) and descriptor is not None else None
        if descriptor is not None:
            os.close(descriptor)
        if holder is not None:
            raise HomeBusy(
                f"The home {workspace.home} is in use by {holder}.",
                remedy="Wait until that run ends, stop it, or give this one another --home.",
            ) from error
        raise EnvironmentProblem(
            f"The home {workspace.home} cannot be locked: {error.strerror or error} ({workspace.lock_path}).",
            remedy=_remedy_of_another_user(workspace)
            if isinstance(error, PermissionError)
            else "Give a folder on a file system with locks (a local disk) with --home DIR.",
        ) from error
    return descriptor


def _remedy_of_another_user(workspace: Workspace) -> str:
    """What to do where somebody else has used the home before."""
    owner = workspace.lock_path.stat()
    whose = f"It was filled by uid {owner.st_uid}, this process runs as uid {os.getuid()}"
    if (container := find_container()) is not None and container.lock:
        again = f"{container.command} run --user {owner.st_uid}:{owner.st_gid} …"
        return f"{whose}. Run as that user ({again}), or take another volume: -v vitrepro-{os.getuid()}:{workspace.home}"
    return f"{whose}. Give a folder of your own with --home DIR, or have its files handed to you (chown)."


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({holder['command']})"
    except (ValueError, KeyError, TypeError):
        return "another vitrepro process"
