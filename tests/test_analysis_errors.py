"""Where both families err: made-up answers give exactly the expected classes, confusions, agreement and images."""

import json
import time

import numpy as np
import pytest
from errors_study import DEIT, OLD_RESNET, ErrorStudy, drawn
from toy_study import toy_pair

from repro.analysis.error_results import ErrorComparison, Exemplar
from repro.analysis.results import Results
from repro.analysis.statistics import Arm, Scale, estimate
from repro.records import CellStatus

LABELS = np.repeat([0, 1, 2], 4)
VIT = np.array([[0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0], [0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]])
CNN = np.array([[0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 1, 0], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 1, 2]])
NAMES = {"toy": ("apple", "bear", "<b>cat</b>")}


def known_study(num_seeds: int = 2) -> ErrorStudy:
    study = ErrorStudy()
    study.add("vit", 100, LABELS, VIT[:num_seeds])
    study.add("cnn", 100, LABELS, CNN[:num_seeds])
    return study


@pytest.fixture(scope="module")
def known() -> ErrorComparison:
    (comparison,) = known_study().results(NAMES).errors
    return comparison


def test_classes_are_sorted_by_the_paired_difference(known: ErrorComparison) -> None:
    assert [(row.label, row.num_images, row.vit.value, row.cnn.value, row.difference.value) for row in known.classes] == [
        (0, 4, 3 / 8, 7 / 8, 0.5),
        (1, 4, 7 / 8, 7 / 8, 0.0),
        (2, 4, 7 / 8, 5 / 8, -0.25),
    ]
    assert known.class_names == NAMES["toy"]
    assert (known.num_seeds, known.num_planned_seeds, known.num_test_images, known.num_train_images) == (2, 2, 12, 100)
    assert len(known.cells) == 4 and known.cells[0] == "toy.n100.cnn.scratch.plain.s1"


def test_intervals_are_those_of_the_analysis_on_the_images_of_the_class(known: ErrorComparison) -> None:
    arms = [Arm(weight=1.0, correct=CNN[:, 8:] == 2), Arm(weight=-1.0, correct=VIT[:, 8:] == 2)]
    assert known.classes[2].difference.ci95 == estimate(arms, Scale.ACCURACY).ci95
    alone = estimate(arms[:1], Scale.ACCURACY).ci95
    assert alone is not None and known.classes[2].cnn.ci95 == (max(0.0, alone[0]), min(1.0, alone[1]))


def test_confusions_are_counted_over_all_seeds_and_single_ones_left_out(known: ErrorComparison) -> None:
    assert [(row.true, row.predicted, row.num_vit, row.num_cnn) for row in known.confusions] == [(0, 1, 5, 1), (2, 1, 0, 2)]
    first, second = known.confusions
    assert (first.vit.value, first.cnn.value, first.difference.value) == (5 / 8, 1 / 8, -0.5)
    assert (first.leads_vit, first.leads_cnn, first.leads_difference) == (True, False, True)
    assert (second.leads_vit, second.leads_cnn, second.leads_difference) == (False, True, True)


def test_agreement_stands_beside_what_independence_would_give(known: ErrorComparison) -> None:
    agreement = known.agreement
    measured = (agreement.both, agreement.only_vit, agreement.only_cnn, agreement.neither)
    assert [share.value for share in measured] == pytest.approx([15 / 24, 2 / 24, 4 / 24, 3 / 24])
    alone = agreement.independent
    assert [alone.both, alone.only_vit, alone.only_cnn, alone.neither] == pytest.approx(
        [161 / 288, 43 / 288, 67 / 288, 17 / 288]
    )
    assert agreement.consistency == pytest.approx((5 / 9 + 1 / 7) / 2)
    assert agreement.consistency_vit == pytest.approx(0.4)


def test_images_that_one_family_alone_gets_are_named_with_what_both_said(known: ErrorComparison) -> None:
    assert known.only_vit == (Exemplar(image=10, true=2, vit_said=2, vit_votes=2, cnn_said=1, cnn_votes=2),)
    assert known.only_cnn == (Exemplar(image=2, true=0, vit_said=1, vit_votes=2, cnn_said=0, cnn_votes=2),)
    assert (known.num_only_vit, known.num_only_cnn) == (1, 1)


def test_six_images_are_named_those_of_most_seeds_first() -> None:
    labels = np.zeros(9, dtype=int)
    vit = np.tile(labels, (3, 1))
    vit[0, :5] = 2
    cnn = np.array([[1] * 9, [2] * 9, [0] * 4 + [2] * 5])
    study = ErrorStudy()
    study.add("vit", 100, labels, vit)
    study.add("cnn", 100, labels, cnn)
    (comparison,) = study.results().errors
    assert comparison.num_only_vit == 9 and comparison.only_cnn == ()
    assert [seen.image for seen in comparison.only_vit] == [5, 6, 7, 8, 4, 0]
    # Of the wrong answers the most frequent, though as many seeds were right; of equally frequent ones the smallest.
    assert [(seen.cnn_said, seen.cnn_votes) for seen in comparison.only_vit] == [(2, 2)] * 5 + [(1, 1)]
    assert [seen.vit_votes for seen in comparison.only_vit] == [3, 3, 3, 3, 2, 2]


def test_a_single_seed_has_shares_and_no_intervals() -> None:
    (comparison,) = known_study(1).results().errors
    assert all(row.difference.ci95 is None for row in comparison.classes)
    assert comparison.agreement.both.ci95 is None and comparison.agreement.consistency_vit is None
    assert comparison.num_apart == 0
    assert comparison.class_names == ("0", "1", "2")
    assert comparison.agreement.both.value == pytest.approx(8 / 12)


