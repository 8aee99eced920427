"""`all` trains what can be trained while other data are still on their way, against a real server on this machine.

A door of the server opens when a line is said that only a cell that runs can have caused: were the fetch waited for, it would
stay shut, and the data set behind it be given up after the patience of these tests.
"""

import hashlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import data_files
import pytest
import spine
from unruly_server import UnrulyServer

from repro import narration
from repro.arrivals import Arrivals, Coming
from repro.context import Context
from repro.download import TIMEOUT_VARIABLE, Patience
from repro.errors import DataUnavailable, DiskFull, ReproError
from repro.spec import DataFormat
from repro.stages.fetch import fetch
from repro.stages.run import RunSummary, run
from repro.workers import Workers
from repro.workspace import exclusive

NEAR, FAR = DataFormat.CIFAR10_BINARY, DataFormat.CIFAR10_PNG
TEST = data_files.random_part(20, 2, num_classes=10)
TINY = spine.PARTS[spine.PARTS.index("[[model]]") :]
CELLS = """
[[cells]]
dataset = ["near"]
size = [1.0]
model = ["tiny_vit"]
recipe = "plain"
[[cells]]
dataset = ["near"]
size = [1.0]
model = ["tiny_vit"]
init = ["upstream:far@40"]
recipe = "plain"
upstream_recipe = "up"
[[cells]]
dataset = ["far"]
size = [1.0]
model = ["tiny_cnn"]
recipe = "plain"
"""
"""A cell on `near` needs nothing else; one starts from an upstream cell on `far`; one is on `far` itself."""
NUM_CELLS = 4


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shut door is waited for longer than cells take, and not for ever."""
    patience = Patience(connect_s=1, read_s=45, attempts=1, unreached_attempts=1, first_wait_s=0.01, longest_wait_s=0.05)
    monkeypatch.setattr("repro.fetching.surroundings.Patience.from_environment", lambda: patience)


@pytest.fixture
def server() -> Iterator[UnrulyServer]:
    with UnrulyServer() as running:
        yield running


class Study:
    """The study of above in a folder, its data served."""

    def __init__(self, server: UnrulyServer, folder: Path, *, cells: str = CELLS, tells_sizes: bool = True) -> None:
        self.server, self.folder, self.home = server, folder, folder / "home"
        self.contents: dict[DataFormat, dict[str, bytes]] = {}
        text = f'name = "toy"\nseeds = 1\nminiature = true\n{TINY}'
        for seed, (name, kind) in enumerate((("near", NEAR), ("far", FAR))):
            train = data_files.random_part(40, seed, num_classes=10)
            files = data_files.write_distribution(kind, folder / kind.value, train, TEST)
            self.contents[kind] = {file: path.read_bytes() for file, path in files.items()}
            text += f'[[dataset]]\nname = "{name}"\nimage_size = 32\nnum_channels = 3\nnum_classes = 10\n'
            text += "num_train_images = 40\n" * tells_sizes
            text += f'[[dataset.distribution]]\nformat = "{kind.value}"\n'
            for file, content in self.contents[kind].items():
                text += f'[[dataset.distribution.file]]\nhost = "{server.url("").rstrip("/")}"\npath = "{kind.value}/{file}"\n'
                text += f'size_bytes = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
            self.serve(kind)
        self.profile = folder / "toy.toml"
        self.profile.write_text(text + cells)

    def serve(self, kind: DataFormat, **manner: object) -> None:
        for file, content in self.contents[kind].items():
            self.server.serve(f"{kind.value}/{file}", content, **manner)

    def context(self, said: Callable[[str], None] = lambda line: None, *, force: bool = False) -> tuple[Context, list[str]]:
        """A command's surroundings; `said` hears every line."""
        context, lines = spine.make_context(self.profile, self.home, force=force)

        def say(line: str) -> None:
            lines.append(line)
            said(line)

        context.say = say
        return context, lines

    def all(self, context: Context) -> RunSummary:
        with exclusive(context.workspace):
            return narration.fetch_and_run(context)


@pytest.fixture
def study(server: UnrulyServer, tmp_path: Path) -> Study:
    return Study(server, tmp_path)


def opened_by(door: threading.Event, words: str) -> Callable[[str], None]:
    """Opens the door when a line with these words is said."""
    return lambda line: door.set() if words in line else None


def position(lines: list[str], words: str) -> int:
    return next(number for number, line in enumerate(lines) if words in line)


