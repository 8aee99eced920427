"""The files that make the container: what can be held to account without a build. `scripts/image-check` builds and tries it."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from repro.catalog import load_catalog

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IMAGES = {image.lock: image for image in load_catalog().images}
DIGEST = r"nvidia/cuda:[\w.-]+-base-[\w.]+@sha256:[0-9a-f]{64}"


def lock_of(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock.txt").read_text(encoding="utf-8")


def pins_of(name: str) -> dict[str, str]:
    """Package and version; of two versions for two Pythons the later line."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock_of(name), re.MULTILINE))


def test_the_dockerfile_is_sound() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_reaches_the_builder() -> None:
    """`.dockerignore` lets nothing through but what it names; each COPY and bind mount from the checkout must be named."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    wanted = [word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    wanted += re.findall(r"type=bind,source=([^,\s]+)", DOCKERFILE)
    assert wanted
    for path in wanted:
        for real in [path.replace("${LOCK}", lock) for lock in IMAGES] if "${LOCK}" in path else [path]:
            assert (ROOT / real).exists(), real
            assert any(Path(real).match(pattern) or real == pattern for pattern in allowed), real


@pytest.mark.parametrize("word", ["VOLUME", "ADD ", "git clone", "curl ", "wget ", "--trusted-host", "USER root", "USER 0"])
def test_the_dockerfile_has_none_of(word: str) -> None:
    instructions = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    assert word not in instructions


def test_the_base_is_pinned_by_digest() -> None:
    assert re.search(rf"^ARG BASE_IMAGE={DIGEST}$", DOCKERFILE, re.MULTILINE)
    assert re.search(rf"base={DIGEST}$", (ROOT / "scripts" / "image").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", ["cuda", "cuda128", "wheel"])
def test_the_locks_of_the_image_are_whole_and_name_no_place(name: str) -> None:
    blocks = lock_of(name).replace("\\\n", "").splitlines()[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock_of(name)
    assert "--index" not in lock_of(name)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_the_torch_that_the_catalogue_says(name: str) -> None:
    pins = pins_of(name)
    assert (pins["torch"], pins["torchvision"]) == (IMAGES[name].torch, IMAGES[name].torchvision)
    major = IMAGES[name].cuda.partition(".")[0]
    assert f"nvidia-cudnn-cu{major}" in pins


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_differs_from_the_virtual_environment_in_torch_alone(name: str) -> None:
    image, venv = pins_of(name), pins_of("venv")
    different = {package for package in image.keys() & venv.keys() if image[package] != venv[package]}
    assert different <= {"torchvision", "setuptools"}
    more = image.keys() - venv.keys()
    assert all(package == "torch" or package.startswith(("nvidia-", "cuda-", "triton")) for package in more), more


def test_every_dependency_is_in_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    for image in IMAGES:
        assert names <= pins_of(image).keys()


def test_the_licence_of_every_package_of_the_image_is_listed() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([0-9]\S*) \| .+ \|$", page, re.MULTILINE))
    assert rows.keys() <= pins_of("cuda").keys()
    for name in pins_of("cuda").keys() - rows.keys():
        assert re.search(rf"^{name}==\S+ ; .*(== '(win32|emscripten)'|!= 'CPython')", lock_of("cuda"), re.MULTILINE), name
    for name, version in rows.items():
        assert f"{name}=={version.partition('+')[0]}" in lock_of("cuda"), name


def test_the_stored_run_of_the_build_is_still_one_of_this_version(tmp_path: Path) -> None:
    """The build renders tests/stored_run; had the fingerprints changed, it would render an empty report and notice nothing."""
    home = tmp_path / "home"
    shutil.copytree(ROOT / "tests" / "stored_run", home)
    command = [sys.executable, "-m", "repro", "plan", "--profile", str(home / "profile.toml"), "--home", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    how = (
        "renew it: vitrepro all --profile tests/stored_run/profile.toml, then copy its manifest, records and predictions there"
    )
    assert [row["status"] for row in rows] == ["done", "done"], how


def test_the_documents_list_every_image() -> None:
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    for image in IMAGES.values():
        row = next((line for line in page.splitlines() if line.startswith("| ") and f"`{image.lock}`" in line), "")
        for fact in (image.torch, image.cuda, image.min_driver, image.generations):
            assert fact in row, (image.lock, fact)
