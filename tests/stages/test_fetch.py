"""Stage `fetch`: the profile's data sets, once, and again only when it must."""

import os
from pathlib import Path

import numpy as np
import pytest
import spine

from repro.errors import DataError
from repro.stages.fetch import fetch


def test_all_data_sets_of_the_profile_are_brought_with_their_digests(tmp_path: Path) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    fetched = fetch(context).fetched
    assert [(row.name, row.num_train, row.num_test) for row in fetched] == [("dots", 40, 20), ("marks", 40, 20)]
    assert len({row.content_sha256 for row in fetched}) == 2
    assert {name: facts.content_sha256 for name, facts in context.facts().items()} == {
        row.name: row.content_sha256 for row in fetched
    }


def test_what_is_there_is_left_alone_and_force_makes_it_anew(tmp_path: Path) -> None:
    profile, home = spine.write_study(tmp_path), tmp_path / "home"
    context, _ = spine.make_context(profile, home)
    fetch(context)
    path = context.workspace.dataset_dir("dots") / "x_train.npy"
    before = path.stat().st_ino, path.stat().st_mtime_ns
    fetch(context)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    fetch(spine.make_context(profile, home, force=True)[0])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) != before


def test_a_changed_source_makes_other_cells(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path)
    context, _ = spine.make_context(profile, tmp_path / "home")
    fetch(context)
    before = {entry.cell.id: entry.fingerprint for entry in context.plan().cells}
    with np.load(tmp_path / "dots.npz") as archive:
        arrays = dict(archive)
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "dots.npz", **arrays)
    os.utime(tmp_path / "dots.npz", ns=(1, 1))
    context.forget_facts()
    assert "dots" not in context.facts(), "what was made from another file does not count"
    fetch(context)
    after = {entry.cell.id: entry.fingerprint for entry in context.plan().cells}
    assert before.keys() == after.keys()
    assert {cell_id for cell_id in before if before[cell_id] != after[cell_id]} == {
        cell_id for cell_id in before if cell_id.startswith("dots")
    }


def test_a_leak_is_warned_of_once(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path)
    with np.load(tmp_path / "dots.npz") as archive:
        arrays = dict(archive)
    # 1 in 200 is below the limit of 1 %.
    arrays["x_test"] = np.concatenate(
        [np.random.default_rng(9).integers(0, 256, (199, 8, 8), dtype=np.uint8), arrays["x_train"][:1]]
    )
    arrays["y_test"] = np.concatenate([np.arange(199) % 3, arrays["y_train"][:1]])
    np.savez(tmp_path / "dots.npz", **arrays)
    context, lines = spine.make_context(profile, tmp_path / "home")
    fetch(context)
    assert [line for line in lines if "1 of the 200 test images of dots" in line] == lines[:1]


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path)
    (tmp_path / "marks.npz").unlink()
    context, _ = spine.make_context(profile, tmp_path / "home")
    with pytest.raises(DataError, match=r"marks\.npz"):
        fetch(context)
