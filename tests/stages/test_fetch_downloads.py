"""Stage `fetch` against a real server on this machine: mirrors, what is published, what is recorded, ways to do without.

The data set is CIFAR-10 in its published layouts with a few random images; it goes through the code that fetches the real one.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import data_files
import pytest
import spine
from unruly_server import UnrulyServer

from repro.context import Context
from repro.datasets.arrays import part_sha256
from repro.download import TIMEOUT_VARIABLE, Patience
from repro.errors import CorruptFile, DiskFull, UsageError
from repro.spec import DataFormat
from repro.stages.fetch import FetchSummary, fetch
from repro.workspace import Workspace

TRAIN = data_files.random_part(40, 1, num_classes=10)
TEST = data_files.random_part(20, 2, num_classes=10)
OTHER = data_files.random_part(40, 3, num_classes=10)
BINARY, PARQUET, PNG = DataFormat.CIFAR10_BINARY, DataFormat.CIFAR10_PARQUET, DataFormat.CIFAR10_PNG
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits: the servers here answer at once or not at all."""
    patience = Patience(connect_s=1, read_s=0.5, attempts=3, first_wait_s=0.01, longest_wait_s=0.05)
    monkeypatch.setattr("repro.fetching.surroundings.Patience.from_environment", lambda: patience)


@pytest.fixture
def server() -> Iterator[UnrulyServer]:
    with UnrulyServer() as running:
        yield running


def contents_of(data_format: DataFormat, folder: Path, train: data_files.Part = TRAIN) -> dict[str, bytes]:
    """Bytes of a distribution's files, by name, its rows in an order of its own."""
    files = data_files.write_distribution(data_format, folder / data_format.value, data_files.shuffled(train, 9), TEST)
    return {name: path.read_bytes() for name, path in files.items()}


def distribution_text(server: UnrulyServer, data_format: DataFormat, files: dict[str, bytes], *, pinned: bool) -> str:
    text = f'[[dataset.distribution]]\nformat = "{data_format.value}"\n'
    for name, content in files.items():
        text += f'[[dataset.distribution.file]]\nhost = "{server.url("").rstrip("/")}"\npath = "{data_format.value}/{name}"\n'
        if pinned:
            text += f'size_bytes = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    return text


def serve_all(server: UnrulyServer, data_format: DataFormat, files: dict[str, bytes], **manner: object) -> None:
    for name, content in files.items():
        server.serve(f"{data_format.value}/{name}", content, **manner)


def write_profile(folder: Path, distributions: str, *, facts: str = "") -> Path:
    text = f"""
name = "toy"
seeds = 1
[[dataset]]
name = "toy10"
image_size = 32
num_channels = 3
num_classes = 10
num_train_images = 40
{facts}
{distributions}
[[cells]]
dataset = ["toy10"]
size = [1.0]
model = ["vit_cifar"]
recipe = "cifar-quick"
"""
    path = folder / "toy.toml"
    path.write_text(text)
    return path


def context_of(
    profile: Path, home: Path, *, source_dir: Path | None = None, offline: bool = False
) -> tuple[Context, list[str]]:
    context, lines = spine.make_context(profile, home)
    context.source_dir, context.offline = source_dir, offline
    return context, lines


def fetched(profile: Path, home: Path, **options: object) -> tuple[FetchSummary, list[str]]:
    context, lines = context_of(profile, home, **options)  # type: ignore[arg-type]
    return fetch(context), lines


def told(summary: FetchSummary) -> str:
    assert not summary.fetched
    [problem] = summary.problems.values()
    return f"{problem.message}\n{problem.remedy}"


@pytest.fixture
def pinned(server: UnrulyServer, tmp_path: Path) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """A profile of two distributions, both with published digests, and the bytes of each; both served well."""
    binary, parquet = contents_of(BINARY, tmp_path), contents_of(PARQUET, tmp_path)
    serve_all(server, BINARY, binary)
    serve_all(server, PARQUET, parquet)
    text = distribution_text(server, BINARY, binary, pinned=True) + distribution_text(server, PARQUET, parquet, pinned=True)
    return write_profile(tmp_path, text, facts=f'train_sha256 = "{part_sha256(TRAIN)}"'), binary, parquet


Pinned = tuple[Path, dict[str, bytes], dict[str, bytes]]