def test_cells_run_while_other_data_come(study: Study, tmp_path: Path) -> None:
    door = threading.Event()
    study.serve(FAR, opened=door)
    context, lines = study.context(opened_by(door, "near.n40.tiny_vit.scratch.plain.s1  done"))
    summary = study.all(context)
    assert summary == RunSummary(num_done=NUM_CELLS, num_failed=0, num_blocked=0, unfetched=()), lines
    assert "1 of them can run already; still to come: far" in lines
    first, came = position(lines, "[1/4] near.n40.tiny_vit.scratch.plain.s1  done"), position(lines, "data far: 40")
    assert position(lines, "data near: 40") < first < came < position(lines, "far.n40.tiny_cnn.scratch.plain.s1  done")
    assert sum("data " in line for line in lines) == 2, "each is told once"
    assert [line.partition("]")[0] for line in lines if line.startswith("[")] == [f"[{k}/4" for k in range(1, NUM_CELLS + 1)]
    # As if all had been fetched before.
    study.home = tmp_path / "other"
    other, _ = study.context()
    fetch(other)
    run(other, seed_done=lambda seed: None)
    assert spine.outcomes(tmp_path / "home") == spine.outcomes(tmp_path / "other")


def test_what_never_comes_costs_its_own_cells(study: Study) -> None:
    door = threading.Event()
    study.serve(FAR, opened=door, status_always=404)
    context, lines = study.context(opened_by(door, "near.n40.tiny_vit.scratch.plain.s1  done"))
    assert study.all(context) == RunSummary(num_done=1, num_failed=0, num_blocked=3, unfetched=("far",))
    assert sum("The data set far cannot be had" in line for line in lines) == 1
    assert sum("cells of far wait for data" in line for line in lines) == 1
    assert position(lines, "scratch.plain.s1  done") < position(lines, "far cannot be had")


def test_what_cannot_be_had_is_told_while_the_rest_is_on_its_way(server: UnrulyServer, tmp_path: Path) -> None:
    at_hand = '[[cells]]\ndataset = ["digits"]\nsize = [20]\nmodel = ["tiny_cnn"]\nrecipe = "plain"\n'
    study, door = Study(server, tmp_path, cells=CELLS + at_hand), threading.Event()
    study.serve(FAR, status_always=404)
    study.serve(NEAR, opened=door)
    context, lines = study.context(opened_by(door, "warning: The data set far cannot be had"))
    assert study.all(context) == RunSummary(num_done=2, num_failed=0, num_blocked=3, unfetched=("far",))
    assert position(lines, "far cannot be had") < position(lines, "data near: 40")
    assert sum("The data set far cannot be had" in line for line in lines) == 1


def test_cells_that_cannot_all_be_listed_wait_for_all_data(server: UnrulyServer, tmp_path: Path) -> None:
    # Its first cell is the one that the second starts from, which nobody knows before `far` is there.
    cells = """
[[cells]]
dataset = ["near"]
size = [40]
model = ["tiny_vit"]
recipe = "plain"
[[cells]]
dataset = ["far"]
size = [1.0]
model = ["tiny_vit"]
init = ["upstream:near@40"]
recipe = "plain"
upstream_recipe = "plain"
"""
    study = Study(server, tmp_path, cells=cells, tells_sizes=False)
    context, lines = study.context()
    context.only = "far*"
    assert study.all(context) == RunSummary(num_done=2, num_failed=0, num_blocked=0, unfetched=()), lines
    assert max(position(lines, "data near: 40"), position(lines, "data far: 40")) < position(lines, "[1/2]")


