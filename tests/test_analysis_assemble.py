"""The whole of `results.json`: order, warnings, robustness, and that an outsider gets the same numbers."""

import json
import math
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy_study import ToyStudy, toy_claim

from repro import __version__
from repro.analysis.assemble import COLUMNS, assemble, gaps, groups, outcome_row, read_results_csv, results_csv
from repro.analysis.results import Outcome, Results
from repro.analysis.study import index_study
from repro.catalog import load_catalog
from repro.choices import Choice
from repro.records import CellStatus, Environment, Record
from repro.spec import Cell, CellBlock, CheckpointSpec, Claim, DatasetSpec, Measure, Profile, Recipe, Role, UpstreamInit

PROFILE = Profile(
    name="toy",
    description="A toy",
    miniature=True,
    notes=("chosen for a test",),
    cells=(CellBlock(dataset=("toy",), size=(1.0,), model=("vit",), recipe="plain"),),
)
NOW = "2026-01-01T00:00:00Z"


def assembled(study: ToyStudy, claims: tuple[Claim, ...] = ()) -> Results:
    return assemble(PROFILE, study.outcomes, study.predictions, claims, generated_at=NOW)


def random_study(num_seeds: int = 3, num_images: int = 250) -> ToyStudy:
    rng = np.random.default_rng(1)
    study = ToyStudy()
    for size, init, recipe in ((100, "scratch", "plain"), (1000, "scratch", "plain"), (100, "upstream:glyphs@2000", "tune")):
        for model, accuracy in (("cnn", 0.9), ("vit", 0.8)):
            correct = rng.random((num_seeds, num_images)) < accuracy + 0.05 * rng.standard_normal(num_images)
            study.add(model, size, correct, init=init, recipe=recipe)
    return study


def environment(**fields: object) -> Environment:
    defaults: dict[str, object] = {
        "vitrepro": __version__,
        "commit": "abc",
        "python": "3.11",
        "packages": {"torch": "2.13.0"},
        "platform": "Linux",
        "processor": "A processor",
        "num_cores": 2,
        "device": "cpu",
        "driver": None,
        "command": "vitrepro all",
    }
    return Environment.model_validate(defaults | fields)


def done(seed: int, *, finished_at: str = NOW, data_sha256: str = "d" * 64, **fields: object) -> tuple[Cell, Record]:
    catalog = load_catalog()
    cell = Cell(
        dataset=DatasetSpec(name="digits"),
        num_train_images=100,
        model=catalog.models["vit_micro"],
        upstream=None,
        upstream_recipe=None,
        recipe=Recipe(name="plain", lr=0.1, batch_size=64, steps=400),
        seed=seed,
        role=Role.STUDY,
    )
    record = Record(
        cell=cell,
        fingerprint=f"{seed:064d}",
        upstream_fingerprint=None,
        data_sha256=data_sha256,
        subset_sha256="e" * 64,
        num_classes=10,
        num_test_images=4,
        test_accuracy=0.75,
        test_loss=0.5,
        train_accuracy=1.0,
        train_loss=0.01,
        dev_accuracy=None,
        selected_step=400,
        num_parameters=1000,
        forward_macs=2000,
        train_flops=1e9,
        wall_s=1.5,
        total_s=2.5,
        energy_j=None,
        peak_mem_bytes=1000,
        device_shared=False,
        resumed_from_step=None,
        seeds={"init": 1},
        choices=(),
        environment=environment(**fields),
        started_at=NOW,
        finished_at=finished_at,
        files_sha256={},
    )
    return cell, record


def recorded(*members: tuple[Cell, Record]) -> Results:
    outcomes = [
        Outcome(row=outcome_row(cell, record.fingerprint, CellStatus.DONE, "", record), record=record)
        for cell, record in members
    ]
    predictions = {cell.id: np.array([True, True, True, False]) for cell, _ in members}
    return assemble(PROFILE, outcomes, predictions, [], generated_at=NOW)