def test_from_an_empty_home_and_then_never_again(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, _ = pinned
    summary, _ = fetched(profile, tmp_path / "home")
    assert [(row.num_train, row.num_test) for row in summary.fetched] == [(40, 20)]
    manifest = json.loads((tmp_path / "home" / "data" / "toy10" / "manifest.json").read_text())
    assert manifest["train_sha256"] == part_sha256(TRAIN)
    assert [entry["sha256"] for entry in manifest["made_from"]] == [hashlib.sha256(raw).hexdigest() for raw in binary.values()]
    assert manifest["made_from"][0]["url"].startswith(server.url(""))
    assert len(server.requests) == 1, "the mirror was not needed"
    fetched(profile, tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "data")
    assert fetched(profile, tmp_path / "home")[0].fetched == summary.fetched
    assert len(server.requests) == 1, "the download is kept and held to its digest, not fetched twice"


def test_a_damaged_download_is_fetched_anew(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, _ = pinned
    first, _ = fetched(profile, tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "data")
    [path] = (tmp_path / "home" / "downloads").rglob("*.tar.gz")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert fetched(profile, tmp_path / "home")[0].fetched == first.fetched
    assert path.read_bytes() == next(iter(binary.values()))
    assert len(server.requests) == 2


BAD_MANNERS: dict[str, dict[str, object]] = {
    "forbidden": {"status_always": 403},
    "not found": {"status_always": 404},
    "unavailable": {"status_always": 503},
    "a web page": {"content": HTML, "content_type": "text/html"},
    "wrong length": {"stated_length": 10},
    "wrong bytes": {"swapped": True},
    "hangs": {"hangs": True},
    "breaks off and ignores Range": {"drop_after": 1000, "ignores_range": True},
}


def misbehave(server: UnrulyServer, data_format: DataFormat, files: dict[str, bytes], manner: dict[str, object]) -> None:
    for name, content in files.items():
        changed = dict(manner)
        body = changed.pop("content", content)
        if changed.pop("swapped", False):
            body = content[::-1]
        server.serve(f"{data_format.value}/{name}", body, **changed)


@pytest.mark.parametrize("manner", BAD_MANNERS.values(), ids=BAD_MANNERS)
def test_a_host_that_misbehaves_is_left_for_the_next(
    server: UnrulyServer, pinned: Pinned, tmp_path: Path, manner: dict[str, object]
) -> None:
    profile, binary, _ = pinned
    expected = fetched(profile, tmp_path / "good")[0].fetched
    misbehave(server, BINARY, binary, manner)
    summary, lines = fetched(profile, tmp_path / "home")
    assert summary.fetched == expected, "the same content from whatever source"
    assert any("cifar-10-binary.tar.gz" in line and line.startswith("warning") for line in lines)
    assert not list((tmp_path / "home" / "downloads").rglob("cifar-10-binary.tar.gz"))


@pytest.mark.parametrize("manner", BAD_MANNERS.values(), ids=BAD_MANNERS)
def test_where_every_host_misbehaves_one_message_says_so(
    server: UnrulyServer, pinned: Pinned, tmp_path: Path, manner: dict[str, object]
) -> None:
    profile, binary, parquet = pinned
    misbehave(server, BINARY, binary, manner)
    misbehave(server, PARQUET, parquet, manner)
    message = told(fetched(profile, tmp_path / "home")[0])
    assert "The data set toy10 cannot be had" in message
    assert "cifar-10-binary.tar.gz" in message
    assert ".parquet" in message
    assert "--from DIR" in message
    assert not (tmp_path / "home" / "data" / "toy10").exists()
    # The hosts come to their senses: the same command ends well.
    serve_all(server, BINARY, binary)
    assert fetched(profile, tmp_path / "home")[0].fetched


def test_a_host_that_drops_the_connection_again_and_again_is_enough(
    server: UnrulyServer, pinned: Pinned, tmp_path: Path
) -> None:
    profile, binary, _ = pinned
    [content] = binary.values()
    serve_all(server, BINARY, binary, drop_after=len(content) // 8)
    assert fetched(profile, tmp_path / "home")[0].fetched
    ranges = server.ranges("cifar10-binary/cifar-10-binary.tar.gz")
    assert len(ranges) >= 8
    assert all(ranges[1:]), "each attempt goes on where the last one broke off"


def test_nothing_listens(pinned: Pinned, server: UnrulyServer, tmp_path: Path) -> None:
    profile, *_ = pinned
    text = profile.read_text().replace(server.url("").rstrip("/"), "http://127.0.0.1:9")
    profile.write_text(text)
    message = told(fetched(profile, tmp_path / "home")[0])
    assert "127.0.0.1" in message
    assert "Without a network: --profile demo" in message


def test_other_images_than_published_are_refused_and_the_next_source_taken(server: UnrulyServer, tmp_path: Path) -> None:
    wrong, right = contents_of(PNG, tmp_path, OTHER), contents_of(BINARY, tmp_path)
    serve_all(server, PNG, wrong)
    serve_all(server, BINARY, right)
    text = distribution_text(server, PNG, wrong, pinned=False) + distribution_text(server, BINARY, right, pinned=True)
    profile = write_profile(tmp_path, text, facts=f'train_sha256 = "{part_sha256(TRAIN)}"')
    summary, lines = fetched(profile, tmp_path / "home")
    assert summary.fetched
    assert any("train_sha256 is" in line for line in lines)
    lock = json.loads((tmp_path / "home" / "downloads" / "lock.json").read_text())
    assert not lock["files"], "what proved wrong is not recorded"


def test_a_first_download_is_recorded_and_later_ones_held_to_it(server: UnrulyServer, tmp_path: Path) -> None:
    right = contents_of(BINARY, tmp_path)
    serve_all(server, BINARY, right)
    profile = write_profile(tmp_path, distribution_text(server, BINARY, right, pinned=False))
    first, _ = fetched(profile, tmp_path / "home")
    lock = json.loads((tmp_path / "home" / "downloads" / "lock.json").read_text())
    [entry] = lock["files"].values()
    [content] = right.values()
    assert (entry["sha256"], entry["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    [images] = lock["contents"].values()
    assert (images["train_sha256"], images["test_sha256"]) == (part_sha256(TRAIN), part_sha256(TEST))
    # Another file of the same name is not taken any more; the recorded one is.
    shutil.rmtree(tmp_path / "home" / "data")
    next((tmp_path / "home" / "downloads").rglob("*.tar.gz")).unlink()
    serve_all(server, BINARY, contents_of(BINARY, tmp_path / "other", OTHER))
    assert "cannot be had" in told(fetched(profile, tmp_path / "home")[0])
    serve_all(server, BINARY, right)
    assert fetched(profile, tmp_path / "home")[0].fetched == first.fetched


def test_recorded_images_hold_every_other_source(server: UnrulyServer, tmp_path: Path) -> None:
    right = contents_of(BINARY, tmp_path)
    serve_all(server, BINARY, right)
    profile = write_profile(tmp_path, distribution_text(server, BINARY, right, pinned=False))
    fetched(profile, tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "data")
    next((tmp_path / "home" / "downloads").rglob("*.tar.gz")).unlink()
    folder = tmp_path / "mine"
    data_files.write_tree(folder, data_files.members_of(BINARY, OTHER, TEST))
    message = told(fetched(profile, tmp_path / "home", source_dir=folder)[0])
    assert "are not those of its first download" in message
    assert "lock.json" in message


def test_a_broken_lock_is_not_forgotten(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, *_ = pinned
    (tmp_path / "home" / "downloads").mkdir(parents=True)
    (tmp_path / "home" / "downloads" / "lock.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"lock\.json"):
        fetched(profile, tmp_path / "home")


# Without the network


def test_offline_says_what_is_missing_and_where_to_put_it(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, parquet = pinned
    message = told(fetched(profile, tmp_path / "home", offline=True)[0])
    [(name, content)] = binary.items()
    assert server.url(f"cifar10-binary/{name}") in message
    assert f"{len(content):,} bytes" in message
    assert hashlib.sha256(content).hexdigest() in message
    assert "--from DIR" in message
    assert all(name in message for name in parquet)
    assert not server.requests
    # Put where the message says, it is found.
    place = Path(next(line for line in message.splitlines() if line.strip().startswith("as ")).strip().removeprefix("as "))
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert fetched(profile, tmp_path / "home", offline=True)[0].fetched
    assert not server.requests


@pytest.mark.parametrize("layout", ["flat", "by data set", "as on the host", "unpacked", "bare files", "parquet"])
def test_files_already_there_are_taken(server: UnrulyServer, pinned: Pinned, tmp_path: Path, layout: str) -> None:
    profile, binary, parquet = pinned
    if layout in ("unpacked", "bare files"):
        # The published digests of the official archive's members hold an unpacked folder, which these images are not.
        profile.write_text("\n".join(line for line in profile.read_text().splitlines() if not line.startswith("sha256")))
    folder = tmp_path / "mine"
    files = parquet if layout == "parquet" else binary
    place = {"by data set": folder / "toy10", "as on the host": folder / "cifar10-binary"}.get(layout, folder)
    if layout == "unpacked":
        data_files.write_tree(folder, data_files.members_of(BINARY, TRAIN, TEST))
    elif layout == "bare files":
        members = {Path(name).name: raw for name, raw in data_files.members_of(BINARY, TRAIN, TEST).items()}
        data_files.write_tree(folder, members)
    else:
        data_files.write_tree(place, files)
    summary, lines = fetched(profile, tmp_path / "home", source_dir=folder, offline=True)
    assert summary.fetched, summary.problems
    assert not [line for line in lines if "taken as it is" in line], "the images have a published digest"
    assert not server.requests
    assert not (tmp_path / "home" / "downloads").exists(), "files of the user's are read where they lie"


def test_what_nothing_can_verify_is_taken_and_said(server: UnrulyServer, tmp_path: Path) -> None:
    files = contents_of(BINARY, tmp_path)
    data_files.write_tree(tmp_path / "mine", files)
    profile = write_profile(tmp_path, distribution_text(server, BINARY, files, pinned=False))
    summary, lines = fetched(profile, tmp_path / "home", source_dir=tmp_path / "mine", offline=True)
    assert summary.fetched
    assert any("no digest of toy10 is published or recorded" in line for line in lines)
    lock = tmp_path / "home" / "downloads" / "lock.json"
    assert not lock.exists(), "only what came from its host is worth recording"


def test_a_wrong_file_of_the_users_is_named_and_the_network_asked(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, _ = pinned
    [(name, content)] = binary.items()
    data_files.write_tree(tmp_path / "mine", {name: content[:-1] + b"!"})
    offline = told(fetched(profile, tmp_path / "home", source_dir=tmp_path / "mine", offline=True)[0])
    assert f"{name} as it should be: its sha256 is" in offline
    summary, lines = fetched(profile, tmp_path / "home", source_dir=tmp_path / "mine")
    assert summary.fetched
    assert any(f"{name} as it should be" in line for line in lines)


# Addresses


def test_a_mirror_is_named_through_the_environment(
    server: UnrulyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = contents_of(BINARY, tmp_path)
    server.serve("lab/kriz/cifar-10-binary.tar.gz", next(iter(right.values())))
    text = f'[[dataset.distribution]]\nformat = "{BINARY.value}"\n[[dataset.distribution.file]]\nhost = "toronto"\n'
    profile = write_profile(tmp_path, text + 'path = "cifar-10-binary.tar.gz"\n')
    monkeypatch.setenv("VITREPRO_TORONTO_URL", server.url("lab/kriz/"))
    assert fetched(profile, tmp_path / "home")[0].fetched
    monkeypatch.setenv("VITREPRO_TORONTO_URL", "my-mirror")
    with pytest.raises(UsageError, match=r"\$VITREPRO_TORONTO_URL is 'my-mirror'"):
        fetched(profile, tmp_path / "other-home")


def test_the_hubs_own_variables_are_respected(server: UnrulyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = contents_of(PARQUET, tmp_path)
    text = f'[[dataset.distribution]]\nformat = "{PARQUET.value}"\n'
    for name, content in files.items():
        server.serve(f"datasets/me/toy/resolve/main/{name}", content)
        text += f'[[dataset.distribution.file]]\nhost = "huggingface"\npath = "datasets/me/toy/resolve/main/{name}"\n'
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetched(write_profile(tmp_path, text), tmp_path / "home")[0].fetched
    assert {seen.authorization for seen in server.requests} == {"Bearer hf_secret"}
    # A mirror is not the hub, and does not get to see the token.
    server.requests.clear()
    monkeypatch.setenv("VITREPRO_HUGGINGFACE_URL", server.url("").rstrip("/"))
    assert fetched(write_profile(tmp_path, text), tmp_path / "other-home")[0].fetched
    assert {seen.authorization for seen in server.requests} == {None}


# The command


def test_a_full_disk_is_told_before_anything_is_fetched(
    server: UnrulyServer, pinned: Pinned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, *_ = pinned
    monkeypatch.setattr("repro.fetching.surroundings.free_disk_bytes", lambda workspace: 1000)
    with pytest.raises(DiskFull, match="MB are free at"):
        fetched(profile, tmp_path / "home")
    assert not server.requests


def test_what_is_to_be_fetched_is_counted(pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, _ = pinned
    context, _ = context_of(profile, tmp_path / "home")
    [content] = binary.values()
    assert context.bytes_to_fetch()[0] == len(content)
    assert context.bytes_to_fetch()[1] >= 40 * 32 * 32 * 3
    fetch(context)
    assert context.bytes_to_fetch() == (0, 0)


def two_data_sets(server: UnrulyServer, folder: Path) -> Path:
    """The toy data set, served, and another whose host has nothing; tiny models on both."""
    right = contents_of(BINARY, folder)
    serve_all(server, BINARY, right)
    lost = distribution_text(server, PNG, {"cifar10.tgz": b""}, pinned=False)
    text = write_profile(folder, distribution_text(server, BINARY, right, pinned=True)).read_text()
    head, _, cells = text.partition("[[cells]]")
    tiny = spine.PARTS[spine.PARTS.index("[[model]]") :]
    facts = "image_size = 32\nnum_channels = 3\nnum_classes = 10\nnum_train_images = 40\n"
    cells = cells.replace('"toy10"', '"toy10", "lost"').replace("vit_cifar", "tiny_vit").replace("cifar-quick", "plain")
    path = folder / "two.toml"
    path.write_text(f'{head}[[dataset]]\nname = "lost"\n{facts}{lost}{tiny}[[cells]]{cells}')
    return path


@pytest.mark.slow
def test_all_goes_on_with_what_can_be_had(server: UnrulyServer, tmp_path: Path) -> None:
    profile = two_data_sets(server, tmp_path)
    options = ["--profile", profile, "--home", tmp_path / "home", "--device", "cpu"]
    alone = spine.vitrepro("fetch", *options, environment={TIMEOUT_VARIABLE: "1"})
    assert alone.returncode == 1
    assert "data toy10: 40 training" in alone.stderr
    assert "error: The data set lost cannot be had" in alone.stderr
    assert "Traceback" not in alone.stderr
    done = spine.vitrepro("all", *options, environment={TIMEOUT_VARIABLE: "1"})
    assert done.returncode == 3, done.stderr
    assert "warning: The data set lost cannot be had" in done.stderr
    assert "1 done, 0 failed, 1 blocked or without data" in done.stderr
    assert Path(done.stdout.strip()).is_file()
    # Images of another home's size share the one download.
    assert len([seen for seen in server.requests if seen.path.endswith(".tar.gz")]) == 1


def test_all_ends_where_nothing_can_be_had(server: UnrulyServer, tmp_path: Path) -> None:
    lost = distribution_text(server, PNG, {"cifar10.tgz": b""}, pinned=False)
    profile = write_profile(tmp_path, lost)
    done = spine.vitrepro(
        "fetch", "--profile", profile, "--home", tmp_path / "home", "--device", "cpu", environment={TIMEOUT_VARIABLE: "1"}
    )
    assert done.returncode == 1
    assert "error: The data set toy10 cannot be had" in done.stderr
    assert done.stderr.count("cannot be had") == 1
    assert "Traceback" not in done.stderr


def test_image_sizes_of_one_source_share_one_download(server: UnrulyServer, tmp_path: Path) -> None:
    right = contents_of(BINARY, tmp_path)
    serve_all(server, BINARY, right)
    text = write_profile(tmp_path, distribution_text(server, BINARY, right, pinned=True)).read_text()
    entry = text[text.index("[[dataset]]") : text.index("[[cells]]")]
    reduced = entry.replace('"toy10"', '"toy10-16"').replace("image_size = 32", "image_size = 16")
    text = text.replace("[[cells]]", f"{reduced}[[cells]]").replace('["toy10"]', '["toy10", "toy10-16"]')
    profile = tmp_path / "sizes.toml"
    profile.write_text(text)
    summary, _ = fetched(profile, tmp_path / "home")
    assert {row.name for row in summary.fetched} == {"toy10", "toy10-16"}
    assert len(server.requests) == 1
    assert Workspace(home=tmp_path / "home").dataset_dir("toy10-16").is_dir()


@pytest.mark.slow
def test_an_interrupted_fetch_goes_on_where_it_was(server: UnrulyServer, pinned: Pinned, tmp_path: Path) -> None:
    profile, binary, _ = pinned
    [(name, content)] = binary.items()
    server.serve(f"cifar10-binary/{name}", content, hang_after=len(content) // 2)
    options = ["--profile", profile, "--home", tmp_path / "home", "--device", "cpu"]
    process = subprocess.Popen(
        spine.command("fetch", *options), env=spine.environment_of(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "home" / "downloads"
    wait_until(lambda: any(path.stat().st_size >= len(content) // 2 for path in part.rglob("*.part")))
    process.terminate()
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 143, complaint
    assert "Give the same command again" in complaint
    assert "Traceback" not in complaint
    server.serve(f"cifar10-binary/{name}", content)
    assert spine.vitrepro("fetch", *options).returncode == 0
    assert server.ranges(f"cifar10-binary/{name}") == [None, f"bytes={len(content) // 2}-"]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
