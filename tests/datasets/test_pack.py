"""Packs: made once, complete or absent, remade when their source has changed or a file is broken."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from repro.catalog import load_catalog
from repro.datasets import load_pack, pack, pictures, prepare, read_manifest
from repro.datasets.arrays import Part, content_sha256
from repro.errors import CorruptFile, DataError, DiskFull, EnvironmentProblem
from repro.spec import DatasetSource, DatasetSpec
from repro.workspace import Workspace

DIGITS = DatasetSpec(name="digits", source=DatasetSource.DIGITS)


def write_npz(path: Path, *, num_test: int = 200, num_leaked: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {
        "x_train": rng.integers(0, 256, (60, 5, 5, 3), dtype=np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": rng.integers(0, 256, (num_test, 5, 5, 3), dtype=np.uint8),
        "y_test": np.arange(num_test) % 3,
    }
    arrays["x_test"][:num_leaked] = arrays["x_train"][:num_leaked]
    np.savez(path, **arrays)
    return arrays


@pytest.fixture
def own(tmp_path: Path) -> DatasetSpec:
    write_npz(tmp_path / "own.npz")
    return DatasetSpec(name="my own", path=tmp_path / "own.npz")


def lines_of(workspace: Workspace, spec: DatasetSpec, *, force: bool = False) -> list[str]:
    lines: list[str] = []
    prepare(workspace, spec, force=force, log=lines.append)
    return lines


def test_a_pack_holds_what_the_manifest_says(workspace: Workspace, own: DatasetSpec) -> None:
    assert read_manifest(workspace, own) is None
    manifest = prepare(workspace, own, log=print)
    assert read_manifest(workspace, own) == manifest
    loaded = load_pack(workspace, own, verify=True)
    assert isinstance(loaded.x_train, np.memmap)
    assert (loaded.x_train.shape, loaded.x_test.shape) == ((60, 5, 5, 3), (200, 5, 5, 3))
    assert (manifest.num_train, manifest.num_test, manifest.num_classes, manifest.num_channels) == (60, 200, 3, 3)
    train = Part(images=loaded.x_train, labels=loaded.y_train)
    assert content_sha256(train, Part(images=loaded.x_test, labels=loaded.y_test)) == manifest.content_sha256
    folder = workspace.dataset_dir("my_own")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("manifest.json", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy")
    ]
    grey = np.asarray(loaded.x_train) / 255
    assert np.allclose(manifest.mean, grey.mean(axis=(0, 1, 2)), atol=1e-12)
    assert np.allclose(manifest.std, grey.std(axis=(0, 1, 2)), atol=1e-12)


def test_images_keep_their_labels_and_row_order_does_not_matter(workspace: Workspace, own: DatasetSpec, tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "own.npz")
    prepare(workspace, own, log=print)
    first = load_pack(workspace, own)
    label_of = {image.tobytes(): label for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    assert [label_of[image.tobytes()] for image in first.x_train] == first.y_train.tolist()
    order = np.random.default_rng(5).permutation(60)
    arrays["x_train"], arrays["y_train"] = arrays["x_train"][order], arrays["y_train"][order].astype(np.uint8)
    np.savez(tmp_path / "shuffled.npz", **arrays)
    other = DatasetSpec(name="shuffled", path=tmp_path / "shuffled.npz")
    manifest = prepare(workspace, other, log=print)
    second = load_pack(workspace, other)
    assert manifest.content_sha256 == first.manifest.content_sha256
    assert np.array_equal(first.x_train, second.x_train)
    assert np.array_equal(first.y_train, second.y_train)


def test_an_intact_pack_is_kept_and_force_makes_it_anew(workspace: Workspace, own: DatasetSpec) -> None:
    prepare(workspace, own, log=print)
    path = workspace.dataset_dir("my_own") / "x_train.npy"
    before = path.stat().st_ino
    assert lines_of(workspace, own) == []
    assert path.stat().st_ino == before
    prepare(workspace, own, force=True, log=print)
    assert path.stat().st_ino != before


def test_a_changed_source_or_specification_is_seen(workspace: Workspace, own: DatasetSpec, tmp_path: Path) -> None:
    manifest = prepare(workspace, own, log=print)
    write_npz(tmp_path / "own.npz", seed=1)
    assert read_manifest(workspace, own) is None
    with pytest.raises(DataError, match="my own") as caught:
        load_pack(workspace, own)
    assert "fetch" in caught.value.remedy
    assert prepare(workspace, own, log=print).content_sha256 != manifest.content_sha256
    assert read_manifest(workspace, own.model_copy(update={"name": "my_own"})) is None, "another name with the same slug"
    assert read_manifest(workspace, own.model_copy(update={"path": tmp_path / "other.npz"})) is None
    assert read_manifest(workspace, own.model_copy(update={"content_sha256": "0" * 64})) is None


def test_a_source_that_is_gone_has_not_changed(workspace: Workspace, own: DatasetSpec, tmp_path: Path) -> None:
    manifest = prepare(workspace, own, log=print)
    (tmp_path / "own.npz").unlink()
    assert read_manifest(workspace, own) == manifest
    assert prepare(workspace, own, log=print) == manifest


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_train_images", 61), ("image_size", 6), ("num_channels", 1), ("num_classes", 4), ("content_sha256", "ab")],
)
def test_what_the_specification_states_must_be_so(workspace: Workspace, own: DatasetSpec, field: str, value: object) -> None:
    with pytest.raises(DataError, match=f"{field} is .*, not {value}"):
        prepare(workspace, own.model_copy(update={field: value}), log=print)
    assert read_manifest(workspace, own) is None


def test_leaked_test_images_are_warned_of_each_time_and_refused_above_one_percent(workspace: Workspace, tmp_path: Path) -> None:
    spec = DatasetSpec(name="leaky", path=tmp_path / "leaky.npz")
    write_npz(tmp_path / "leaky.npz", num_leaked=2)
    for _ in range(2):
        assert any("2 of the 200 test images" in line for line in lines_of(workspace, spec))
    assert load_pack(workspace, spec).manifest.num_test_images_in_train == 2
    write_npz(tmp_path / "leaky.npz", num_leaked=3)
    with pytest.raises(DataError, match="3 of the 200"):
        prepare(workspace, spec, log=print)


def test_a_corrupt_manifest_is_an_error_that_prepare_mends(workspace: Workspace, own: DatasetSpec) -> None:
    manifest = prepare(workspace, own, log=print)
    path = workspace.dataset_dir("my_own") / "manifest.json"
    document = json.loads(path.read_text())
    for content in ("{", "[]", json.dumps(document | {"extra": 1}), json.dumps(document | {"schema_version": 2}), "\xff"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(CorruptFile, match=r"manifest\.json") as caught:
            read_manifest(workspace, own)
        assert "fetch" in caught.value.remedy
        assert any("made anew" in line for line in lines_of(workspace, own))
        assert read_manifest(workspace, own) == manifest


def test_a_broken_array_is_found_and_mended(workspace: Workspace, own: DatasetSpec) -> None:
    prepare(workspace, own, log=print)
    path = workspace.dataset_dir("my_own") / "x_train.npy"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    load_pack(workspace, own)
    with pytest.raises(CorruptFile, match=r"x_train\.npy.*sha256"):
        load_pack(workspace, own, verify=True)
    assert any("x_train.npy" in line for line in lines_of(workspace, own))
    load_pack(workspace, own, verify=True)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFile, match="bytes instead of"):
        load_pack(workspace, own)
    path.unlink()
    with pytest.raises(CorruptFile, match="No such file"):
        load_pack(workspace, own)
    prepare(workspace, own, log=print)
    assert path.read_bytes() == content


def test_a_full_disk_is_told_and_leaves_the_old_pack(
    workspace: Workspace, own: DatasetSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepare(workspace, own, log=print)
    with pytest.raises(OSError, match="No space left") as caught:
        pack.write_array(Path("/dev/full"), np.zeros((1000, 8, 8, 1), np.uint8), order=np.arange(1000))
    assert caught.value.errno == errno.ENOSPC

    def full(path: Path, values: np.ndarray, **how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack, "write_array", full)
    with pytest.raises(DiskFull, match="my_own"):
        prepare(workspace, own, force=True, log=print)
    monkeypatch.undo()
    load_pack(workspace, own, verify=True)
    assert [path.name for path in (workspace.home / "data").iterdir() if "partial" in path.name or "old" in path.name] == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    workspace: Workspace, own: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed_bytes = 260 * (5 * 5 * 3 + 8) + pack.SMALL_FILES_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed_bytes - 1))
    with pytest.raises(DiskFull, match=rf"my own needs {needed_bytes:,} bytes .* where {needed_bytes - 1:,} "):
        prepare(workspace, own, log=print)
    assert [path.name for path in (workspace.home / "data").iterdir()] == [".my_own.lock"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed_bytes))
    prepare(workspace, own, log=print)
    written = sum(path.stat().st_size for path in workspace.dataset_dir("my_own").iterdir())
    assert written <= needed_bytes


def test_progress_names_the_data_set_and_counts_to_the_end(workspace: Workspace, own: DatasetSpec) -> None:
    told: list[tuple[str, int, int]] = []
    for _ in range(2):
        prepare(workspace, own, log=print, progress=lambda *what: told.append(what))
    assert {what for what, _, _ in told} == {
        *("my own: examining images", "my own: writing images", "my own: checking the pack (MB)")
    }
    for what in ("my own: examining images", "my own: writing images"):
        assert [done for named, done, total in told if named == what and total == 260] == [60, 260]


def test_a_home_that_cannot_be_written_is_told(workspace: Workspace, own: DatasetSpec) -> None:
    (workspace.home / "data").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        prepare(workspace, own, log=print)


def test_what_a_killed_process_left_does_no_harm(workspace: Workspace, own: DatasetSpec) -> None:
    partial = workspace.home / "data" / ".my_own.partial"
    partial.mkdir(parents=True)
    (partial / "x_train.npy").write_bytes(b"half")
    prepare(workspace, own, log=print)
    assert not partial.exists()
    load_pack(workspace, own, verify=True)


def test_two_at_once_take_turns(workspace: Workspace, own: DatasetSpec) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            prepare(workspace, own, force=True, log=print)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    load_pack(workspace, own, verify=True)


def test_mapped_images_stay_readable_while_the_pack_is_made_anew(workspace: Workspace, own: DatasetSpec) -> None:
    prepare(workspace, own, log=print)
    old = load_pack(workspace, own)
    copy = np.array(old.x_train)
    prepare(workspace, own, force=True, log=print)
    assert np.array_equal(old.x_train, copy)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DatasetSpec(name="a"), "neither a path nor a source"),
        (DatasetSpec(name="a", source=DatasetSource.NPZ), "neither a path nor a source"),
        (DatasetSpec(name="a", source=DatasetSource.DIGITS, path=Path("x.npz")), "gives a path"),
        (DatasetSpec(name="a", path=Path("absent.npz")), "no file absent.npz"),
        (DatasetSpec(name="a", path=Path("absent")), "no folder absent"),
        (DatasetSpec(name="a", path=Path(__file__)), "neither an .npz file nor a folder"),
        (DatasetSpec(name="a", source=DatasetSource.GLYPHS, num_train_images=44), "fewer than its 45 classes"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(workspace: Workspace, spec: DatasetSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(workspace, spec, log=print)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_source_is_refused(workspace: Workspace, own: DatasetSpec, tmp_path: Path) -> None:
    (tmp_path / "own.npz").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        prepare(workspace, own, log=print)


def test_a_folder_becomes_a_pack_and_a_new_picture_is_seen(workspace: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    def picture(path: Path, grey: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(path)

    for number, where in enumerate(("train/a", "train/b", "test/a", "test/b")):
        picture(tmp_path / "pictures" / where / "0.png", number)
    spec = DatasetSpec(name="pictures", path=tmp_path / "pictures")
    manifest = prepare(workspace, spec, log=print)
    assert (manifest.class_names, manifest.image_shape) == (("a", "b"), (4, 4, 1))
    picture(tmp_path / "pictures" / "train" / "a" / "1.png", 99)
    assert read_manifest(workspace, spec) is None
    assert prepare(workspace, spec, log=print).num_train == 3
    assert [path.name for path in (workspace.home / "data").iterdir() if "decoding" in path.name] == []


def test_decoded_pictures_are_kept_until_the_pack_is_in_place(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for number, where in enumerate(("train/a", "train/b", "test/a", "test/b")):
        path = tmp_path / "pictures" / where / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (4, 4), number).save(path)
    spec = DatasetSpec(name="pictures", path=tmp_path / "pictures", num_classes=3)
    with pytest.raises(DataError, match="num_classes"):
        prepare(workspace, spec, log=print)
    scratch = workspace.home / "data" / ".pictures.decoding"
    assert scratch.is_dir()
    monkeypatch.setattr(pictures, "decode_picture", None)
    manifest = prepare(workspace, spec.model_copy(update={"num_classes": 2}), log=print)
    assert not scratch.exists()
    scratch.mkdir()
    assert prepare(workspace, spec.model_copy(update={"num_classes": 2}), log=print) == manifest
    assert not scratch.exists(), "left by a process that was killed after the pack was in place"


PACKED = """
import resource, sys
from pathlib import Path
import numpy as np
from repro.datasets import pack
from repro.datasets.arrays import ImageArrays, Part
from repro.spec import DatasetSource, DatasetSpec
from repro.workspace import Workspace