def test_results_survive_json_and_carry_the_profile() -> None:
    results = assembled(random_study(), (toy_claim(),))
    assert Results.model_validate_json(results.model_dump_json()) == results
    assert (results.profile, results.miniature, results.notes) == ("toy", True, ("chosen for a test",))
    assert (results.vitrepro, results.generated_at, results.warnings) == (__version__, NOW, ())
    assert [(claim.id, claim.recipe) for claim in results.claims] == [("toy-claim", "plain")]
    assert results.observations == ()


def test_the_order_of_outcomes_changes_nothing() -> None:
    study = random_study()
    claims = tuple(load_catalog().claims.values())
    forwards = assembled(study, claims)
    study.outcomes = [study.outcomes[i] for i in np.random.default_rng(2).permutation(len(study.outcomes))]
    assert assembled(study, claims).model_dump_json() == forwards.model_dump_json()


def test_groups_have_each_seed_the_mean_and_the_spread() -> None:
    study = ToyStudy()
    ids = study.add("vit", 100, [300, 320, 310])
    [group] = assembled(study).groups
    assert group.seeds == pytest.approx((0.75, 0.8, 0.775))
    assert group.accuracy.value == pytest.approx(0.775)
    assert group.sd == pytest.approx(np.std([0.75, 0.8, 0.775], ddof=1))
    assert group.cells == tuple(ids)
    assert group.accuracy.ci95 is not None and group.accuracy.ci95[0] < 0.775 < group.accuracy.ci95[1]


def test_the_interval_of_an_accuracy_ends_at_one() -> None:
    study = ToyStudy()
    study.add("vit", 100, [400, 399, 400])
    [group] = assembled(study).groups
    assert group.accuracy.ci95 is not None
    assert group.accuracy.ci95[0] < group.accuracy.value < group.accuracy.ci95[1] == 1.0


def test_an_outsider_recomputes_groups_and_gaps_from_csv_and_predictions() -> None:
    """With pandas and the textbook formulas only: nothing of this package but the files' contents."""
    study = random_study()
    results = assembled(study)
    table = pd.read_csv(StringIO(results_csv(results)))
    assert len(table) == 18
    for group in results.groups:
        rows = table[
            (table.dataset == group.dataset)
            & (table.num_train_images == group.num_train_images)
            & (table.model == group.model)
            & (table.init == group.init)
            & (table.recipe == group.recipe)
        ].sort_values("seed")
        assert group.seeds == pytest.approx(tuple(rows.test_accuracy))
        assert group.accuracy.value == pytest.approx(rows.test_accuracy.mean())
        assert group.sd == pytest.approx(rows.test_accuracy.std())
    assert len(results.gaps) == 3
    for gap in results.gaps:
        rows = table[
            (table.num_train_images == gap.num_train_images) & (table.init == gap.init) & (table.recipe == gap.recipe)
        ].sort_values("seed")
        cnn, vit = (np.stack([study.predictions[i] for i in rows[rows.family == family].id]) for family in ("cnn", "vit"))
        for estimate, z in (
            (gap.accuracy, cnn.astype(float) - vit),
            (gap.log_odds, cnn / (cnn.mean() * (1 - cnn.mean())) - vit / (vit.mean() * (1 - vit.mean()))),
        ):
            s, i = z.shape
            frame = pd.DataFrame(z).stack().rename_axis(["seed", "image"]).rename("z").reset_index()
            by_seed, by_image = frame.groupby("seed").z.mean(), frame.groupby("image").z.mean()
            ms_seed, ms_image = i * by_seed.var(), s * by_image.var()
            rest = frame.z - frame.seed.map(by_seed) - frame.image.map(by_image) + frame.z.mean()
            ms_rest = (rest**2).sum() / ((s - 1) * (i - 1))
            total = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
            df = total**2 / (ms_seed**2 / (s - 1) + ms_image**2 / (i - 1) + ms_rest**2 / ((s - 1) * (i - 1)))
            df = max(df, min(s, i) - 1)
            half = stats.t.ppf(0.975, df) * math.sqrt(total / (s * i))
            assert estimate.ci95 == pytest.approx((estimate.value - half, estimate.value + half))
        assert gap.accuracy.value == pytest.approx(cnn.mean() - vit.mean())
        log_odds = [math.log(x.mean() / (1 - x.mean())) for x in (cnn, vit)]
        assert gap.log_odds.value == pytest.approx(log_odds[0] - log_odds[1])


