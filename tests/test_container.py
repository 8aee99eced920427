"""In which container this is, what outlives it, and what the user is told about that."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro import narration, workspace
from repro.container import LOCK_VARIABLE, Container, Mount, find_container
from repro.context import Context
from repro.errors import EnvironmentProblem, ExitCode, Interrupted
from repro.workspace import Workspace, prepare_home

LONG_ID = "3f2a" * 16
MOUNTS = f"""\
612 530 0:71 / / rw,relatime master:275 - overlay overlay rw,lowerdir=/a:/b
613 612 0:74 / /proc rw,nosuid - proc proc rw
614 612 0:75 / /tmp rw - tmpfs tmpfs rw
620 612 8:1 /var/lib/docker/containers/{LONG_ID}/hostname /etc/hostname rw - ext4 /dev/sda1 rw
621 612 8:1 /var/lib/docker/volumes/vitrepro/_data /vitrepro rw - ext4 /dev/sda1 rw
622 612 8:1 /home/me/my\\040data /data\\040of\\040mine rw - ext4 /dev/sda1 rw
623 612 0:75 / /memory rw - tmpfs tmpfs rw
"""


def root_with(tmp_path: Path, table: str = MOUNTS, *marks: str) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(table)
    for mark in marks:
        (tmp_path / mark).parent.mkdir(exist_ok=True)
        (tmp_path / mark).write_text("")
    return tmp_path


def container_at(*points: tuple[str, str], runtime: str = "docker", is_rootless: bool = False) -> Container:
    mounts = tuple(Mount(point=point, file_system=kind) for point, kind in points)
    return Container(runtime=runtime, id="3f2a3f2a3f2a", lock="cuda", mounts=mounts, is_rootless=is_rootless)


def test_no_mark_means_no_container(tmp_path: Path) -> None:
    assert find_container(environment={}, root=root_with(tmp_path)) is None
    assert find_container(environment={}, root=tmp_path / "nothing here") is None


@pytest.mark.parametrize(
    ("environment", "marks", "runtime"),
    [
        ({}, (".dockerenv",), "docker"),
        ({}, ("run/.containerenv",), "podman"),
        ({"APPTAINER_CONTAINER": "/x.sif"}, (".dockerenv",), "apptainer"),
        ({"SINGULARITY_CONTAINER": "/x.sif"}, (), "apptainer"),
        ({LOCK_VARIABLE: "cuda"}, (), "container"),
    ],
)
def test_the_runtime_is_told_by_its_marks(
    environment: dict[str, str], marks: tuple[str, ...], runtime: str, tmp_path: Path
) -> None:
    found = find_container(environment=environment, root=root_with(tmp_path, MOUNTS, *marks))
    assert found is not None
    assert (found.runtime, found.id, found.lock) == (runtime, "3f2a3f2a3f2a", environment.get(LOCK_VARIABLE, ""))


def test_podmans_id_is_found_too(tmp_path: Path) -> None:
    table = f"1 2 0:3 /containers/storage/overlay-containers/{LONG_ID}/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n"
    found = find_container(environment={}, root=root_with(tmp_path, table, "run/.containerenv"))
    assert found is not None
    assert found.id == "3f2a3f2a3f2a"


@pytest.mark.parametrize("table", ["", "nonsense\n", "1 2 3 - \n", "a - b"])
def test_a_mount_table_that_says_nothing_is_no_error(table: str, tmp_path: Path) -> None:
    found = find_container(environment={}, root=root_with(tmp_path, table, ".dockerenv"))
    assert found is not None
    assert (found.id, found.name) == ("", "CONTAINER")
    assert not found.keeps(Path("/vitrepro"))


@pytest.mark.parametrize(
    ("folder", "kept"),
    [
        ("/vitrepro", True),
        ("/vitrepro/deeper/still", True),
        ("/vitrepro-other", False),
        ("/elsewhere", False),
        ("/tmp/home", False),
        ("/memory", False),
        ("/data of mine/home", True),
    ],
)
def test_only_what_is_mounted_from_outside_is_kept(folder: str, kept: bool, tmp_path: Path) -> None:
    found = find_container(environment={}, root=root_with(tmp_path, MOUNTS, ".dockerenv"))
    assert found is not None
    assert found.keeps(Path(folder)) is kept


def test_a_later_mount_at_the_same_place_counts() -> None:
    assert not container_at(("/", "overlay"), ("/vitrepro", "ext4"), ("/vitrepro", "tmpfs")).keeps(Path("/vitrepro"))
    assert container_at(("/", "overlay"), ("/vitrepro", "tmpfs"), ("/vitrepro", "ext4")).keeps(Path("/vitrepro"))


class Told:
    """As much of a context as narration needs here."""

    def __init__(self, home: Path) -> None:
        self.workspace = Workspace(home=home)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def told(home: Path, found: Container | None, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[str]:
    monkeypatch.setattr(narration, "find_container", lambda: found)
    monkeypatch.setattr(narration, "prepare_home", lambda workspace: None)
    context = Told(home)
    try:
        with narration.keeping_results(context):  # type: ignore[arg-type]
            context.say("working")
            if error is not None:
                raise error
    except Interrupted:
        pass
    return context.lines


COPY = "docker cp 3f2a3f2a3f2a:/vitrepro ./vitrepro-home"


def test_results_that_stay_inside_are_told_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    before, working, after = told(Path("/vitrepro"), container_at(("/", "overlay")), monkeypatch)
    assert working == "working"
    assert f"`{COPY}`" in before
    assert "--rm" in before
    assert "-v vitrepro:/vitrepro" in before
    assert after.endswith(COPY)


def test_podman_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(Path("/vitrepro"), container_at(("/", "overlay"), runtime="podman"), monkeypatch)
    assert lines[-1].endswith("podman cp 3f2a3f2a3f2a:/vitrepro ./vitrepro-home")


def test_an_interrupted_run_says_how_its_container_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Interrupted("Stopped by SIGTERM.", remedy="Again.", exit_code=ExitCode.TERMINATED)
    lines = told(Path("/vitrepro"), container_at(("/", "overlay")), monkeypatch, error)
    assert lines[-2].endswith("docker start --attach 3f2a3f2a3f2a")
    assert lines[-1].endswith(COPY)


def test_apptainer_has_nothing_to_copy_from(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(Path("/vitrepro"), container_at(("/", "overlay"), runtime="apptainer"), monkeypatch)
    assert "--bind DIR:/vitrepro" in lines[0]
    assert " cp " not in "".join(lines)


@pytest.mark.parametrize(
    "found",
    [
        None,
        container_at(("/", "overlay"), ("/vitrepro", "ext4")),
        Container(runtime="docker", id="", lock="", mounts=(Mount(point="/", file_system="overlay"),)),
    ],
    ids=["no container", "mounted", "another image"],
)
def test_nothing_is_told_where_nothing_gets_lost(found: Container | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(Path("/vitrepro"), found, monkeypatch) == ["working"]


def home_problem(
    found: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int | None = None
) -> EnvironmentProblem:
    """The error for a home that cannot be written, because a file lies there; `uid` is who it seems to belong to."""
    monkeypatch.setattr(workspace, "find_container", lambda: found)
    (tmp_path / "home").write_text("")
    if uid is not None:
        monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(EnvironmentProblem, match="cannot be written") as caught:
        prepare_home(Workspace(home=tmp_path / "home"))
    return caught.value


def test_a_mounted_home_of_somebody_else_has_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = container_at(("/", "overlay"), (str(tmp_path), "ext4"))
    problem = home_problem(found, monkeypatch, tmp_path, uid=12345)
    assert f"it belongs to uid {(tmp_path / 'home').stat().st_uid}, this process runs as uid 12345" in problem.message
    assert "docker run --user $(id -u):$(id -g)" in problem.remedy
    assert "sudo chown" in problem.remedy
    assert f"docker run -v vitrepro:{tmp_path / 'home'}" in problem.remedy


def test_a_home_that_is_mounted_read_only_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = home_problem(container_at(("/", "overlay"), (str(tmp_path), "ext4")), monkeypatch, tmp_path)
    assert "read-only" in problem.remedy


def test_a_volume_that_is_mounted_read_only_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever the folder belongs to."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(workspace, "write_atomically", refuse)
    monkeypatch.setattr(workspace, "find_container", lambda: container_at(("/", "overlay"), (str(tmp_path), "ext4")))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(EnvironmentProblem, match="Read-only file system") as caught:
        prepare_home(Workspace(home=tmp_path / "home"))
    assert "without `:ro`" in caught.value.remedy


def test_rootless_podman_keeps_the_users_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_rootless in (False, True):
        found = container_at(("/", "overlay"), (str(tmp_path), "ext4"), runtime="podman", is_rootless=is_rootless)
        problem = home_problem(found, monkeypatch, tmp_path, uid=12345)
        # As root Podman refuses keep-id.
        assert ("podman run --userns=keep-id --user $(id -u):$(id -g)" in problem.remedy) is is_rootless
        assert "sudo chown" not in problem.remedy


@pytest.mark.parametrize(
    ("table", "is_rootless"),
    [("         0          0 4294967295\n", False), ("         0       2345          1\n 1 100000 65536\n", True), ("", False)],
)
def test_a_rootless_engine_is_told_by_its_user_numbers(table: str, is_rootless: bool, tmp_path: Path) -> None:
    root = root_with(tmp_path, MOUNTS, "run/.containerenv")
    (root / "proc/self/uid_map").write_text(table)
    found = find_container(environment={}, root=root)
    assert found is not None
    assert found.is_rootless is is_rootless


def test_a_home_in_memory_has_nothing_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = container_at(("/", "overlay"), ("/vitrepro", "tmpfs"))
    before, working = told(Path("/vitrepro"), found, monkeypatch)
    assert "in memory only" in before
    assert working == "working"


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (container_at(("/", "overlay"), ("/", "ext4")), "docker run --user {uid}:{gid} …"),
        (None, "--home DIR"),
    ],
    ids=["in the container", "outside"],
)
def test_a_volume_that_another_user_has_filled_names_that_user(
    found: Container | None, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "find_container", lambda: found)
    (tmp_path / "lock").write_text("")
    owner = (tmp_path / "lock").stat()

    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EnvironmentProblem, match="cannot be locked") as caught, workspace.exclusive(Workspace(home=tmp_path)):
        pass
    assert f"filled by uid {owner.st_uid}" in caught.value.remedy
    assert remedy.format(uid=owner.st_uid, gid=owner.st_gid) in caught.value.remedy


def test_a_home_that_is_not_mounted_is_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = home_problem(container_at(("/", "overlay"), runtime="podman"), monkeypatch, tmp_path)
    assert problem.remedy.startswith("Mount something there")
    assert "podman run -v vitrepro:" in problem.remedy


def test_apptainer_is_told_to_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = home_problem(container_at(("/", "overlay"), runtime="apptainer"), monkeypatch, tmp_path)
    assert f'apptainer run --bind "$PWD/vitrepro-home:{tmp_path / "home"}"' in problem.remedy


def test_every_command_that_writes_tells_it(tmp_path: Path) -> None:
    """The real command in what it takes for its own image."""
    environment = os.environ | {LOCK_VARIABLE: "cuda", "OMP_NUM_THREADS": "1"}
    home = str(tmp_path / "home")
    for command in (["fetch"], ["report", "--no-pdf"]):
        arguments = [sys.executable, "-m", "repro", *command, "--profile", "demo", "--home", home, "--device", "cpu"]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = find_container(environment=environment)
        assert found is not None
        # The temporary folder of the tests may be a mount of its own.
        assert (f"nothing is mounted at {home}" in done.stderr) is not found.keeps(Path(home))
        assert (f":{home} ./vitrepro-home" in done.stderr.splitlines()[-1]) is not found.keeps(Path(home))


def test_a_context_is_what_narration_takes() -> None:
    """`Told` above stands for the real thing: it has the two things that are used of it."""
    assert {"workspace", "say"} <= set(Context.__dataclass_fields__)
