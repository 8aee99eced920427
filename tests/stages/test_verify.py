"""Stage `verify`: an intact home agrees with itself; whatever is changed is named by file and field."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spine

from repro.catalog import load_profile
from repro.context import Context
from repro.errors import ExitCode, NothingToVerify
from repro.inside import read_inside, write_inside
from repro.records import read_predictions, write_predictions
from repro.report_files import read_results
from repro.spec import ReferenceArm, ReferenceRun
from repro.stages.report import report
from repro.stages.verify import verify
from repro.verification import Verification
from repro.verification.references import tolerance_of

CELL = "dots.n12.tiny_vit.scratch.plain.s1"
UPSTREAM = "marks.n30.tiny_vit.scratch.up.s1"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Profile and home of the finished study, with its report. Not to be changed."""
    profile, home = spine.copy_of_finished(tmp_path_factory.mktemp("verify"))
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    report(context, with_pdf=False)
    yield profile, home


@pytest.fixture
def context(reported: tuple[Path, Path], tmp_path: Path) -> Context:
    """The same, in a home of the test's own."""
    shutil.copytree(reported[1], tmp_path / "home")
    return spine.make_context(reported[0], tmp_path / "home")[0]


def results_path(context: Context) -> Path:
    return context.workspace.home / "report" / "tiny" / "results.json"


def spoil(path: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def on_the_inside(document: dict) -> dict:
    (claim,) = [claim for claim in document["claims"] if claim["id"] == "positions-in-line-alike"]
    return claim


def differences(verification: Verification) -> dict[str, str]:
    """Lines of what differs by name."""
    found = [one for part in verification.parts for one in part.differences]
    assert all(comparison.line() in "\n".join(verification.lines(verbose=False)) for comparison in found)
    return {comparison.name: comparison.line() for comparison in found}


def notes(verification: Verification) -> str:
    return "\n".join(note for part in verification.parts for note in part.notes)


def part_of(verification: Verification, name: str):
    (found,) = [part for part in verification.parts if part.name == name]
    return found


def test_an_intact_home_agrees_with_itself(context: Context) -> None:
    before = {path: path.stat().st_mtime_ns for path in context.workspace.home.rglob("*")}
    verification = verify(context)
    assert differences(verification) == {}
    assert verification.num_unfinished == 0
    assert len(part_of(verification, "files of cells").comparisons) == 2 * spine.NUM_CELLS + 2 + 7
    # Two cells keep their weights; the ViTs of six, and of a check, are looked into.
    assert len(part_of(verification, "results.json").comparisons) > 500
    assert len(part_of(verification, "results.csv").comparisons) > 31 * spine.NUM_CELLS
    assert len(part_of(verification, "data sets").comparisons) == 2 * (2 + 4)
    assert "no reference values for profile tiny" in notes(verification)
    assert list(verification.lines(verbose=False))[-1] == f"tiny: all {verification.num_compared:,} comparisons agree"
    assert {path: path.stat().st_mtime_ns for path in context.workspace.home.rglob("*")} == before, "it only reads"


# Every number of results.json


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda d: d["groups"][0]["accuracy"].update(value=0.123), "accuracy.value"),
        (lambda d: d["groups"][0]["accuracy"].update(value=d["groups"][0]["accuracy"]["value"] + 1e-6), "accuracy.value"),
        (lambda d: d["groups"][0].update(sd=None), ".sd"),
        (lambda d: d["gaps"][0]["log_odds"].update(num_seeds=3), "log_odds.num_seeds"),
        (lambda d: d["cells"][0].update(test_accuracy=1.0), "].test_accuracy"),
        (lambda d: d["cells"][0].update(wall_s=1.0), "].wall_s"),
        (lambda d: d["environment"].update(num_cores=99), "environment.num_cores"),
        (lambda d: d.update(miniature=False), "miniature"),
        (lambda d: d.update(warnings=["All is well."]), "warnings[0]"),
        (lambda d: d.update(gaps=[]), "gaps["),
        (lambda d: on_the_inside(d)["points"][0]["estimate"].update(value=0.9), "points[vit 0 40"),
        (lambda d: on_the_inside(d).update(ci95=[0.1, 0.2]), ".ci95"),
        (lambda d: d["inside"][0].update(similarity_difference=0.9), "].similarity_difference"),
        (lambda d: d["inside_arms"][0].update(distance_slope=9.0), "].distance_slope"),
    ],
)
def test_a_changed_number_is_named(context: Context, change: Callable[[dict], object], name: str) -> None:
    spoil(results_path(context), change)
    found = differences(verify(context))
    assert found
    assert all(line.startswith("report/tiny/results.json ") for line in found), found
    assert any(name in line for line in found), found