def test_the_csv_and_predictions_give_groups_and_gaps_again_exactly() -> None:
    study = random_study()
    study.add("vit", 5000, [1], status=CellStatus.PENDING)
    results = assembled(study)
    rows = read_results_csv(results_csv(results))
    assert rows == results.cells
    again = index_study(rows, study.predictions)
    assert (groups(again), gaps(again)) == (results.groups, results.gaps)


def test_the_csv_has_one_line_a_cell_with_the_columns_of_the_json() -> None:
    results = assembled(random_study())
    text = results_csv(results)
    lines = text.splitlines()
    assert lines[0].split(",") == list(COLUMNS) == list(json.loads(results.model_dump_json())["cells"][0])
    assert len(lines) == 1 + len(results.cells)
    assert repr(1e9 / 3) in lines[1]
    assert ",1000,2000," in lines[1], "whole numbers are written without a decimal point"


def test_hostile_names_come_back_from_the_csv() -> None:
    study = ToyStudy()
    hostile = 'a,"b"\r\nNA é %s {0} <b>@7'
    study.add("vit", 100, [300] * 3, dataset=hostile, recipe="NA")
    study.add("cnn", 100, [380] * 3, dataset=hostile, recipe="NA")
    study.add("vit", 100, [300] * 3, dataset=hostile, init=f"upstream:{hostile}@2000", recipe="{detail}")
    study.add("cnn", 100, [380] * 3, dataset=hostile, init=f"upstream:{hostile}@2000", recipe="{detail}")
    results = assembled(study, (toy_claim(), *load_catalog().claims.values()))
    assert read_results_csv(results_csv(results)) == results.cells
    assert results.claims[0].dataset == hostile
    assert "{" not in results.claims[0].reason


def test_an_empty_matrix_gives_empty_results() -> None:
    results = assemble(PROFILE, [], {}, [toy_claim()], generated_at=NOW)
    assert (results.cells, results.groups, results.gaps, results.claims, results.environment) == ((), (), (), (), None)
    assert read_results_csv(results_csv(results)) == ()
    assert any("Not tested" in warning and "toy-claim" in warning for warning in results.warnings)


def test_a_single_seed_gives_values_without_intervals() -> None:
    study = ToyStudy()
    study.add("vit", 100, [300])
    study.add("cnn", 100, [380])
    results = assembled(study)
    assert [(group.sd, group.accuracy.ci95) for group in results.groups] == [(None, None)] * 2
    assert results.gaps[0].accuracy.value == pytest.approx(0.2)
    assert results.gaps[0].log_odds.ci95 is None


def test_one_family_gives_groups_but_no_gap_and_says_which_claims_are_not_tested() -> None:
    study = ToyStudy()
    study.add("vit", 100, [300] * 3)
    results = assembled(study, (toy_claim(), toy_claim(Measure.FAMILY_GAP_TREND, id="other")))
    assert (len(results.groups), results.gaps, results.claims) == (1, (), ())
    assert any("toy-claim, other" in warning for warning in results.warnings)


def test_unfinished_and_failed_cells_are_counted_with_their_reasons() -> None:
    study = random_study()
    failed = study.add("vit", 5000, [1, 1], status=CellStatus.FAILED)
    study.add("cnn", 5000, [1, 1, 1], status=CellStatus.PENDING)
    warnings = assembled(study).warnings
    assert warnings[0] == "The matrix is unfinished: 18 of 23 cells are done, 2 failed, 3 pending."
    assert "2 cell(s) failed: not yet run" in warnings[1] and failed[0] in warnings[1]


def test_test_sets_of_different_size_are_told_and_left_out() -> None:
    study = random_study()
    study.add("cnn", 100, np.ones((1, 99), dtype=bool), first_seed=4)
    results = assembled(study)
    assert any("99 images (1 cells), 250 images (18 cells)" in warning for warning in results.warnings)
    assert {group.accuracy.num_images for group in results.groups} == {250}