def test_perfect_families_agree_without_a_kappa() -> None:
    study = ErrorStudy()
    for model in ("vit", "cnn"):
        study.add(model, 100, LABELS, np.tile(LABELS, (2, 1)))
    (comparison,) = study.results().errors
    assert comparison.confusions == () and comparison.agreement.consistency is None
    assert comparison.agreement.both.value == 1.0


def test_too_few_names_are_none() -> None:
    (comparison,) = known_study().results({"toy": ("only", "two")}).errors
    assert comparison.class_names == ("0", "1", "2")


def test_nothing_is_compared_where_a_family_is_missing_or_nothing_was_handed_over() -> None:
    alone = ErrorStudy()
    alone.add("vit", 100, LABELS, VIT)
    assert alone.results().errors == ()
    assert ErrorStudy().results().errors == ()
    silent = known_study()
    silent.answers.clear()
    assert silent.results().errors == ()


def test_cells_with_other_labels_are_not_compared() -> None:
    study = known_study()
    study.answers["toy.n100.cnn.scratch.plain.s2"] = (LABELS[::-1], CNN[1])
    assert study.results().errors == ()


def test_the_largest_size_that_both_have_finished_counts_and_the_rest_is_told() -> None:
    study = known_study()
    study.add("vit", 1000, LABELS, VIT)
    study.study.add("cnn", 1000, CNN == LABELS, status=CellStatus.PENDING)
    (comparison,) = study.results().errors
    assert (comparison.num_train_images, comparison.largest_planned) == (100, 1000)
    study.add("cnn", 1000, LABELS, CNN[:1], recipe="plain")
    study.study.outcomes = [o for o in study.study.outcomes if not (o.row.id.startswith("toy.n1000.cnn") and o.row.reason)]
    (comparison,) = study.results().errors
    assert (comparison.num_train_images, comparison.num_seeds, comparison.largest_planned) == (1000, 1, 1000)


def test_of_several_recipes_the_one_with_most_seeds_counts_then_the_first() -> None:
    study = known_study(1)
    for model, said in (("vit", VIT), ("cnn", CNN)):
        study.add(model, 100, LABELS, said, recipe="strong")
        study.add(model, 100, LABELS, said, recipe="stronger")
        study.add(model, 500, LABELS, said, recipe="linear", is_probe=True)
    (comparison,) = study.results().errors
    assert (comparison.recipe, comparison.num_seeds) == ("strong", 2)


def published(study: ErrorStudy, vit: str, cnn: str, **options: object) -> None:
    for model, said in ((vit, VIT), (cnn, CNN)):
        study.add(model, 100, LABELS, said, init="pretrained", upstream=("photos-1k", 1000), **options)


def errors_of(results: Results) -> list[tuple[str, str, str, str]]:
    return [(found.init, found.recipe, found.pair, found.vit) for found in results.errors]


def test_the_first_declared_pair_of_published_weights_is_a_second_block() -> None:
    study = known_study()
    published(study, "vit_b", "cnn_b", recipe="fine")
    published(study, "vit_l", "cnn_l", recipe="fine")
    published(study, "vit_l", "cnn_l", recipe="a-probe", is_probe=True)
    pairs = [toy_pair("absent", "vit_cifar", "cnn_b"), toy_pair("large", "vit_l", "cnn_l"), toy_pair("base", "vit_b", "cnn_b")]
    assert errors_of(study.results(pairs=pairs)) == [
        ("scratch", "plain", "", "vit"),
        ("pretrained", "fine", "Large", "vit_l"),
    ]
    # In no declared pair: those that saw the same upstream data.
    assert errors_of(study.results())[1] == ("pretrained", "fine", "", "vit_b")


def test_results_with_errors_are_read_back_and_older_ones_without(known: ErrorComparison) -> None:
    results = known_study().results(NAMES)
    assert Results.model_validate_json(results.model_dump_json()) == results
    older = json.loads(results.model_dump_json())
    del older["errors"]
    assert Results.model_validate_json(json.dumps(older)).errors == ()


def test_a_hundred_classes_and_many_cells_take_little_time_and_room() -> None:
    labels = np.arange(10_000) % 100
    study = ErrorStudy()
    for model, accuracy in (("vit", 0.5), ("cnn", 0.6)):
        study.add(model, 50_000, labels, drawn(model, labels, 100, accuracy=accuracy, num_seeds=3))
        for size in range(100, 400):
            study.study.add(model, size, np.ones((5, 1), dtype=bool)[:, :1].repeat(10, axis=1), recipe="other", dataset="small")
    begun = time.perf_counter()
    results = study.results()
    assert time.perf_counter() - begun < 20
    (comparison,) = (found for found in results.errors if found.dataset == "toy")
    assert len(comparison.classes) == 100
    differences = [row.difference.value for row in comparison.classes]
    assert differences == sorted(differences, reverse=True)
    assert len(comparison.confusions) <= 15
    assert len(comparison.model_dump_json(indent=1)) < 80_000


def test_declared_models_keep_their_family() -> None:
    study = ErrorStudy()
    published(study, DEIT, OLD_RESNET, recipe="finetune-short")
    (comparison,) = study.results(pairs=[toy_pair("mini", DEIT, OLD_RESNET)]).errors
    assert (comparison.vit, comparison.cnn, comparison.pair) == (DEIT, OLD_RESNET, "Mini")
