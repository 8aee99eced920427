"""What image-check tries with a built image: each trial starts the image's own entrypoint as a container runtime would.

A trial raises AssertionError with what is wrong, and may return a remark. Standard library only. Read `Image.start` first, then
`TRIALS`.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOMEBODY = 12345
"""A user id that no image knows."""

# What a container runtime does, by hand: the root read-only unless told otherwise, /proc, /dev with harmless devices and 64 MB
# of /dev/shm, /tmp in memory, then the user without any privilege. Words after the first five are the command.
ENTER = """
set -eu
root=$1 writable=$2 user=$3 home=$4 workdir=$5
shift 5
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mkdir "$root/dev/shm"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
[ -z "$home" ] || mount --bind "$home" "$root/vitrepro"
[ "$writable" = yes ] || mount -o remount,bind,ro "$root"
ip link set lo up 2>/dev/null || true
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
  env -i --chdir="$workdir" "$@"
"""


def output(*command: str | Path) -> str:
    """The command's stdout."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


class Image:
    """The built image, its files mounted."""

    def __init__(self, root: Path, config: dict[str, Any], *, commit: str) -> None:
        self.root = root
        self.config = config
        self.commit = commit
        self.environment = config["Env"]
        self.lock = next(line.partition("=")[2] for line in self.environment if line.startswith("VITREPRO_LOCK="))

    def start(
        self, *arguments: str, home: Path | None = None, user: int = SOMEBODY, writable: bool = False, command: str = ""
    ) -> "subprocess.Popen[str]":
        """The entrypoint with these arguments, or `command`, in namespaces without network."""
        words = [command] if command else self.config["Entrypoint"]
        enter = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child=SIGKILL",
            "bash",
            "-c",
            ENTER,
            "enter",
        ]
        place = [str(self.root), "yes" if writable else "no", str(user), str(home or ""), self.config.get("WorkingDir") or "/"]
        whole = [*enter, *place, *self.environment, *words, *arguments]
        return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)

    def call(self, *arguments: str, **options: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = self.start(*arguments, **options)
        stdout, stderr = process.communicate()
        return process.returncode, stdout, stderr


def trial_configuration(image: Image) -> str:
    config = image.config
    assert config["User"] not in ("", "root", "0", "0:0"), f"runs as {config['User']!r}"
    assert config["Entrypoint"] == ["vitrepro"], config["Entrypoint"]
    assert not config.get("Volumes"), "an anonymous volume goes with --rm"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"] == image.commit
    names = {line.partition("=")[0] for line in config["Env"]}
    wanted = {
        "VITREPRO_HOME",
        "HOME",
        "HF_HOME",
        "TORCH_HOME",
        "MPLCONFIGDIR",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
    }
    assert wanted <= names, wanted - names
    secrets = [
        name for name in names if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "PROXY", "INDEX", "CERT"))
    ]
    assert not secrets, secrets
    return f"user {config['User']}"


def trial_contents(image: Image) -> str:
    """No compiler, no pip, no caches, nothing of the build, and no folder that all may write but those that must be."""
    folders = ("usr/bin", "usr/local/bin", "opt/vitrepro/bin")
    programs = [f"{folder}/{name}" for folder in folders for name in ("gcc", "cc", "g++", "make", "pip", "pip3", "git")]
    folders_of_the_build = ("source", "wheel", "requirements", "overlay", "opt/pip", "tmp/stored", "vitrepro/cache")
    left = [path for path in (*programs, *folders_of_the_build) if (image.root / path).exists()]
    left += [str(path) for path in (image.root / "root/.cache").rglob("*") if path.is_file()]
    left += [str(path) for path in (image.root / "var/lib/apt/lists").rglob("*") if path.is_file() and path.name != "lock"]
    # buildah leaves an empty file where something was mounted during the build.
    settings = image.root / "etc/pip.conf"
    left += ["etc/pip.conf"] if settings.exists() and settings.stat().st_size else []
    assert not left, f"left in the image: {left[:5]}"
    loose = output("find", image.root, "-xdev", "-type", "d", "-perm", "-o=w").split()
    places = {str(Path(path).relative_to(image.root)) for path in loose}
    assert places <= {"tmp", "var/tmp", "vitrepro", "run/lock"}, places
    privileged = output("find", image.root / "opt", image.root / "vitrepro", "-xdev", "-perm", "/6000")
    assert not privileged.strip(), privileged
    return ""


INSTALLED = """
import json, torch
from importlib.metadata import distributions
from repro.models.libraries import import_timm
import_timm()
names = {one.name.lower().replace("_", "-").replace(".", "-"): one.version for one in distributions()}
archs = torch._C._cuda_getArchFlags() if torch.version.cuda else "no CUDA"
print(json.dumps({"packages": names, "torch": f"torch {torch.__version__}, CUDA {torch.version.cuda} ({archs})"}))
"""


def trial_packages(image: Image) -> str:
    """What is installed is what the lock file says, nothing else is, and torch and timm can be imported."""
    text = (ROOT / "requirements" / f"{image.lock}.lock.txt").read_text()
    pins: dict[str, set[str]] = {}
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            # A package may have two versions, for two Pythons.
            name, _, rest = line.partition("==")
            pins.setdefault(name, set()).add(rest.split()[0])
    status, stdout, stderr = image.call("-c", INSTALLED, command="/opt/vitrepro/bin/python")
    assert status == 0, stderr
    found = json.loads(stdout)
    installed = found["packages"]
    different = {name: version for name, version in installed.items() if name in pins and version not in pins[name]}
    assert not different, f"other versions than in the lock: {different}"
    more = set(installed) - set(pins) - {"vitrepro", "torch"}
    assert not more, f"not in the lock: {more}"
    return f"{len(installed)} packages as locked; {found['torch']}"


