"""The command line from outside: its surface, what goes to stdout, exit codes, and no traceback for a user's mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spine
import typer

from repro.catalog import shipped_profiles
from repro.cli import app
from repro.workspace import HOME_VARIABLE

COMMON = ["--device", "--home", "--json", "--profile", "--verbose"]
SURFACE = {
    "all": [*COMMON, "--force", "--from", "--offline", "--only"],
    "check": [*COMMON, "--only"],
    "fetch": [*COMMON, "--force", "--from", "--offline", "--only"],
    "plan": [*COMMON, "--only"],
    "run": [*COMMON, "--force", "--only"],
    "report": [*COMMON, "--pdf"],
    "bench": [*COMMON, "--only", "--seconds"],
    "verify": ["--home", "--json", "--profile", "--verbose", "folder"],
    "list": ["--json", "what"],
}
"""Commands and options. A new one is a decision: it comes with a line here, in the README and in the CHANGELOG."""

CELL = "dots.n12.tiny_vit.scratch.plain.s1"


def words_of(parameter: Any) -> list[str]:
    return parameter.opts if parameter.param_type_name == "option" else [str(parameter.name)]


def test_commands_and_options_are_those_that_were_decided() -> None:
    group = typer.main.get_command(app)
    found = {
        name: sorted(word for parameter in command.params for word in words_of(parameter))
        for name, command in group.commands.items()
    }
    assert found == {name: sorted(options) for name, options in SURFACE.items()}
    assert not [option for parameter in group.params for option in parameter.opts]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Profile and home of the finished study, fetched for its place; tests leave its cells as they are."""
    profile, home = spine.copy_of_finished(tmp_path_factory.mktemp("cli"))
    spine.fetch(spine.make_context(profile, home)[0])
    before = spine.stamps(home)
    yield profile, home
    assert spine.stamps(home) == before


def options(study: tuple[Path, Path]) -> list[str | Path]:
    return ["--profile", study[0], "--home", study[1], "--device", "cpu"]


def test_help_is_the_same_however_it_is_called() -> None:
    by_module = spine.vitrepro("--help")
    by_script = subprocess.run(
        [sys.executable, "-c", "import sys; from repro.cli import main; sys.argv[0] = 'vitrepro'; main()", "--help"],
        capture_output=True,
        text=True,
        env=spine.environment_of(),
        check=False,
    )
    assert by_module.returncode == by_script.returncode == 0
    assert by_module.stdout == by_script.stdout
    assert by_module.stderr == ""
    assert all(f"\n  {name} " in by_module.stdout for name in SURFACE)
    assert "Exit codes: 0 done, 1 error" in by_module.stdout


@pytest.mark.parametrize("arguments", [[], *([name, "--help"] for name in SURFACE)], ids=lambda words: " ".join(words))
def test_every_command_has_help(arguments: list[str]) -> None:
    done = spine.vitrepro(*arguments)
    assert done.returncode == (0 if arguments else 2)
    assert "Usage: vitrepro" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# stdout


@pytest.mark.parametrize("what", ["models", "datasets", "profiles", "claims"])
def test_lists_are_json_and_nothing_else(what: str) -> None:
    done = spine.vitrepro("list", what, "--json")
    rows = json.loads(done.stdout)
    assert rows
    assert all(row.keys() == {"name", "description"} and row["description"] for row in rows)
    plain = spine.vitrepro("list", what).stdout.splitlines()
    assert [line.split()[0] for line in plain] == [row["name"] for row in rows]
    assert done.stderr == ""


