"""What lies in a cell's folder is read strictly, and every damage is a CorruptFile that names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spine

from repro.errors import CorruptFile, DiskFull
from repro.records import (
    EPOCHS,
    FAILURE,
    LAST,
    PREDICTIONS,
    RECORD,
    WEIGHTS,
    EpochRow,
    Failure,
    check_file,
    read_epochs,
    read_failure,
    read_finished,
    read_predictions,
    read_record,
    write_epochs,
    write_failure,
    write_predictions,
    write_record,
)

UPSTREAM = "marks.n30.tiny_vit.scratch.up.s1"


@pytest.fixture(scope="module")
def finished_cell() -> Path:
    """The folder of a finished upstream cell; not to be changed."""
    return spine.cell_dir(spine.finished() / "home", UPSTREAM)


@pytest.fixture
def folder(finished_cell: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    for path in finished_cell.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_record_is_read_back_as_it_was_written(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None
    text = (folder / RECORD).read_text()
    write_record(folder, record)
    assert (folder / RECORD).read_text() == text


def test_writing_a_record_drops_what_only_an_unfinished_cell_needs(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None
    (folder / LAST).write_bytes(b"state")
    (folder / FAILURE).write_text("{}")
    write_record(folder, record)
    assert not (folder / LAST).exists()
    assert not (folder / FAILURE).exists()


def test_a_record_tells_all_that_the_report_needs(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None
    assert record.files_sha256.keys() == {PREDICTIONS, EPOCHS, WEIGHTS}
    labels, predicted = read_predictions(folder)
    assert record.num_test_images == len(labels)
    assert record.test_accuracy == pytest.approx(float((labels == predicted).mean()))
    assert record.dev_accuracy is not None
    assert record.train_flops == 6.0 * record.forward_macs * 12 * 8
    assert 0 < record.wall_s <= record.total_s
    assert record.peak_mem_bytes and record.peak_mem_bytes > 10**6
    assert {choice.what for choice in record.choices} == {"device", "precision", "workers", "images", "micro-batch"}
    assert all(choice.reason for choice in record.choices)
    assert {"torch", "timm", "numpy"} <= record.environment.packages.keys()
    rows = read_epochs(folder)
    assert rows[-1].step == 12
    assert record.selected_step in [row.step for row in rows]


def test_nothing_there_is_not_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert read_record(folder) is None
        assert read_failure(folder) is None
        assert read_epochs(folder) == []
        assert read_finished(folder, "a") is None


def changed(**fields: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        return json.dumps({**json.loads(text), **fields})

    return change


def without(field: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        document = json.loads(text)
        del document[field]
        return json.dumps(document)

    return change


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: "", "EOF"),
        (lambda text: text[:100], "EOF"),
        (lambda text: "[]", "Input should be an object"),
        (lambda text: "null", "Input should be an object"),
        (lambda text: "[" * 100_000, "recursion"),
        (changed(schema_version=2), "schema_version is 2, this version of vitrepro reads 1"),
        (without("schema_version"), "no schema_version"),
        (without("test_accuracy"), "test_accuracy"),
        (changed(novelty=1), "novelty"),
        (changed(test_accuracy=1.5), "test_accuracy"),
        (changed(test_accuracy="high"), "test_accuracy"),
        (changed(test_loss=float("nan")), "test_loss"),
    ],
)
def test_a_broken_record_is_named_with_what_is_wrong(damage: Callable[[str], str], told: str, folder: Path) -> None:
    path = folder / RECORD
    path.write_text(damage(path.read_text()))
    with pytest.raises(CorruptFile) as caught:
        read_record(folder)
    assert str(path) in caught.value.message
    assert told in caught.value.message
    assert "runs that cell again" in caught.value.remedy


def test_a_record_that_is_no_text_is_named(folder: Path) -> None:
    (folder / RECORD).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptFile, match=RECORD):
        read_record(folder)


def test_a_folder_in_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORD).mkdir()
    with pytest.raises(CorruptFile, match=RECORD):
        read_record(tmp_path)


def test_a_failure_is_read_back_and_a_broken_one_named(tmp_path: Path) -> None:
    failure = Failure(
        cell_id="c", fingerprint="f", kind="Died", message="m", remedy="r", traceback="", failed_at="2020-01-01T00:00:00+00:00"
    )
    write_failure(tmp_path, failure)
    assert read_failure(tmp_path) == failure
    (tmp_path / FAILURE).write_text("{")
    with pytest.raises(CorruptFile, match=FAILURE):
        read_failure(tmp_path)


def test_predictions_are_read_back(tmp_path: Path) -> None:
    write_predictions(tmp_path, labels=np.array([0, 1, 2]), predicted=np.array([0, 1, 1]))
    labels, predicted = read_predictions(tmp_path)
    assert (labels.tolist(), predicted.tolist()) == ([0, 1, 2], [0, 1, 1])


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_cut_predictions_are_named(keep: int, folder: Path) -> None:
    path = folder / PREDICTIONS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFile, match=PREDICTIONS):
        read_predictions(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.zeros(3)},
        {"labels": np.zeros(3), "predicted": np.zeros(4)},
        {"labels": np.zeros((3, 1)), "predicted": np.zeros((3, 1))},
        {"labels": np.array([{}], dtype=object), "predicted": np.zeros(1)},
    ],
)
def test_predictions_of_another_form_are_named(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / PREDICTIONS, **arrays)
    with pytest.raises(CorruptFile, match=PREDICTIONS):
        read_predictions(tmp_path)


def test_epochs_are_read_back_and_a_broken_line_named(tmp_path: Path) -> None:
    row = EpochRow(
        step=1, epoch=0.5, lr=0.1, train_loss=2.0, train_accuracy=0.5, dev_loss=None, dev_accuracy=None, elapsed_s=0.1
    )
    write_epochs(tmp_path, [row, row])
    assert read_epochs(tmp_path) == [row, row]
    with (tmp_path / EPOCHS).open("a") as file:
        file.write('{"step": 2')
    with pytest.raises(CorruptFile, match=EPOCHS):
        read_epochs(tmp_path)


def test_a_finished_cell_needs_its_own_record_and_whole_predictions(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None
    assert read_finished(folder, record.fingerprint) == record
    with pytest.raises(CorruptFile, match="belongs to the cell"):
        read_finished(folder, "0" * 64)
    content = (folder / PREDICTIONS).read_bytes()
    (folder / PREDICTIONS).write_bytes(content + b"x")
    with pytest.raises(CorruptFile, match=r"predictions\.npz cannot be read: its sha256 is not that of the record"):
        read_finished(folder, record.fingerprint)


def test_a_file_is_checked_against_the_record(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None
    check_file(folder, record, WEIGHTS)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CorruptFile, match="No such file"):
        check_file(folder, record, WEIGHTS)
    with pytest.raises(CorruptFile, match="the record does not know it"):
        check_file(folder, record, LAST)


def test_a_full_disk_while_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_predictions(tmp_path, labels=np.array([0]), predicted=np.array([0]))
    before = (tmp_path / PREDICTIONS).read_bytes()

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(DiskFull, match=PREDICTIONS):
        write_predictions(tmp_path, labels=np.array([1]), predicted=np.array([1]))
    assert (tmp_path / PREDICTIONS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS]