def trial_help(image: Image) -> str:
    status, stdout, stderr = image.call("--help")
    assert (status, stderr) == (0, ""), stderr
    assert stdout.startswith("Usage: vitrepro")
    return ""


def trial_check(image: Image) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home = own(Path(folder))
        status, stdout, stderr = image.call("check", "--profile", "demo", "--json", home=home)
        assert status == 0, stderr
        lines = {line["name"]: line for line in json.loads(stdout)["lines"]}
        assert lines["home"]["level"] == "ok", lines["home"]
        return "; ".join(
            f"{line['name']}: {line['message']}" for line in lines.values() if line["name"] in ("nvml", "gpu", "device")
        )[:200]


def trial_stopped_and_resumed(image: Image) -> str:
    """SIGTERM, as `docker stop` sends it, to a run in its middle: exit code 143 in time, and the same command finishes."""
    with tempfile.TemporaryDirectory() as folder:
        home = own(Path(folder))
        arguments = ("run", "--profile", "demo", "--only", "digits.n50.*.scratch.*.s1*")
        image.call("fetch", "--profile", "demo", home=home)
        process = image.start(*arguments, home=home)
        deadline = time.monotonic() + 300
        while not list(home.glob("runs/*/log.txt")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        (inside,) = output("pgrep", "-P", str(process.pid)).split()
        os.kill(int(inside), signal.SIGTERM)
        stopped = time.monotonic()
        _, stderr = process.communicate()
        took = time.monotonic() - stopped
        assert process.returncode == 143, (process.returncode, stderr)
        assert "Stopped by SIGTERM" in stderr, stderr
        assert took < 10, f"docker stop kills after 10 s, this took {took:.1f} s"
        status, _, stderr = image.call(*arguments, home=home)
        assert status == 0, stderr
        return f"stopped in {took:.1f} s"


def trial_home_not_mounted(image: Image) -> str:
    """Writable root, nothing mounted: it works, and says before and after how to get at the results."""
    status, _, stderr = image.call("fetch", "--profile", "demo", writable=True)
    assert status == 0, stderr
    first, last = stderr.splitlines()[0], stderr.splitlines()[-1]
    assert "nothing is mounted at /vitrepro" in first, first
    assert ":/vitrepro ./vitrepro-home" in last, last
    shutil.rmtree(image.root / "vitrepro/data")
    return ""


def trial_home_missing(image: Image) -> str:
    """Read-only root, nothing mounted: an error that says what to mount."""
    status, stdout, stderr = image.call("fetch", "--profile", "demo")
    assert (status, stdout) == (1, ""), stdout
    assert "-v vitrepro:/vitrepro" in stderr, stderr
    assert "Traceback" not in stderr, stderr
    return ""


def trial_home_of_root(image: Image) -> str:
    """A bind-mounted folder that belongs to root: an error with both remedies."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        status, stdout, stderr = image.call("all", "--profile", "demo", home=Path(folder))
    assert (status, stdout) == (1, ""), stdout
    for words in ("belongs to uid 0", f"uid {SOMEBODY}", "--user $(id -u):$(id -g)", "named volume"):
        assert words in stderr, (words, stderr)
    assert "Traceback" not in stderr, stderr
    return ""


def trial_demo(image: Image, *arguments: str) -> str:
    """The main job: arbitrary user, read-only root, no network; then the files of the report."""
    with tempfile.TemporaryDirectory() as folder:
        home = own(Path(folder))
        started = time.monotonic()
        status, stdout, stderr = image.call("all", "--profile", "demo", *arguments, home=home)
        took = time.monotonic() - started
        assert status == 0, stderr[-3000:]
        report = home / "report/demo"
        assert stdout.strip() == "/vitrepro/report/demo/report.html", stdout
        assert (report / "report.html").read_text().startswith("<!doctype html>")
        assert (report / "report.pdf").read_bytes().startswith(b"%PDF-")
        results = json.loads((report / "results.json").read_text())
        assert results["environment"]["commit"] == image.commit, results["environment"]
        with (report / "results.csv").open() as file:
            done = [row for row in csv.DictReader(file) if row["status"] == "done"]
        assert done and all(float(row["test_accuracy"]) > 0.2 for row in done if row["test_accuracy"])
        assert (report / "predictions.npz").stat().st_size > 1000
        owners = {path.stat().st_uid for path in home.rglob("*")}
        assert owners == {SOMEBODY}, owners
        return f"{len(done)} cells in {took:.0f} s, user {SOMEBODY}, read-only root, no network"


def own(folder: Path) -> Path:
    os.chown(folder, SOMEBODY, SOMEBODY)
    return folder


TRIALS: tuple[tuple[str, Callable[..., str]], ...] = (
    ("configuration", trial_configuration),
    ("contents", trial_contents),
    ("packages", trial_packages),
    ("--help", trial_help),
    ("check --json", trial_check),
    ("home not mounted", trial_home_not_mounted),
    ("read-only, no home", trial_home_missing),
    ("home of root", trial_home_of_root),
    ("docker stop, resume", trial_stopped_and_resumed),
    ("all --profile demo", trial_demo),
)
"""By name, in the order in which they are made; the last takes arguments for the command."""