def part(name, num_images):
    path = Path(sys.argv[1], name)
    rng = np.random.default_rng(num_images)
    with path.open("wb") as file:
        for _ in range(num_images // 1000):
            file.write(rng.integers(0, 256, 1000 * 32 * 32 * 3, dtype=np.uint8).data)
    images = np.memmap(path, dtype=np.uint8, mode="r", shape=(num_images, 32, 32, 3))
    return Part(images=images, labels=np.arange(num_images) % 10)

names = tuple("abcdefghij")
source = ImageArrays(train=part("train", 100_000), test=part("test", 10_000), class_names=names)
pack.read_source = lambda *_, **__: source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pack.prepare(Workspace(home=Path(sys.argv[1])), DatasetSpec(name="big", source=DatasetSource.DIGITS), log=print)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_packing_takes_less_memory_than_the_images(tmp_path: Path) -> None:
    """307 MB of images: mapped pages are counted too, unless they are given back."""
    run = subprocess.run([sys.executable, "-c", PACKED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 150


def test_the_embedded_digits_are_those_of_the_catalogue(workspace: Workspace) -> None:
    spec = load_catalog().datasets["digits"]
    manifest = prepare(workspace, spec, log=print)
    assert manifest.content_sha256 == spec.content_sha256
    assert read_manifest(workspace, spec) == manifest == read_manifest(workspace, DIGITS)


def test_glyphs_are_made_in_the_number_asked_for(workspace: Workspace) -> None:
    spec = DatasetSpec(name="few glyphs", source=DatasetSource.GLYPHS, num_train_images=100)
    manifest = prepare(workspace, spec, log=print)
    assert (manifest.num_train, manifest.num_test, manifest.num_classes) == (100, 2000, 45)
    assert read_manifest(workspace, spec.model_copy(update={"num_train_images": 200})) is None


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, repro.datasets; print(*({'torch', 'scipy', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