def test_a_changed_verdict_is_named_with_both(context: Context) -> None:
    document = json.loads(results_path(context).read_text())
    claim = document["claims"][0]
    turned = next(word for word in ("supported", "contradicted") if word != claim["verdict"])
    spoil(results_path(context), lambda d: d["claims"][0].update(verdict=turned))
    ((name, line),) = differences(verify(context)).items()
    assert claim["id"] in name
    assert name.endswith(".verdict")
    assert f"expected {claim['verdict']}, found {turned}" in line


def test_a_look_that_was_changed_is_named_with_the_numbers_that_come_of_it(context: Context) -> None:
    folder = spine.cell_dir(context.workspace.home, "dots.n40.tiny_vit.scratch.plain.s2")
    write_inside(folder, replace(read_inside(folder), similarity_same_line=0.9))
    found = differences(verify(context))
    assert any(name.endswith(f"{folder.name}/inside.npz sha256") for name in found)
    assert any(name.endswith("record.json inside similarity_difference") for name in found), found
    (folder / "inside.npz").unlink()
    assert any("what its numbers come from" in line for line in differences(verify(context)).values())


def test_a_changed_number_of_a_look_is_named_with_the_claim_that_rests_on_it(context: Context) -> None:
    folder = spine.cell_dir(context.workspace.home, "dots.n40.tiny_vit.scratch.plain.s2")
    spoil(folder / "record.json", lambda d: d["inside"].update(similarity_difference=0.9))
    found = differences(verify(context))
    assert any(name.endswith("record.json inside similarity_difference") for name in found), found
    assert any("positions-in-line-alike" in name and name.endswith(".measured") for name in found), found


def test_when_and_by_which_version_it_was_written_does_not_count(context: Context) -> None:
    spoil(results_path(context), lambda d: d.update(generated_at="2001-01-01T00:00:00+00:00", vitrepro="0.0.1"))
    assert differences(verify(context)) == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema_version=2), "schema_version is 2, this version of vitrepro reads 1"),
        (lambda d: d.pop("schema_version"), "it has no schema_version"),
        (lambda d: d.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda d: d["cells"][0].update(seed="1"), "cells.0.seed"),
    ],
)
def test_a_file_that_breaks_its_schema_is_told(context: Context, change: Callable[[dict], object], told: str) -> None:
    spoil(results_path(context), change)
    ((name, line),) = differences(verify(context)).items()
    assert name == "report/tiny/results.json schema"
    assert told in line


def test_results_of_another_profile_are_told_once(context: Context) -> None:
    spoil(results_path(context), lambda d: d.update(profile="other"))
    found = differences(verify(context))
    assert found == {"report/tiny/results.json profile": "report/tiny/results.json profile: expected tiny, found other"}


# results.csv and predictions.npz


def test_a_changed_cell_of_the_table_is_held_to_record_and_predictions(context: Context) -> None:
    path = results_path(context).with_name("results.csv")
    results = read_results(results_path(context))
    assert results is not None
    (row,) = [row for row in results.cells if row.id == CELL]
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{CELL},"))
    lines[place] = lines[place].replace(f",{row.test_accuracy!r},", ",0.999,", 1)
    path.write_text("\n".join(lines) + "\n")
    found = differences(verify(context))
    assert f"report/tiny/results.csv [{CELL}].test_accuracy" in found
    assert f"report/tiny/results.csv [{CELL}].test_accuracy against predictions.npz" in found
    assert all(name.startswith("report/tiny/results.csv ") for name in found)