def test_plan_is_one_line_a_cell_or_json(study: tuple[Path, Path]) -> None:
    done = spine.vitrepro("plan", *options(study), "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(rows) == spine.NUM_CELLS
    assert {row["status"] for row in rows} == {"done"}
    assert all(row.keys() == {"id", "status", "fingerprint", "reason"} for row in rows)
    plain = spine.vitrepro("plan", *options(study), "--only", "*marks*").stdout.splitlines()
    assert [line.split() for line in plain] == [["done", row["id"]] for row in rows if "marks" in row["id"]]


def test_check_is_json_and_nothing_else(study: tuple[Path, Path]) -> None:
    done = spine.vitrepro("check", *options(study), "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert {line["level"] for line in found["lines"]} <= {"ok", "warning"}
    assert found["forecast"]["num_done"] == spine.NUM_CELLS
    assert "forecast: 0 of 14 cells to run" in done.stderr


def test_fetch_and_run_are_json_and_nothing_else(study: tuple[Path, Path]) -> None:
    fetched = spine.vitrepro("fetch", *options(study), "--json")
    assert [row["name"] for row in json.loads(fetched.stdout)] == ["dots", "marks"]
    ran = spine.vitrepro("run", *options(study), "--json")
    told = json.loads(ran.stdout)
    assert (told.pop("busy_share"), told.pop("wall_s")) == (None, 0.0), "all is done already"
    assert told == {"num_done": spine.NUM_CELLS, "num_failed": 0, "num_blocked": 0, "unfetched": []}
    assert ran.returncode == 0
    assert spine.vitrepro("run", *options(study)).stdout == ""


def test_bench_is_json_or_a_table_and_nothing_else(study: tuple[Path, Path], tmp_path: Path) -> None:
    chosen = ["--profile", study[0], "--home", tmp_path, "--device", "cpu", "--only", CELL, "--seconds", "0.02"]
    # Nothing is fetched in this home, but the images' shape is not known beforehand.
    done = spine.vitrepro("bench", *chosen)
    assert (done.returncode, done.stdout) == (2, "")
    assert "vitrepro fetch" in done.stderr
    assert spine.vitrepro("fetch", *chosen[:6]).returncode == 0
    done = spine.vitrepro("bench", *chosen, "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["rows"]
    assert row["case"]["cell"].startswith("dots.n12.tiny_vit")
    assert "[1/1] tiny_vit plain 8 px: " in done.stderr
    assert json.loads((tmp_path / "bench" / "tiny" / "cpu.json").read_text())["rows"] == [row]
    table = spine.vitrepro("bench", *chosen).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["model", "tiny_vit"]


def test_a_case_that_cannot_be_measured_makes_the_exit_code_3(tmp_path: Path) -> None:
    text = spine.STUDY.replace("width = 8\n", "width = 100_000_000\n")
    profile = spine.write_study(tmp_path / "study", text)
    chosen = ["--profile", profile, "--home", tmp_path / "home", "--device", "cpu"]
    assert spine.vitrepro("fetch", *chosen).returncode == 0
    done = spine.vitrepro("bench", *chosen, "--only", CELL, "--seconds", "0.02")
    assert done.returncode == 3, done.stderr
    assert "tiny_vit plain: not measured. " in done.stdout
    assert "Traceback" not in done.stderr


def test_the_last_line_of_all_is_the_reports_path(study: tuple[Path, Path]) -> None:
    done = spine.vitrepro("all", *options(study))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{study[1] / 'report' / 'tiny' / 'report.html'}\n"
    assert Path(done.stdout.strip()).is_file()
    for word in ("device", "forecast:", "data dots:", f"cells: {spine.NUM_CELLS} done, 0 failed"):
        assert word in done.stderr


def test_the_report_tells_where_it_is(study: tuple[Path, Path]) -> None:
    done = spine.vitrepro("report", *options(study), "--no-pdf", "--json")
    paths = json.loads(done.stdout)
    assert all(Path(path).is_file() for name, path in paths.items() if name != "pdf")


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nosuch"], 2, "nosuch"),
        (["run", "--nosuch"], 2, "--nosuch"),
        (["run", "--device", "tpu"], 2, "'auto', 'cuda', 'cpu'"),
        (["run", "--profile"], 2, "--profile"),
        (["list", "nosuch"], 2, "'models', 'datasets', 'profiles', 'claims'"),
        (["list"], 2, "what"),
        (["run", "extra"], 2, "extra"),
        (["plan", "--device", "cpu", "--only", "nosuch*"], 2, "--only 'nosuch*' matches no cell of profile 'demo'"),
        (["plan", "--profile", "nosuch"], 1, "There is no profile 'nosuch'"),
        (["all", "--profile", "nosuch.toml"], 1, "There is no profile 'nosuch.toml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_has_its_exit_code_and_no_traceback(arguments: list[str], code: int, told: str, tmp_path: Path) -> None:
    done = spine.vitrepro(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is made for a command that cannot be carried out"


def test_an_error_comes_with_what_to_do() -> None:
    lines = spine.vitrepro("plan", "--profile", "nosuch").stderr.splitlines()
    assert lines[0] == "error: There is no profile 'nosuch'."
    assert lines[1].startswith("  what to do: Shipped profiles are: ")
    assert all(name in lines[1] for name in shipped_profiles())


@pytest.mark.parametrize("text", ["name = ", 'name = "x"', 'name = "x"\n[[cells]]\ndataset = ["y"]\n'])
def test_a_bad_profile_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    done = spine.vitrepro("plan", "--profile", tmp_path / "bad.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "bad.toml") in done.stderr
    assert "what to do: Correct" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["all", "fetch", "run"])
def test_a_home_that_cannot_be_written_is_told_with_both_remedies(name: str, study: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = spine.vitrepro(name, "--profile", study[0], "--home", tmp_path / "home", "--device", "cpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: The home {tmp_path / 'home'} cannot be written: it is a file, not a folder" in done.stderr
    assert "--home DIR" in done.stderr
    assert "--user $(id -u):$(id -g)" in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_on_a_file_as_home_finds_nothing_done(study: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = spine.vitrepro("plan", "--profile", study[0], "--home", tmp_path / "home", "--device", "cpu")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"unfetched"}


def test_the_home_may_come_from_the_environment(study: tuple[Path, Path]) -> None:
    done = spine.vitrepro("plan", "--profile", study[0], environment={HOME_VARIABLE: str(study[1])})
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"done"}


def test_a_run_without_data_is_unfinished_and_says_what_to_do(tmp_path: Path) -> None:
    only_fractions = spine.STUDY.replace("size = [12, 1.0]", "size = [1.0]").replace("check_at = [12]", "check_at = [1.0]")
    profile = spine.write_study(tmp_path, only_fractions)
    done = spine.vitrepro("run", "--profile", profile, "--home", tmp_path / "home", "--device", "cpu")
    assert done.returncode == 3
    assert "wait for data: run `vitrepro fetch` first" in done.stderr


def test_the_chosen_profile_is_said_aloud() -> None:
    done = spine.vitrepro("plan", "--device", "cpu", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert done.stderr == "profile demo: asked for with --device cpu\n"


# Pipes, disks and signals


@pytest.fixture
def many_cells(tmp_path: Path) -> list[str]:
    """A plan whose list is longer than a pipe holds."""
    profile = spine.write_study(tmp_path, spine.STUDY.replace("seeds = 2", "seeds = 1000").replace("[12, 1.0]", "[12]"))
    return spine.command("plan", "--profile", profile, "--home", tmp_path / "home", "--device", "cpu")


def test_a_reader_that_goes_away_is_no_error(many_cells: list[str]) -> None:
    process = subprocess.Popen(
        many_cells, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=spine.environment_of()
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline().startswith("unfetched")
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    process.stderr.close()
    assert errors == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_told(many_cells: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            many_cells, stdout=full, stderr=subprocess.PIPE, text=True, env=spine.environment_of(), check=False
        )
    assert done.returncode == 1
    assert "No space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr


WAITING = """
import signal, sys, time
from repro import cli
def wait(*arguments, **options):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        {cleanup}
cli.app = wait
cli.main()
"""


def interrupted(number: int, *, cleanup: str = "pass", before: Callable[[], None] | None = None) -> tuple[int, str]:
    """Exit code and stderr of a command that gets the signal while it works."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(cleanup=cleanup)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=spine.environment_of(),
        preexec_fn=before,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    errors = process.stderr.read()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    return process.returncode, errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_with_its_code_and_the_remedy(number: signal.Signals, code: int) -> None:
    found, errors = interrupted(number)
    assert found == code
    assert errors.splitlines() == [
        f"error: Stopped by {number.name}.",
        "  what to do: Give the same command again: finished cells are kept, the others go on from their last state.",
    ]


def test_a_second_signal_does_not_disturb_the_ending() -> None:
    cleanup = "signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGTERM); sys.stderr.write('ended\\n')"
    code, errors = interrupted(signal.SIGINT, cleanup=cleanup)
    assert code == 130
    assert errors.startswith("ended\nerror: Stopped by SIGINT.")


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(cleanup="pass")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=spine.environment_of(),
        preexec_fn=nohup,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    errors = process.stderr.read()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == 143
    assert "Stopped by SIGTERM" in errors


# A GPU that only NVML sees

STUB = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "stub error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "580.65.06", length); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)1; return 0; }
int nvmlDeviceGetName(void *handle, char *text, unsigned length) { strncpy(text, "NVIDIA Stub", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    memory->total = 80ULL << 30; memory->free = 79ULL << 30; memory->used = 1ULL << 30; return 0;
}
"""


@pytest.fixture(scope="module")
def stub_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a driver library that reports one GPU, and no GPU that torch could use."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (gcc) for a stand-in of the NVIDIA driver library")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "stub.c").write_text(STUB)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", folder / "stub.c"], check=True)
    return {"LD_LIBRARY_PATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}


def test_a_gpu_that_torch_cannot_use_is_shown_and_the_cpu_taken_aloud(
    stub_environment: dict[str, str], study: tuple[Path, Path]
) -> None:
    arguments = ["check", "--profile", study[0], "--home", study[1], "--json", "--verbose"]
    done = spine.vitrepro(*arguments, environment=stub_environment)
    assert done.returncode == 0, done.stderr
    lines = {line["name"]: line for line in json.loads(done.stdout)["lines"]}
    assert lines["nvml"]["message"] == "driver 580.65.06: NVIDIA Stub (80 GiB, 79 free)"
    assert lines["torch"]["level"] == "warning"
    assert "--device cpu" in lines["torch"]["remedy"]
    assert lines["device"]["message"].startswith("cpu: no usable GPU: NVIDIA Stub is there, but torch")
    assert "ok       device  cpu: no usable GPU: NVIDIA Stub is there, but torch" in done.stderr
    assert "warning  torch" in done.stderr


def test_the_automatic_profile_says_why_it_is_not_that_of_the_gpu(stub_environment: dict[str, str]) -> None:
    done = spine.vitrepro("plan", environment=stub_environment)
    assert done.returncode == 0
    assert done.stderr.startswith("profile demo: no usable GPU: NVIDIA Stub is there, but torch")


@pytest.mark.parametrize("name", ["check", "run", "all"])
def test_cuda_asked_for_in_vain_is_an_error_with_a_remedy(
    name: str, stub_environment: dict[str, str], study: tuple[Path, Path], tmp_path: Path
) -> None:
    profile = spine.write_study(tmp_path)
    home = tmp_path / "home"
    spine.fetch(spine.make_context(profile, home)[0])
    done = spine.vitrepro(name, "--profile", profile, "--home", home, "--device", "cuda", environment=stub_environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--device cuda: no usable GPU (NVIDIA Stub is there, but torch" in done.stderr
    assert "Run with --device cpu" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "runs").exists()


def test_the_environment_of_these_tests_is_this_checkout() -> None:
    code = "import repro; print(repro.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=os.sep, env=spine.environment_of(), check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(spine.ROOT)