def test_idle_workers_do_not_wait_with_the_run(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    door, made, idle = threading.Event(), list[Workers](), list[int]()
    study.serve(FAR, opened=door)
    true_wait: Callable[[Arrivals, Coming], None] = Arrivals.wait

    def workers(number: int) -> Workers:
        made.append(Workers(number))
        return made[-1]

    def wait(arrivals: Arrivals, seen: Coming) -> None:
        idle.extend(each.num_workers for each in made)
        if made:
            door.set()
        true_wait(arrivals, seen)

    monkeypatch.setattr("repro.stages.run.Workers", workers)
    monkeypatch.setattr(Arrivals, "wait", wait)
    assert study.all(study.context()[0]).num_done == NUM_CELLS
    assert len(made) == 1
    assert set(idle) == {0}


def test_where_nothing_comes_it_ends_with_the_reason(study: Study) -> None:
    study.serve(NEAR, status_always=404)
    study.serve(FAR, status_always=404)
    context, lines = study.context()
    with pytest.raises(DataUnavailable, match="cannot be had"):
        study.all(context)
    assert sum("cannot be had" in line for line in lines if line.startswith("warning")) == 1, "the other one"
    assert not (study.home / "runs").exists()


def test_what_is_damaged_is_not_used_while_it_is_fetched_anew(study: Study) -> None:
    before, _ = study.context()
    fetch(before)
    images = before.workspace.dataset_dir("far") / "x_train.npy"
    intact = images.read_bytes()
    images.write_bytes(intact[:-100])
    for path in (study.home / "downloads").rglob("*.tgz"):
        path.unlink()
    door = threading.Event()
    study.serve(FAR, opened=door)
    context, lines = study.context(opened_by(door, "near.n40.tiny_vit.scratch.plain.s1  done"))
    assert study.all(context).num_done == NUM_CELLS
    assert not [line for line in lines if "FAILED" in line]
    assert position(lines, "data far: 40") < position(lines, "far.n40.tiny_cnn.scratch.plain.s1  done")
    assert images.read_bytes() == intact


def test_what_is_there_is_not_waited_for_and_with_force_all_is_made_anew_first(study: Study) -> None:
    study.all(study.context()[0])
    asked = len(study.server.requests)
    context, lines = study.context()
    assert study.all(context).num_done == NUM_CELLS
    assert len(study.server.requests) == asked
    assert not [line for line in lines if "can run already" in line]
    context, lines = study.context(force=True)
    assert study.all(context).num_done == NUM_CELLS
    assert max(position(lines, "data near: 40"), position(lines, "data far: 40")) < position(lines, "[1/4]")
    assert not [line for line in lines if "can run already" in line]


def test_what_ends_the_fetch_ends_the_run_and_nothing_finished_is_lost(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    door, full = threading.Event(), DiskFull("No space left.", remedy="Free some.")
    study.serve(FAR, opened=door)
    started = threading.Event()

    def prepare(*arguments: object, **options: object) -> object:
        if started.is_set():
            raise full
        started.set()
        return true_prepare(*arguments, **options)

    from repro.fetching import data

    true_prepare: Callable[..., object] = data.prepare
    monkeypatch.setattr(data, "prepare", prepare)
    # Two cells, so that another is running when the disk is full.
    study.profile.write_text(
        study.profile.read_text().replace('model = ["tiny_vit"]\nrecipe', 'model = ["tiny_vit", "tiny_cnn"]\nrecipe')
    )
    context, _ = study.context(opened_by(door, "scratch.plain.s1  done"))
    with pytest.raises(DiskFull) as raised:
        study.all(context)
    assert raised.value is full
    assert 1 <= len(spine.outcomes(study.home)) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "fetch"]


def test_a_signal_ends_both_at_once(study: Study) -> None:
    study.serve(FAR, hangs=True)
    process = subprocess.Popen(
        spine.command("all", "--profile", study.profile, "--home", study.home, "--device", "cpu"),
        env=spine.environment_of({TIMEOUT_VARIABLE: "60"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    # What is there is run; then it waits.
    while not (study.home / "runs").exists() or not spine.outcomes(study.home):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143, told
    assert "Give the same command again" in told
    assert "Traceback" not in told
    study.serve(FAR)
    before = spine.stamps(study.home)
    again, _ = study.context()
    assert study.all(again).num_done == NUM_CELLS
    assert {cell_id: stamp for cell_id, stamp in spine.stamps(study.home).items() if cell_id in before} == before


def test_arrivals_are_told_until_all_is_over() -> None:
    arrivals, go_on = Arrivals(), threading.Event()

    def work() -> None:
        arrivals.settled("a")
        go_on.wait(10)

    assert arrivals.coming().is_over, "without a fetch nothing is waited for"
    with arrivals.of({"a": "A", "b": "B"}, work=work, stop=go_on.set):
        both = Coming(names={"a": "A", "b": "B"}, is_over=False)
        arrivals.wait(both)
        rest = arrivals.coming()
        assert rest == Coming(names={"b": "B"}, is_over=False)
        go_on.set()
        arrivals.wait(rest)
        assert arrivals.coming() == Coming(names={}, is_over=True)


def test_what_ends_the_fetch_is_raised_to_whoever_asks_what_comes() -> None:
    arrivals, full = Arrivals(), DiskFull("No space left.", remedy="Free some.")

    def work() -> None:
        raise full

    with arrivals.of({"a": "A"}, work=work, stop=lambda: None):
        with pytest.raises(DiskFull) as raised:
            arrivals.wait(Coming(names={"a": "A"}, is_over=False))
        assert raised.value is full
        with pytest.raises(DiskFull):
            arrivals.coming()


def test_leaving_stops_the_fetch() -> None:
    arrivals, stopped, ended = Arrivals(), threading.Event(), threading.Event()

    def work() -> None:
        stopped.wait(10)
        ended.set()

    with pytest.raises(ReproError), arrivals.of({"a": "A"}, work=work, stop=stopped.set):
        raise DiskFull("No space left.", remedy="Free some.")
    assert ended.is_set()