@pytest.mark.parametrize("name", ["results.csv", "predictions.npz"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_table_that_cannot_be_read_is_told(context: Context, name: str, is_there: bool) -> None:
    path = results_path(context).with_name(name)
    path.write_bytes(b"nonsense") if is_there else path.unlink()
    ((told, _),) = differences(verify(context)).items()
    assert told == f"report/tiny/{name} schema"


def test_a_changed_array_of_the_report_is_told_by_cell(context: Context) -> None:
    path = results_path(context).with_name("predictions.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[f"predicted/{CELL}"][:3] = (arrays[f"predicted/{CELL}"][:3] + 1) % 3
    arrays["predicted/stranger"] = arrays[f"predicted/{CELL}"]
    np.savez(path, **arrays)
    found = differences(verify(context))
    assert any(CELL in line and "other classes for 3 of 20 images" in line for line in found.values())
    assert "report/tiny/predictions.npz predicted/stranger" in found


# Cells


def test_a_flipped_prediction_is_told_by_digest_and_by_every_number_that_comes_of_it(context: Context) -> None:
    folder = spine.cell_dir(context.workspace.home, CELL)
    labels, predicted = read_predictions(folder)
    predicted = predicted.copy()
    predicted[0] = (predicted[0] + 1) % 3 if predicted[0] == labels[0] else labels[0]
    write_predictions(folder, labels=labels, predicted=predicted)
    found = differences(verify(context))
    assert f"runs/{folder.name}/predictions.npz sha256" in found
    assert f"runs/{folder.name}/record.json test_accuracy" in found
    assert any(name.startswith("report/tiny/results.json groups[") and name.endswith("accuracy.value") for name in found)
    assert any("other classes for 1 of 20 images" in line for line in found.values())


def test_other_labels_than_the_data_sets_are_told(context: Context) -> None:
    folder = spine.cell_dir(context.workspace.home, CELL)
    _, predicted = read_predictions(folder)
    write_predictions(folder, labels=predicted, predicted=predicted)
    found = differences(verify(context))
    assert f"runs/{folder.name}/predictions.npz labels" in found


@pytest.mark.parametrize("name", ["predictions.npz", "epochs.jsonl", "weights.safetensors"])
def test_a_missing_file_of_a_cell_is_told(context: Context, name: str) -> None:
    folder = spine.cell_dir(context.workspace.home, UPSTREAM)
    (folder / name).unlink()
    found = differences(verify(context))
    assert found[f"runs/{folder.name}/{name} sha256"].endswith("found (absent)")
    if name == "predictions.npz":
        assert f"cell {UPSTREAM}" in found
        assert not any(".groups" in line for line in found), "what cannot be recomputed is not called different"
    else:
        assert len(found) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d["files_sha256"].update({"epochs.jsonl": "0" * 64}), "epochs.jsonl sha256"),
        (lambda d: d.update(fingerprint="0" * 64), "record.json fingerprint"),
        (lambda d: d.update(data_sha256="0" * 64), "record.json data_sha256"),
        (lambda d: d.update(subset_sha256="0" * 64), "record.json subset_sha256"),
        (lambda d: d.update(test_accuracy=0.123), "record.json test_accuracy"),
        (lambda d: d.update(num_test_images=21), "record.json num_test_images"),
        (lambda d: d.update(lr=0.5), "record.json lr"),
        (lambda d: d["cell"]["recipe"].update(steps=13), "record.json fingerprint of its own cell"),
        (lambda d: d.update(schema_version=2), "record.json schema"),
        (lambda d: d.update(test_accuracy="much"), "record.json schema"),
    ],
)
def test_a_changed_record_is_named_by_field(context: Context, change: Callable[[dict], object], field: str) -> None:
    folder = spine.cell_dir(context.workspace.home, CELL)
    spoil(folder / "record.json", change)
    assert f"runs/{folder.name}/{field}" in differences(verify(context))


def test_a_record_that_is_gone_is_a_difference(context: Context) -> None:
    (spine.cell_dir(context.workspace.home, CELL) / "record.json").unlink()
    verification = verify(context)
    assert f"cell {CELL}" in differences(verification)
    assert "means, gaps and claims were not recomputed: 1 finished cell(s)" in notes(verification)


# Data sets


def test_a_changed_image_is_told_by_its_files_digest(context: Context) -> None:
    path = context.workspace.home / "data" / "dots" / "x_test.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert list(differences(verify(context))) == ["data/dots/x_test.npy sha256"]


def test_a_copy_without_images_is_verified_and_says_so(context: Context) -> None:
    for path in context.workspace.home.glob("data/*/*.npy"):
        path.unlink()
    verification = verify(context)
    assert differences(verification) == {}
    assert "the images of dots are not there" in notes(verification)


def test_a_manifest_of_another_version_is_told_and_the_numbers_are_verified_all_the_same(context: Context) -> None:
    spoil(context.workspace.home / "data" / "marks" / "manifest.json", lambda d: d.update(schema_version=7))
    verification = verify(context)
    found = differences(verification)
    assert "schema_version is 7" in found["data/marks/manifest.json schema"]
    assert part_of(verification, "results.csv").differences == []


# Unfinished and absent


