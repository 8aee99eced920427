"""Builds the image without an engine and tries it as people will run it.

buildah builds the Dockerfile on a small Debian (mmdebstrap) that stands in for the CUDA base. Then come the trials of
`_image_trials`. Standard library only, since it runs where nothing is installed. Read `main` first.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from _image_trials import ROOT, TRIALS, Image

WORK = ROOT / "build" / "image-check"
"""Base, container storage and logs; git-ignored, kept between calls for its caches."""
TOOLS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "unshare": "util-linux", "setpriv": "util-linux"}
"""Programs and the Debian packages that have them."""
TAG = "vitrepro-image-check"
CPU_TORCH = next(line for line in (ROOT / "requirements/torch.txt").read_text().splitlines() if line.startswith("torch=="))

BUILDAH = ["buildah", "--root", str(WORK / "storage"), "--runroot", str(WORK / "run"), "--storage-driver", "overlay"]


def say(line: str) -> None:
    print(f"image-check: {line}", file=sys.stderr, flush=True)


def fail(message: str, remedy: str) -> None:
    sys.exit(f"image-check: error: {message}\n  What to do: {remedy}")


def run(*command: str | Path, log: Path | None = None, **options: object) -> str:
    """The command's stdout; what it says on the way goes to `log`. Ends the program where it fails."""
    with log.open("a") if log else contextlib.nullcontext() as file:
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=file, text=True, check=False, **options)
        if file:
            file.write(done.stdout)
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-30:]) if log else ""
        fail(
            f"{shlex.join([*map(str, command)][:6])} … ended with exit code {done.returncode}.\n{tail}",
            f"See {log or 'above'}.",
        )
    return done.stdout


def check_tools() -> None:
    missing = sorted({package for program, package in TOOLS.items() if shutil.which(program) is None})
    if missing:
        fail(f"This machine lacks {', '.join(missing)}.", f"On Debian and Ubuntu: apt-get install {' '.join(missing)}")
    if os.getuid() != 0:
        fail(
            "image-check makes mounts and so needs root.",
            "sudo scripts/image-check, or run it in a virtual machine of your own.",
        )