def test_cells_that_share_an_id_are_left_out_not_mixed_up() -> None:
    study = random_study()
    twin = study.outcomes[0]
    study.outcomes.append(twin.model_copy(update={"row": twin.row.model_copy(update={"dataset": "t.y"})}))
    results = assembled(study)
    assert any("2 cells share the id" in warning for warning in results.warnings)
    assert all(twin.row.id not in group.cells for group in results.groups)


def test_predictions_that_belong_to_another_run_are_told() -> None:
    study = random_study()
    name = study.outcomes[0].row.id
    study.predictions[name] = ~study.predictions[name]
    assert any("disagree" in warning and name in warning for warning in assembled(study).warnings)


def test_finished_cells_without_predictions_are_told_and_left_out() -> None:
    study = random_study()
    name = study.outcomes[0].row.id
    del study.predictions[name]
    results = assembled(study)
    assert any("no predictions" in warning and name in warning for warning in results.warnings)
    assert all(name not in group.cells for group in results.groups)


def test_a_row_takes_its_numbers_from_the_record_only_if_done() -> None:
    cell, record = done(1)
    row = outcome_row(cell, record.fingerprint, CellStatus.DONE, "", record)
    assert (row.id, row.family, row.init, row.num_upstream_images) == (cell.id, "vit", "scratch", 0)
    assert (row.test_accuracy, row.device, row.device_shared, row.selected_step) == (0.75, "cpu", False, 400)
    assert {name for name in set(COLUMNS) & set(Record.model_fields) if getattr(row, name) != getattr(record, name)} == set()
    empty = outcome_row(cell, None, CellStatus.FAILED, "NaN at step 3", record)
    assert (empty.reason, empty.test_accuracy, empty.device, empty.fingerprint) == ("NaN at step 3", None, None, None)


def test_a_row_of_an_upstream_init_counts_its_images() -> None:
    cell, _ = done(1)
    cell = cell.model_copy(update={"upstream": UpstreamInit(dataset="glyphs", num_images=64_000)})
    row = outcome_row(cell, None, CellStatus.BLOCKED, "no upstream", None)
    assert (row.init, row.num_upstream_images) == ("upstream:glyphs@64000", 64_000)


def test_a_row_of_published_weights_tells_their_upstream_data_and_the_rate_that_was_used() -> None:
    cell, record = done(1)
    weights = CheckpointSpec(name="vit_micro", family="vit", upstream="photos", num_upstream_images=1000)
    recipe = cell.recipe.model_copy(update={"trains": "head"})
    cell = cell.model_copy(update={"weights": weights, "recipe": recipe})
    row = outcome_row(cell, record.fingerprint, CellStatus.DONE, "", record.model_copy(update={"lr": 0.003}))
    assert (row.init, row.upstream_dataset, row.num_upstream_images) == ("pretrained", "photos", 1000)
    assert (row.is_probe, row.lr) == (True, 0.003)
    searching = record.model_copy(update={"test_accuracy": None, "test_loss": None, "dev_accuracy": None, "diverged": "NaN"})
    row = outcome_row(cell.model_copy(update={"role": Role.LR_SEARCH}), record.fingerprint, CellStatus.DONE, "", searching)
    assert (row.role, row.test_accuracy, row.dev_accuracy) == (Role.LR_SEARCH, None, None)


