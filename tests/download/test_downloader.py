"""Several files and callers at once, and how all of it ends."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest
from toy_downloads import CONTENT, PATIENT, QUICK, Remembering, remote
from unruly_server import UnrulyServer

from repro.download import DownloadCancelled, Downloader, DownloadFailed, Patience, RemoteFile, TooSlow, partial
from repro.errors import EnvironmentProblem, Interrupted, UsageError

Fetch = Callable[..., bytes]


def files(server: UnrulyServer, folder: Path, num: int, **manner: object) -> list[tuple[RemoteFile, Path]]:
    """Different files, to be had at once."""
    requests = []
    for number in range(num):
        content = CONTENT + bytes([number])
        name = f"file{number}.bin"
        requests.append((remote(server.serve(name, content, **manner), content=content, name=name), folder / name))
    return requests


def test_files_come_at_once_and_in_order(server: UnrulyServer, display: Remembering, tmp_path: Path) -> None:
    requests = files(server, tmp_path, 4, gate=threading.Barrier(4))
    with Downloader(display=display, patience=PATIENT) as downloader:
        done = downloader.get_all(requests)
    assert [one.path for one in done] == [path for _, path in requests]
    assert [one.path.read_bytes()[-1] for one in done] == [0, 1, 2, 3]


def test_callers_in_several_threads_share_the_places(server: UnrulyServer, display: Remembering, tmp_path: Path) -> None:
    requests = files(server, tmp_path, 8, gate=threading.Barrier(2))
    with (
        Downloader(display=display, patience=PATIENT, max_at_once=2) as downloader,
        ThreadPoolExecutor(8) as callers,
    ):
        done = list(callers.map(lambda request: downloader.get_all([request]), requests))
    assert sorted(one[0].path for one in done) == sorted(path for _, path in requests)


def test_two_callers_may_want_the_same_file(server: UnrulyServer, display: Remembering, destination: Path) -> None:
    request = (remote(server.serve("f", CONTENT)), destination)
    with Downloader(display=display, patience=PATIENT) as downloader:
        first, second = downloader.get_all([request, request])
    assert first == second
    assert len(server.requests) == 1


def test_files_of_one_name_have_labels_of_their_own(server: UnrulyServer, display: Remembering, tmp_path: Path) -> None:
    file = remote(server.serve("f", CONTENT, gate=threading.Barrier(3)), name="train.parquet")
    places = [tmp_path / name / "train.parquet" for name in ("a", "b", "c/b")]
    with Downloader(display=display, patience=PATIENT) as downloader:
        downloader.get_all([(file, place) for place in places])
    assert len({name for event, name in display.events if event == "started"}) == 3


def test_nothing_asked_is_nothing_done(display: Remembering) -> None:
    with Downloader(display=display) as downloader:
        assert downloader.get_all([]) == []


def test_a_failure_stops_the_others_and_they_resume(server: UnrulyServer, display: Remembering, tmp_path: Path) -> None:
    gate = threading.Barrier(2)
    slow = (remote(server.serve("slow", CONTENT, hang_after=1000)), tmp_path / "slow")
    bad = (remote(server.serve("bad", status_always=404, gate=gate)), tmp_path / "bad")
    opener = threading.Thread(target=lambda: (display.moved.wait(60), gate.wait(60)))
    opener.start()
    with Downloader(display=display, patience=PATIENT) as downloader:
        with pytest.raises(DownloadFailed, match="404 Not Found"):
            downloader.get_all([slow, bad])
        opener.join()
        assert [(path.name, path.stat().st_size) for path in tmp_path.glob("*.part")] == [("slow.part", 1000)]
        server.serve("slow", CONTENT)
        downloader.get_all([slow])
    assert server.ranges("slow") == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    "manner", [{"hang_after": 1000}, {"hangs": True}, {"status_always": 503, "retry_after": "50"}], ids=str
)
def test_a_signal_ends_the_download_at_once_and_it_resumes(
    server: UnrulyServer, fetch: Fetch, destination: Path, manner: dict[str, object]
) -> None:
    """Without the stop each of these would wait for longer than the test may take."""
    file = remote(server.serve("f", CONTENT, **manner))
    patience = Patience(read_s=10_000.0, first_wait_s=10_000.0, longest_wait_s=10_000.0)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted("Stopped.", remedy="Again.")

    before = signal.signal(signal.SIGUSR1, interrupt)
    waiting = threading.Thread(target=lambda: (_until(lambda: server.requests), os.kill(os.getpid(), signal.SIGUSR1)))
    try:
        waiting.start()
        with pytest.raises(Interrupted):
            fetch(file, patience)
    finally:
        waiting.join()
        signal.signal(signal.SIGUSR1, before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download-")]
    left = sum(path.stat().st_size for path in destination.parent.glob("*.part"))
    server.serve("f", CONTENT)
    assert fetch(file) == CONTENT
    assert server.ranges("f")[1:] == [f"bytes={left}-" if left else None]


def test_closing_ends_the_calls_of_other_threads(server: UnrulyServer, display: Remembering, tmp_path: Path) -> None:
    requests = files(server, tmp_path, 3, hang_after=1000)
    with ThreadPoolExecutor(3) as callers:
        with Downloader(display=display, patience=PATIENT, max_at_once=2) as downloader:
            calls = [callers.submit(downloader.get_all, [request]) for request in requests]
            assert display.moved.wait(60)
        for call in calls:
            with pytest.raises(DownloadCancelled):
                call.result()
    with pytest.raises(DownloadCancelled):
        downloader.get_all(requests)


def test_a_slow_host_is_left_only_by_who_has_a_choice(
    server: UnrulyServer, fetch: Fetch, display: Remembering, destination: Path
) -> None:
    file = remote(server.serve("f", CONTENT, trickle=(10_000, 0.03)))
    with Downloader(display=display, patience=QUICK) as downloader:
        with pytest.raises(TooSlow, match=r"^host A sends only .* kB/s, less than 1.0 MB/s\.$"):
            downloader.get_all([(file, destination)], may_be_slow=False)
        assert partial.part_path(destination).stat().st_size > 0
        downloader.get_all([(file, destination)])
    assert server.ranges("f")[1] is not None
    assert destination.read_bytes() == CONTENT


def test_a_silent_host_is_a_slow_one(server: UnrulyServer, display: Remembering, destination: Path) -> None:
    with (
        Downloader(display=display, patience=Patience(read_s=10_000.0, slow_after_s=0.2)) as downloader,
        pytest.raises(TooSlow),
    ):
        downloader.get_all([(remote(server.serve("f", CONTENT, hangs=True)), destination)], may_be_slow=False)


@pytest.mark.parametrize(("variable", "value"), [("SSL_CERT_FILE", "/no/such/file"), ("ALL_PROXY", "nonsense://x")])
def test_an_environment_that_cannot_be_used_is_told(
    server: UnrulyServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(EnvironmentProblem, match="as the environment asks"):
        fetch(remote(server.serve("f", CONTENT)))


def test_patience_follows_the_environment() -> None:
    assert Patience.from_environment({}) == Patience()
    assert Patience.from_environment({"VITREPRO_NETWORK_TIMEOUT_S": " 2.5 "}) == Patience(connect_s=2.5, read_s=2.5)
    assert Patience.from_environment({"VITREPRO_NETWORK_TIMEOUT_S": "120"}) == Patience(connect_s=10.0, read_s=120.0)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast", "1e9"])
def test_a_bad_time_limit_is_told(value: str) -> None:
    with pytest.raises(UsageError, match=f"VITREPRO_NETWORK_TIMEOUT_S is '{value}'") as caught:
        Patience.from_environment({"VITREPRO_NETWORK_TIMEOUT_S": value})
    assert "VITREPRO_NETWORK_TIMEOUT_S=60" in caught.value.remedy


@pytest.mark.parametrize("kind", [DownloadFailed, TooSlow, DownloadCancelled])
def test_failures_survive_pickling(kind: type[DownloadFailed]) -> None:
    again = pickle.loads(pickle.dumps(kind("what", remedy="how")))
    assert (type(again), again.message, again.remedy) == (kind, "what", "how")


def test_importing_the_package_is_light() -> None:
    code = "import sys, repro.download; print([name for name in ('torch', 'numpy', 'repro.catalog') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def _until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)
    pause.wait(0.1)  # into the wait that follows the request