def test_an_unfinished_run_is_verified_as_far_as_it_is(reported: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(reported[1], tmp_path / "home")
    for cell_id in (CELL, "dots.n12.tiny_vit.marks-30.plain.s2"):
        shutil.rmtree(spine.cell_dir(tmp_path / "home", cell_id))
    report(spine.make_context(reported[0], tmp_path / "home")[0], with_pdf=False)
    verification = verify(spine.make_context(reported[0], tmp_path / "home")[0])
    assert differences(verification) == {}
    assert verification.num_unfinished == 2
    assert f"2 of {spine.NUM_CELLS} cells are not finished" in "\n".join(verification.lines(verbose=False))


def test_cells_that_were_finished_after_the_report_are_no_difference(reported: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(reported[1], tmp_path / "home")
    folder = spine.cell_dir(tmp_path / "home", CELL)
    folder.rename(tmp_path / "aside")
    report(spine.make_context(reported[0], tmp_path / "home")[0], with_pdf=False)
    (tmp_path / "aside").rename(folder)
    spoil(folder / "record.json", lambda d: d.update(finished_at="2999-01-01T00:00:00+00:00"))
    verification = verify(spine.make_context(reported[0], tmp_path / "home")[0])
    assert differences(verification) == {}
    assert "1 cell(s) were finished after this report was written" in notes(verification)


def test_a_report_that_leaves_out_what_was_finished_before_is_told(reported: tuple[Path, Path], tmp_path: Path) -> None:
    """Nobody is helped by a report that agrees with itself because a seed that did not please is not in it."""
    shutil.copytree(reported[1], tmp_path / "home")
    folder = spine.cell_dir(tmp_path / "home", CELL)
    folder.rename(tmp_path / "aside")
    report(spine.make_context(reported[0], tmp_path / "home")[0], with_pdf=False)
    (tmp_path / "aside").rename(folder)
    spoil(folder / "record.json", lambda d: d.update(finished_at="2001-01-01T00:00:00+00:00"))
    ((name, line),) = differences(verify(spine.make_context(reported[0], tmp_path / "home")[0])).items()
    assert name == f"cell {CELL}"
    assert line.endswith("found left out of the report")


def test_a_report_that_counts_a_damaged_cell_out_agrees_with_itself(context: Context) -> None:
    path = spine.cell_dir(context.workspace.home, CELL) / "predictions.npz"
    path.write_bytes(path.read_bytes()[:50])
    report(context, with_pdf=False)
    found = differences(verify(context))
    assert found
    assert all(name.startswith("runs/") for name in found), found


def test_without_a_report_there_is_nothing_to_verify(context: Context) -> None:
    results_path(context).unlink()
    with pytest.raises(NothingToVerify, match="profile tiny has no report in this home") as caught:
        verify(context)
    assert caught.value.exit_code is ExitCode.ERROR
    assert "`vitrepro report`" in caught.value.remedy


def test_without_a_finished_cell_there_is_nothing_to_verify(reported: tuple[Path, Path], tmp_path: Path) -> None:
    context, _ = spine.make_context(reported[0], tmp_path / "home")
    spine.fetch(context)
    report(context, with_pdf=False)
    with pytest.raises(NothingToVerify, match="No cell of profile tiny is finished") as caught:
        verify(context)
    assert "`vitrepro run`" in caught.value.remedy


# References


def reference(context: Context, *, off: float = 0.0, sd: float = 0.01) -> ReferenceRun:
    """What the run itself measured at one size, moved by `off`."""
    results = read_results(results_path(context))
    assert results is not None
    group = next(group for group in results.groups if group.model == "tiny_vit" and group.init == "scratch")
    arm = ReferenceArm(
        dataset=group.dataset,
        num_train_images=group.num_train_images,
        model=group.model,
        init=group.init,
        recipe=group.recipe,
        mean=group.accuracy.value + off,
        sd=(sd, sd),
    )
    return ReferenceRun(
        profile="tiny",
        source="this test",
        reason="made up",
        num_seeds=5,
        num_test_images=20,
        confidence=0.999,
        arm=(arm, arm.model_copy(update={"num_train_images": 7})),
    )


def test_arms_are_held_against_references_within_the_tolerance(context: Context) -> None:
    context.catalog = replace(context.catalog, references=(reference(context, off=0.04),))
    verification = verify(context)
    (comparison,) = part_of(verification, "references").comparisons
    assert comparison.agrees
    assert comparison.tolerance == pytest.approx(0.05), "never less than one of the 20 test images"
    assert "7 images, tiny_vit" in notes(verification), "what has no counterpart is named"
    assert any("mean test accuracy, dots" in line for line in verification.lines(verbose=False)), "told though it agrees"


def test_an_arm_that_is_off_is_a_difference(context: Context) -> None:
    context.catalog = replace(context.catalog, references=(reference(context, off=0.06),))
    ((name, line),) = differences(verify(context)).items()
    assert name.startswith("mean test accuracy, dots, 12 images, tiny_vit")
    assert "(tolerance 0.05)" in line


def test_a_single_seed_is_compared_with_nothing(reported: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(reported[1], tmp_path / "home")
    for path in (tmp_path / "home" / "runs").glob("*.s2-*"):
        shutil.rmtree(path)
    context, _ = spine.make_context(reported[0], tmp_path / "home")
    report(context, with_pdf=False)
    context.catalog = replace(context.catalog, references=(reference(context, off=-0.2),))
    verification = verify(context)
    assert part_of(verification, "references").comparisons == []
    assert "for want of 2 finished seeds" in notes(verification)


def test_a_profile_of_ones_own_with_a_shipped_name_has_no_references(context: Context) -> None:
    folder = context.workspace.home / "report"
    shutil.copytree(folder / "tiny", folder / "demo")
    context.profile = context.profile.model_copy(update={"name": "demo"})
    spoil(folder / "demo" / "results.json", lambda d: d.update(profile="demo"))
    assert context.profile != load_profile("demo")
    verification = verify(context)
    assert differences(verification) == {}
    assert "is not the one that comes with the kit" in notes(verification)


def test_the_tolerance_is_that_of_a_difference_of_two_means(context: Context) -> None:
    run = reference(context, sd=0.1)
    # t of 8 degrees of freedom at 99.9 % (two-sided) is 5.041 (Fisher and Yates, table III).
    assert tolerance_of(run, run.arm[0], num_seeds=5) == pytest.approx(5.041 * 0.1 * (2 / 5) ** 0.5, rel=1e-3)
    assert tolerance_of(run, run.arm[0], num_seeds=2) > tolerance_of(run, run.arm[0], num_seeds=5)


def test_references_belong_to_cells_of_their_profile() -> None:
    context, _ = spine.make_context(Path("demo"), Path("nowhere"))
    plan = context.plan()
    for run in context.catalog.references:
        assert run.profile == "demo"
        cells = {
            (cell.dataset.name, cell.num_train_images, cell.model.name, cell.init, cell.recipe.name)
            for cell in (entry.cell for entry in plan.cells)
        }
        arms = [(arm.dataset, arm.num_train_images, arm.model, arm.init, arm.recipe) for arm in run.arm]
        assert len(set(arms)) == len(arms) == 16
        assert set(arms) <= cells
        told = (spine.ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
        assert all(f"{100 * arm.mean:.1f} ± {100 * arm.sd[0]:.1f}" in told for arm in run.arm)


# The command


def test_the_command_tells_lines_and_code(context: Context, reported: tuple[Path, Path]) -> None:
    home = context.workspace.home
    done = spine.vitrepro("verify", "--profile", reported[0], "--home", home)
    assert (done.returncode, done.stdout.splitlines()[-1].endswith("comparisons agree")) == (0, True), done.stdout
    spoil(results_path(context), lambda d: d["groups"][0].update(sd=0.5))
    done = spine.vitrepro("verify", home, "--profile", reported[0], "--json")
    found = json.loads(done.stdout)
    assert done.returncode == ExitCode.DIFFERENT == 4
    assert found["num_different"] == 1
    (told,) = [one for part in found["parts"] for one in part["comparisons"]]
    assert told["name"].startswith("report/tiny/results.json groups[")
    assert (told["found"], told["agrees"]) == (0.5, False)
    assert told["tolerance"] > 0
    assert "what to do:" in done.stderr
    everything = json.loads(spine.vitrepro("verify", home, "--profile", reported[0], "--json", "--verbose").stdout)
    assert sum(len(part["comparisons"]) for part in everything["parts"]) == everything["num_compared"] > 500


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 1, "There is no report in"),
        (["nowhere", "--profile", "demo"], 1, "profile demo has no report in this home"),
        (["here", "--home", "there"], 2, "Two homes: here and --home there"),
        (["home"], 1, "Of which profile? The reports in"),
    ],
)
def test_a_mistake_has_its_code_and_what_to_do(
    arguments: list[str], code: int, told: str, context: Context, tmp_path: Path
) -> None:
    done = spine.vitrepro("verify", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "what to do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_only_report_of_a_shipped_profile_needs_no_profile_named(context: Context, tmp_path: Path) -> None:
    (tmp_path / "home" / "report" / "tiny").rename(tmp_path / "home" / "report" / "demo")
    done = spine.vitrepro("verify", tmp_path / "home")
    assert "profile demo: its report lies in this home" in done.stderr
    assert done.returncode == ExitCode.DIFFERENT, "a report of tiny in the folder of demo"
    assert "report/demo/results.json profile: expected demo, found tiny" in done.stdout