def pip_settings(scratch: Path) -> list[str]:
    """Buildah's `--volume` options that give pip inside the build what it has here: index, certificates, folders of files."""
    listing = [sys.executable, "-m", "pip", "config", "list"]
    shown = subprocess.run(listing, capture_output=True, text=True, check=False).stdout
    settings = {}
    for line in shown.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    settings |= {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name.startswith("PIP_")}
    kept = {
        name: settings[name] for name in ("cert", "index-url", "extra-index-url", "find-links", "timeout") if settings.get(name)
    }
    volumes = []
    for name in ("cert", "find-links"):
        for word in kept.get(name, "").replace("\\n", " ").split():
            folder = Path(word.removeprefix("file://"))
            folder = folder if folder.is_dir() else folder.parent
            if folder.is_absolute() and folder.is_dir():
                volumes += ["--volume", f"{folder}:{folder}:ro"]
    lines = [f"{name} = {value.replace(chr(92) + 'n', ' ')}" for name, value in kept.items()]
    (scratch / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    return [*volumes, "--volume", f"{scratch / 'pip.conf'}:/etc/pip.conf:ro"]


def make_base() -> None:
    """A minimal Debian with nothing but certificates, as the stand-in for the CUDA base."""
    archive = WORK / "base.tar"
    if not archive.exists():
        say("making the stand-in base (Debian bookworm)")
        partial = archive.with_name("partial.tar")
        run("mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", partial, log=WORK / "base.log")
        partial.rename(archive)
    if subprocess.run([*BUILDAH, "inspect", "--type", "image", f"{TAG}-base"], capture_output=True, check=False).returncode:
        container = run(*BUILDAH, "from", "scratch", log=WORK / "base.log").strip()
        run(*BUILDAH, "add", container, archive, log=WORK / "base.log")
        run(*BUILDAH, "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        run(*BUILDAH, "commit", "--rm", container, f"{TAG}-base", log=WORK / "base.log")


def build(lock: str, scratch: Path) -> float:
    """Builds the image and gives the seconds it took."""
    arguments = {"BASE_IMAGE": f"localhost/{TAG}-base", "LOCK": lock, "COMMIT": commit()}
    if lock == "venv":
        arguments["TORCH"] = CPU_TORCH
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    say(f"building with LOCK={lock} (log: build/image-check/build.log)")
    log = WORK / "build.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    options = ["--isolation", "chroot", "--format", "docker", "--layers", "--tag", TAG]
    run(*BUILDAH, "bud", *options, *words, *pip_settings(scratch), ROOT, log=log)
    return time.monotonic() - started


@cache
def commit() -> str:
    """The commit at the start: another may come while the image is built."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@contextlib.contextmanager
def mounted() -> Iterator[Image]:
    """The image with its files mounted, writable changes thrown away at the end."""
    inspected = json.loads(run(*BUILDAH, "inspect", "--type", "image", TAG))
    container = run(*BUILDAH, "from", "--pull-never", TAG).strip()
    try:
        yield Image(Path(run(*BUILDAH, "mount", container).strip()), inspected["Docker"]["config"], commit=commit())
    finally:
        subprocess.run([*BUILDAH, "rm", container], capture_output=True, check=False)


def layers() -> list[tuple[str, int]]:
    """The step of the Dockerfile that made each layer, and the layer's bytes when unpacked."""
    inspected = json.loads(run(*BUILDAH, "inspect", "--type", "image", TAG))
    steps = [step for step in inspected["OCIv1"]["history"] if not step.get("empty_layer")]
    known = {layer["id"]: layer for layer in json.loads((WORK / "storage/overlay-layers/layers.json").read_text())}
    images = json.loads((WORK / "storage/overlay-images/images.json").read_text())
    top = next(image["layer"] for image in images if image["id"] == inspected["FromImageID"])
    sizes: list[int] = []
    while top:
        sizes.append(known[top].get("diff-size", 0))
        top = known[top].get("parent", "")
    return [(step.get("created_by", ""), size) for step, size in zip(steps, reversed(sizes), strict=True)]


def write_licences(image: Image) -> None:
    """What scripts/_licences.py says inside the image, as docs/licences.md."""
    status, page, complaint = image.call("-c", (ROOT / "scripts/_licences.py").read_text(), command="/opt/vitrepro/bin/python")
    if status:
        fail(f"The licences could not be listed: {complaint}", "Mend scripts/_licences.py.")
    (ROOT / "docs/licences.md").write_text(page)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/image-check", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the real lock with CUDA instead of torch's CPU build")
    parser.add_argument("--lock", choices=("cuda", "cuda128"), default="cuda", help="which real lock, with --full")
    parser.add_argument("--brief", action="store_true", help="four of the demo's cells instead of all")
    parser.add_argument("--licences", action="store_true", help="write docs/licences.md from what is in the image")
    parser.add_argument("--keep", action="store_true", help="keep the storage of the image (build/image-check/storage)")
    options = parser.parse_args()
    check_tools()
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make_base()
        build_s = build(options.lock if options.full else "venv", Path(folder))
    only = ("--only", "digits.n50.*.scratch.*.s1") if options.brief else ()
    rows, num_failed = [], 0
    with mounted() as image:
        if options.licences:
            write_licences(image)
        for name, trial in TRIALS:
            try:
                rows.append((name, "ok", trial(image, *(only if name == TRIALS[-1][0] else ()))))
            except AssertionError as error:
                num_failed += 1
                rows.append((name, "FAILED", str(error)))
            say("  ".join(rows[-1]))
    print(f"\nbuilt in {build_s:.0f} s; {sum(size for _, size in layers()) / 1e6:,.0f} MB unpacked, by layer:")
    for step, size in layers():
        print(f"{size / 1e6:9,.1f} MB  {step[:110]}")
    print()
    for name, state, remark in rows:
        print(f"{state:7s} {name:20s} {remark}")
    if not options.keep:
        subprocess.run([*BUILDAH, "rmi", "--force", TAG], capture_output=True, check=False)
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
