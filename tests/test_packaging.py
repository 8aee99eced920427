"""The wheel holds everything the package reads, and runs away from the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has the wheel installed and borrows the other packages from the one that runs the tests."""
    environment = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    pip("--python", str(environment / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # Only the folder itself: .pth files in it, such as that of an editable vitrepro, are not read again.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: str, *suffixes: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.suffix in suffixes}


def test_the_wheel_holds_templates_profiles_and_catalogue(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    templates = {f"repro/{path}" for path in files_below("report_templates", ".html", ".j2", ".css")}
    facts = files_below("repro", ".toml")
    assert templates
    assert {"repro/profiles/demo.toml", "repro/catalog/claims.toml", "repro/catalog/recipes.toml"} <= facts
    assert templates | facts <= inside
    assert files_below("repro", ".py") <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_wheel_brings_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in inside} == {"repro", "vitrepro"}
    assert not [name for name in inside if "__pycache__" in name]


@pytest.mark.parametrize("what", ["profiles", "models"])
def test_the_installed_command_lists_what_it_ships(elsewhere: Path, tmp_path: Path, what: str) -> None:
    place = run(elsewhere / "bin" / "python", "-c", "import repro; print(repro.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(elsewhere)
    by_module = run(elsewhere / "bin" / "python", "-m", "repro", "list", what, cwd=tmp_path)
    by_script = run(elsewhere / "bin" / "vitrepro", "list", what, cwd=tmp_path)
    assert {"profiles": "demo", "models": "vit_micro"}[what] in by_module
    assert by_script == by_module
    assert not list(tmp_path.iterdir())
