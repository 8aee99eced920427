"""The set-up on a fresh machine, without network: a small Python of our own stands for the one that makes and fills `.venv`.

It hands every question to the real Python, so versions, digests and locks are real; only `-m venv` and `-m pip` are played, and
written to a log.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELL_FILES = sorted(
    path for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"] if path.is_file() and path.suffix in {"", ".sh"}
)

PYTHON = """#!/bin/bash
log={log}
case "$*" in
  *"-m venv "*)
    echo venv >>"$log"
    for folder; do :; done
    mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
  "-m pip "*)
    echo "pip ${{*: -1}}" >>"$log"
    echo "noise of pip"
    [ ! -e "$log.slow" ] || sleep 1
    [ "$(cat "$log.fail" 2>/dev/null)" != "${{*: -1}}" ] || exit 1
    bin=$(dirname "$0")
    printf '#!/bin/bash\\nprintf "<%%s>" "$PWD" "$@"\\nexit 7\\n' >"$bin/vitrepro" && chmod +x "$bin/vitrepro" ;;
  *) exec {real} "$@" ;;
esac
"""
"""Fails at the pip call whose last argument stands in LOG.fail; takes a second for every pip call where LOG.slow exists."""


class Checkout:
    """A copy of the scripts with a Python that plays venv and pip."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.log = folder / "log"
        self.python = folder / "python"
        self.cwd = folder / "elsewhere"
        self.cwd.mkdir()
        self.root.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "requirements", self.root / "requirements")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        text = PYTHON.format(log=shlex.quote(str(self.log)), real=shlex.quote(sys.executable))
        self.python.write_text(text, encoding="utf-8")
        self.python.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.cwd), "VITREPRO_PYTHON": str(self.python), **environment}
        command = [str(self.root / "scripts" / "vitrepro"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=self.cwd, env=variables)

    def call(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr

    def steps(self) -> list[str]:
        """What venv and pip were asked for since the last look."""
        lines = self.log.read_text(encoding="utf-8").replace(f"{self.root}/", "").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


FILL = ["pip requirements/venv.lock.txt", "pip requirements/torch.txt"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def whole_set_up(checkout: Checkout) -> list[str]:
    return ["venv", *FILL, f"pip {checkout.root}"]


@pytest.mark.parametrize("path", SHELL_FILES, ids=lambda path: path.name)
def test_shell_files_are_sound(path: Path) -> None:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#")
    assert "set -euo pipefail" in text or "_setup.sh" in text


def test_verbs_can_be_run_and_are_named_in_one_place() -> None:
    verbs = {path.name for path in SHELL_FILES if path.parent.name == "scripts" and not path.name.startswith("_")}
    assert verbs >= {"vitrepro", "test", "lint", "fix", "lock"}
    named = (ROOT / "scripts" / "_setup.sh").read_text(encoding="utf-8").partition("The verbs:")[2].partition("\n#\n")[0]
    for verb in verbs:
        assert os.access(ROOT / "scripts" / verb, os.X_OK), verb
        assert verb in named
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_first_call_sets_up_and_becomes_the_command(checkout: Checkout) -> None:
    code, stdout, stderr = checkout.call("--only", "a b", "")
    assert (code, stdout) == (7, f"<{checkout.cwd}><--only><a b><>")
    assert "noise of pip" in stderr
    assert checkout.steps() == whole_set_up(checkout)
    assert list(checkout.cwd.iterdir()) == []
    assert not (checkout.root / ".venv" / "setup").exists()


def test_the_second_call_starts_at_once(checkout: Checkout) -> None:
    checkout.call()
    checkout.steps()
    assert checkout.call("x") == (7, f"<{checkout.cwd}><x>", "")
    assert checkout.steps() == []


def test_it_works_through_a_link_and_without_a_home(checkout: Checkout) -> None:
    checkout.call()
    link = checkout.cwd / "link"
    link.symlink_to(checkout.root / "scripts" / "vitrepro")
    done = subprocess.run([link, "x"], capture_output=True, text=True, cwd="/", env={"PATH": os.environ["PATH"]}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "</><x>", "")


@pytest.mark.parametrize("file", ["requirements/venv.lock.txt", "requirements/torch.txt", "pyproject.toml"])
def test_changed_pins_are_installed_into_the_same_environment(checkout: Checkout, file: str) -> None:
    checkout.call()
    checkout.steps()
    with (checkout.root / file).open("a", encoding="utf-8") as text:
        text.write("# changed\n")
    assert checkout.call()[0] == 7
    assert checkout.steps() == whole_set_up(checkout)[1:]
    checkout.call()
    assert checkout.steps() == []


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.call()
    checkout.steps()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    stale = checkout.root / ".venv" / "stale"
    stale.touch()
    assert checkout.call()[0] == 7
    assert checkout.steps() == whole_set_up(checkout)
    assert not stale.exists()


def test_an_interrupted_set_up_goes_on_where_it_stopped(checkout: Checkout) -> None:
    fail = checkout.log.with_name("log.fail")
    fail.write_text(str(checkout.root / "requirements" / "torch.txt"), encoding="utf-8")
    code, stdout, stderr = checkout.call()
    assert (code, stdout) == (1, "")
    assert "goes on where it stopped" in stderr
    assert not list((checkout.root / ".venv").glob("*.stamp"))
    assert (checkout.root / ".venv" / "setup").is_dir()
    assert checkout.steps() == ["venv", *FILL]
    fail.unlink()
    assert checkout.call()[0] == 7
    assert checkout.steps() == whole_set_up(checkout)[1:]


def test_a_half_installed_package_is_installed_again(checkout: Checkout) -> None:
    checkout.call()
    (checkout.root / ".venv" / "run.stamp").unlink()
    site_packages = checkout.root / ".venv" / "lib" / "python3" / "site-packages"
    for name in ("half", "whole"):
        (site_packages / f"{name}.dist-info").mkdir(parents=True)
        (site_packages / f"{name}.dist-info" / "METADATA").touch()
    (site_packages / "whole.dist-info" / "INSTALLER").touch()
    assert checkout.call()[0] == 7
    assert [path.name for path in site_packages.iterdir()] == ["whole.dist-info"]


def test_two_calls_at_once_set_up_once(checkout: Checkout) -> None:
    checkout.log.with_name("log.slow").touch()
    processes = [checkout.start(name) for name in ("one", "two", "three")]
    outcomes = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(stdout.rpartition("><")[2], code) for stdout, _, code in outcomes] == [("one>", 7), ("two>", 7), ("three>", 7)]
    assert checkout.steps() == whole_set_up(checkout)


def test_a_call_that_waits_for_another_says_so(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    with (checkout.root / ".venv" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = checkout.start()
        assert process.stderr
        assert "waiting for it" in process.stderr.readline()
        assert checkout.steps() == []
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert checkout.steps() == whole_set_up(checkout)


def test_the_running_command_holds_no_lock(checkout: Checkout) -> None:
    checkout.call()
    (checkout.root / "requirements" / "torch.txt").write_text("# changed\n", encoding="utf-8")
    command = ". scripts/_setup.sh; ensure_environment run; exec sleep 60"
    variables = {"PATH": os.environ["PATH"], "VITREPRO_PYTHON": str(checkout.python)}
    process = subprocess.Popen(["bash", "-c", command], cwd=checkout.root, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        while process.stderr.readline() != "vitrepro set-up: done\n":
            assert process.poll() is None
        with (checkout.root / ".venv" / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_a_killed_set_up_leaves_no_lock_behind(checkout: Checkout) -> None:
    checkout.log.with_name("log.slow").touch()
    process = checkout.start()
    while not checkout.log.exists() or "pip" not in checkout.log.read_text(encoding="utf-8"):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert not (checkout.root / ".venv" / "run.stamp").exists()
    checkout.log.with_name("log.slow").unlink()
    checkout.steps()
    assert checkout.call()[0] == 7
    assert checkout.steps() == whole_set_up(checkout)[1:]


def test_no_fitting_python_is_said_with_a_remedy(checkout: Checkout) -> None:
    code, stdout, stderr = checkout.call(VITREPRO_PYTHON="/bin/false")
    assert (code, stdout) == (1, "")
    assert "No Python from 3.11 to 3.13 was found (tried: /bin/false)" in stderr
    assert "VITREPRO_PYTHON=" in stderr
    assert checkout.steps() == []


def test_a_python_without_venv_is_said_with_a_remedy(checkout: Checkout) -> None:
    text = checkout.python.read_text(encoding="utf-8")
    checkout.python.write_text(text.replace("case", '[[ "$*" != *"import ensurepip"* ]] || exit 1\ncase', 1), encoding="utf-8")
    code, stdout, stderr = checkout.call()
    assert (code, stdout) == (1, "")
    assert "apt-get install python3-venv" in stderr
    assert checkout.steps() == []


def test_a_checkout_that_cannot_be_written_is_said_with_a_remedy(checkout: Checkout) -> None:
    (checkout.root / ".venv").write_text("in the way", encoding="utf-8")
    code, stdout, stderr = checkout.call()
    assert (code, stdout) == (1, "")
    assert "cannot be written" in stderr


def test_the_locks_are_whole_and_name_no_place() -> None:
    run, dev = ((ROOT / "requirements" / f"{name}.lock.txt").read_text(encoding="utf-8") for name in ("venv", "dev"))
    for text in (run, dev):
        blocks = text.replace("\\\n", "").splitlines()[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        names = {block.partition("==")[0] for block in blocks}
        assert {"torchvision", "timm", "editables", "hatchling", "nvidia-ml-py", "sympy"} <= names
        assert not {name for name in names if name == "torch" or name.startswith(("cuda-", "nvidia-c", "triton"))}
        assert "://" not in text
    pins = [{line.split(" ")[0] for line in text.splitlines() if "==" in line} for text in (run, dev)]
    assert pins[0] <= pins[1]


def test_missing_system_packages_are_named(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "_pdf_tools.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)}, check=False)
    assert (done.returncode, done.stdout.split()[-1:]) == (1, ["poppler-utils"])
    whole_list = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 poppler-utils"
    assert set(done.stdout.split()) <= set(whole_list.split())
    for file in (".ci/run", "CONTRIBUTING.md"):
        assert whole_list in (ROOT / file).read_text(encoding="utf-8"), file