def test_the_environment_is_that_of_the_newest_record() -> None:
    results = recorded(done(1, finished_at="2026-01-02T00:00:00Z", python="3.12"), done(2))
    assert results.environment is not None
    assert results.environment.python == "3.12"
    assert results.warnings == ()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"device": "NVIDIA H200"}, "mix devices: NVIDIA H200 (1 cells), cpu, A processor (1 cells)"),
        ({"processor": "Another"}, "mix devices"),
        ({"packages": {"torch": "2.11.0"}}, "mix versions of torch: 2.11.0 (1 cells), 2.13.0 (1 cells)"),
        ({"packages": {}}, "unknown"),
        ({"commit": None}, "mix commits"),
        ({"vitrepro": "0.0.1"}, "mix versions of vitrepro"),
        ({"data_sha256": "f" * 64}, "mix contents of the data set"),
    ],
)
def test_mixed_circumstances_are_told(fields: dict[str, object], what: str) -> None:
    warnings = recorded(done(1), done(2, **fields)).warnings  # type: ignore[arg-type]
    assert len(warnings) == 1
    assert "Cells on digits" in warnings[0] and what in warnings[0]


@pytest.mark.parametrize(
    ("values", "mixed"),
    [
        (("compiled", None), "compiled (1 cells), plain (1 cells)"),
        (("CUDA graphs", "plain"), "CUDA graphs (1 cells), plain (1 cells)"),
        (("CUDA graphs", "compiled"), "CUDA graphs (1 cells), compiled (1 cells)"),
        (("plain", None), ""),
        (("CUDA graphs", "CUDA graphs"), ""),
    ],
)
def test_cells_whose_steps_were_taken_in_several_ways_are_told(values: tuple[str | None, ...], mixed: str) -> None:
    members = []
    for seed, value in enumerate(values, start=1):
        cell, record = done(seed)
        choices = () if value is None else (Choice(what="steps", value=value, reason="measured"),)
        members.append((cell, record.model_copy(update={"choices": choices})))
    warnings = recorded(*members).warnings
    assert [f"mix ways of taking training steps: {mixed}" in one for one in warnings] == [True] * bool(mixed)


def test_a_cell_whose_first_steps_were_taken_in_another_precision_is_told() -> None:
    (plain, alone), (resumed, record) = done(1), done(2)
    last = Choice(what="precision", value="bfloat16", reason="it was measured")
    first = Choice(what="first steps", value="float32", reason="taken on cpu by an attempt that was interrupted")
    of_one = plain, alone.model_copy(update={"choices": (last,)})
    moved = first.model_copy(update={"value": "bfloat16", "reason": "taken on another GPU"})
    of_both = resumed, record.model_copy(update={"choices": (last, first, moved)})
    of_same = resumed, record.model_copy(update={"choices": (last, moved)})
    assert not [one for one in recorded(of_one, of_same).warnings if "precisions" in one]
    [warning] = [one for one in recorded(of_one, of_both).warnings if "precisions" in one]
    assert warning.endswith("mix precisions: bfloat16 (1 cells), bfloat16 after float32 (1 cells).")


@pytest.mark.parametrize(
    ("values", "mixed"), [(("bfloat16", "float32"), "bfloat16 (1 cells), float32 (1 cells)"), (("float32", "float32"), "")]
)
def test_cells_in_several_precisions_are_told_and_the_newest_says_why(values: tuple[str, ...], mixed: str) -> None:
    members = []
    for seed, value in enumerate(values, start=1):
        cell, record = done(seed, finished_at=f"2026-01-0{seed}T00:00:00+00:00")
        choice = Choice(what="precision", value=value, reason=f"{value}: it was measured")
        members.append((cell, record.model_copy(update={"choices": (choice,)})))
    results = recorded(*members)
    assert [f"mix precisions: {mixed}" in one for one in results.warnings] == [True] * bool(mixed)
    assert results.precision == "float32: it was measured"
    assert recorded(done(1)).precision is None


@pytest.mark.slow
def test_thousands_of_cells_are_assembled() -> None:
    study = ToyStudy()
    rng = np.random.default_rng(3)
    for dataset in range(100):
        for size in range(10):
            for model in ("vit", "cnn"):
                study.add(model, 100 + size, rng.random((5, 500)) < 0.8, dataset=f"d{dataset:03d}")
    results = assembled(study, tuple(load_catalog().claims.values()))
    assert (len(results.cells), len(results.groups), len(results.gaps)) == (10_000, 2000, 1000)
    # 100 of ViT against CNN, 100 trends, and two on the inside of the ViTs of each data set.
    assert len(results.claims) == 400
