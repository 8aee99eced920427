"""The home: where it is, how its files are written, and who may write."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import spine

from repro.errors import DiskFull, EnvironmentProblem, HomeBusy
from repro.workspace import (
    DEFAULT_HOME,
    HOME_VARIABLE,
    Workspace,
    exclusive,
    free_disk_bytes,
    move_aside,
    prepare_home,
    replacing,
    resolve_home,
    write_atomically,
)


def test_the_home_is_the_option_else_the_variable_else_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "variable"))
    assert resolve_home("option").home == tmp_path / "option"
    assert resolve_home(None).home == tmp_path / "variable"
    monkeypatch.delenv(HOME_VARIABLE)
    assert resolve_home(None).home == tmp_path / DEFAULT_HOME
    monkeypatch.setenv(HOME_VARIABLE, "")
    assert resolve_home("").home == tmp_path / DEFAULT_HOME
    assert resolve_home("~nobody-of-that-name/x").home == tmp_path / "~nobody-of-that-name/x"
    assert not list(tmp_path.iterdir()), "asking where the home is creates nothing"


def test_a_home_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path / "a" / "b")
    prepare_home(workspace)
    prepare_home(workspace)
    assert list(workspace.home.iterdir()) == []


def test_a_file_in_place_of_the_home_is_told_with_both_remedies(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    for home in (tmp_path / "home", tmp_path / "home" / "below"):
        with pytest.raises(EnvironmentProblem, match="cannot be written") as caught:
            prepare_home(Workspace(home=home))
        assert str(home) in caught.value.message
        assert "--home" in caught.value.remedy
        assert "--user" in caught.value.remedy


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_of_somebody_else_is_told_with_both_uids(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o555)
    with pytest.raises(EnvironmentProblem, match="belongs to uid"):
        prepare_home(Workspace(home=tmp_path / "home"))


def test_a_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    write_atomically(path, "old")
    with pytest.raises(RuntimeError, match="broken"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("broken")
    assert path.read_text() == "old"
    write_atomically(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_the_old_file_stays(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="No space left on the disk while writing") as caught:
        write_atomically(path, "new")
    assert str(path) in caught.value.message
    assert "--home" in caught.value.remedy
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_any_other_trouble_with_a_file_is_not_called_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").write_text("")
    with pytest.raises(OSError, match=r"[Dd]irectory"):
        write_atomically(tmp_path / "file", "new")


def test_what_is_moved_aside_is_never_overwritten(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "x").write_text(str(number))
        assert move_aside(tmp_path / "x").name == f"x.corrupt-{number}"
    assert (tmp_path / "x.corrupt-1").read_text() == "1"


def test_free_space_is_told_before_the_home_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert free_disk_bytes(Workspace(home=tmp_path / "a" / "b")) > 0
    assert free_disk_bytes(Workspace(home=tmp_path / "file" / "b")) > 0


HOLDER = """
import sys
from pathlib import Path
from repro.workspace import Workspace, exclusive
with exclusive(Workspace(home=Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(home: Path) -> subprocess.Popen[str]:
    """A process that holds the home until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), "--some-option"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=spine.environment_of(),
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_a_second_run_is_told_who_holds_the_home(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path)
    process = holding(tmp_path)
    try:
        with pytest.raises(HomeBusy) as caught, exclusive(workspace):
            pass
    finally:
        end(process)
    assert f"process {process.pid} on " in caught.value.message
    assert "--some-option" in caught.value.message
    with exclusive(workspace):
        pass


def test_the_system_releases_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    process = holding(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with exclusive(Workspace(home=tmp_path)):
        pass
    end(process)


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path)
    with pytest.raises(RuntimeError, match="inside"), exclusive(workspace):
        raise RuntimeError("inside")
    with exclusive(workspace):
        pass


def test_an_unreadable_holder_is_no_reason_to_fail_otherwise(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path)
    process = holding(tmp_path)
    workspace.lock_path.write_text("no JSON")
    try:
        with pytest.raises(HomeBusy, match="in use by another vitrepro process"), exclusive(workspace):
            pass
    finally:
        end(process)


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path)
    workspace.lock_path.mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be locked: Is a directory"), exclusive(workspace):
        pass
