"""Which models are set against each other: declared pairs of published weights, and what becomes of incomplete ones."""

import pytest
from toy_study import LARGE_UPSTREAM, SMALL_UPSTREAM, ToyStudy, toy_claim, toy_pair

from repro.analysis.arms import contender, kind_of_init
from repro.analysis.assemble import assemble
from repro.analysis.claims import evaluate
from repro.analysis.pairs import Pair
from repro.analysis.results import Results
from repro.analysis.study import index_study
from repro.records import CellStatus
from repro.spec import CellBlock, PairSpec, Profile, Role, Scope

PRETRAINED = Scope(init="pretrained")
PROFILE = Profile(name="toy", cells=(CellBlock(dataset=("toy",), size=(1.0,), model=("vit",), recipe="tune"),))


def published(**correct: int) -> ToyStudy:
    """Three seeds of each model, from weights with the small upstream set."""
    study = ToyStudy()
    for model, number in correct.items():
        study.add(model, 100, [number] * 3, init="pretrained", upstream=SMALL_UPSTREAM, recipe="tune")
    return study


def pairs_of(study: ToyStudy, *declared: PairSpec) -> list[Pair]:
    return list(index_study((outcome.row for outcome in study.outcomes), study.predictions, declared).pairs)


def names(pairs: list[Pair]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(pair.name, pair.vits, pair.cnns) for pair in pairs]


def results_of(study: ToyStudy, *declared: PairSpec) -> Results:
    return assemble(PROFILE, study.outcomes, study.predictions, [], pairs=declared, generated_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("init", "kind"),
    [
        ("scratch", "scratch"),
        ("upstream:glyphs@2000", "upstream"),
        ("upstream:file:x@1", "upstream"),
        ("pretrained", "pretrained"),
        ("file:/a/b.safetensors", "pretrained"),
    ],
)
def test_the_kind_follows_from_the_init_not_from_the_number_of_images(init: str, kind: str) -> None:
    assert kind_of_init(init) == kind


def test_a_declared_pair_takes_every_vit_against_every_cnn_in_its_own_order() -> None:
    [pair] = pairs_of(published(vit=300, cnn=310, cnn_b=320), toy_pair("mini", "vit", ["cnn_b", "cnn"]))
    assert (pair.name, pair.title, pair.kind) == ("mini", "Mini", "pretrained")
    assert (pair.vits, pair.cnns) == (("vit",), ("cnn_b", "cnn"))
    assert [(vit.model, cnn.model) for vit, cnn in pair.combinations] == [("vit", "cnn_b"), ("vit", "cnn")]
    assert [pair.which(*arms) for arms in pair.combinations] == ["against cnn_b", "against cnn"]


def test_a_pair_with_claims_of_its_own_is_left_out_of_those_for_every_pair() -> None:
    study = published(vit=300, cnn=310)
    pair = toy_pair("scale", "vit", ["cnn"]).model_copy(update={"has_own_claims_only": True})
    general, own = toy_claim(scope=PRETRAINED), toy_claim(scope=Scope(init="pretrained", pair="scale"))
    assert evaluate(general, study.outcomes, study.predictions, pairs=[pair], miniature=False) == []
    [result] = evaluate(own, study.outcomes, study.predictions, pairs=[pair], miniature=False)
    assert result.vit == "vit"


def test_an_incomplete_pair_falls_to_single_ones_with_the_same_upstream_data() -> None:
    declared = toy_pair("mini", "vit", ["cnn", "cnn_b"])
    study = published(vit=300, cnn=310)
    assert names(pairs_of(study, declared)) == [("", ("vit",), ("cnn",))]
    study.add("cnn_b", 100, [300] * 3, init="pretrained", upstream=LARGE_UPSTREAM, recipe="other")
    assert names(pairs_of(study, declared)) == [("", ("vit",), ("cnn",))], "another recipe's cells complete nothing here"
    study.add("cnn_b", 100, [300], init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune", status=CellStatus.PENDING)
    assert names(pairs_of(study, declared)) == [("mini", ("vit",), ("cnn", "cnn_b"))], "what is planned counts"


def test_a_model_in_no_complete_pair_stands_against_each_of_the_other_family() -> None:
    study = published(vit=300, cnn=310, vit_b=320, cnn_b=330)
    assert names(pairs_of(study, toy_pair("mini", "vit", "cnn"))) == [
        ("mini", ("vit",), ("cnn",)),
        ("", ("vit",), ("cnn_b",)),
        ("", ("vit_b",), ("cnn",)),
        ("", ("vit_b",), ("cnn_b",)),
    ]


def test_weights_of_other_or_unknown_upstream_data_are_paired_only_where_it_is_declared() -> None:
    study = published(vit=300)
    study.add("cnn", 100, [310] * 3, init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune")
    study.add("vit_b", 100, [310] * 3, init="pretrained", recipe="tune")
    study.add("cnn_b", 100, [310] * 3, init="pretrained", recipe="tune")
    assert pairs_of(study) == []
    both = toy_pair("mixed", ["vit", "vit_b"], ["cnn", "cnn_b"])
    [pair] = pairs_of(study, both)
    assert len(pair.combinations) == 4
    [result] = evaluate(toy_claim(scope=PRETRAINED), study.outcomes, study.predictions, pairs=[both], miniature=False)
    labels = [point.label for point in result.points]
    assert labels[0] == "100 training images after at least 1,281,167 upstream images, vit against cnn"
    assert labels[3] == "100 training images from weights of unknown upstream images, vit_b against cnn_b"


def test_a_name_means_the_weights_that_it_pins_and_a_file_where_there_are_none() -> None:
    study = published(vit=300, cnn=310)
    declared = toy_pair("mini", "vit", "cnn")
    for file in ("file:/home/me/mine.pth", "file:/home/me/other.pth"):
        study.add("vit", 100, [200] * 3, init=file, recipe="tune")
    assert names(pairs_of(study, declared)) == [("mini", ("vit",), ("cnn",))], "a file of unknown data is paired with nothing"
    own = ToyStudy()
    own.add("vit", 100, [200] * 3, init="file:/home/me/mine.pth", recipe="tune")
    own.add("cnn", 100, [310] * 3, init="pretrained", upstream=SMALL_UPSTREAM, recipe="tune")
    [pair] = pairs_of(own, declared)
    assert pair.vits == ("vit from file mine.pth",) == (contender("vit", "file:/home/me/mine.pth"),)
    [gap] = results_of(own, declared).gaps
    assert (gap.vit, gap.cnn, gap.init) == ("vit from file mine.pth", "cnn", "pretrained")


def test_scratch_and_upstream_arms_are_paired_one_by_one_whatever_is_declared() -> None:
    study = ToyStudy()
    for init in ("scratch", "upstream:glyphs@2000"):
        for model in ("vit", "cnn", "cnn_b"):
            study.add(model, 100, [300] * 3, init=init)
    pairs = pairs_of(study, toy_pair("mini", "vit", ["cnn", "cnn_b"]))
    assert [(pair.kind, pair.cnns) for pair in pairs] == [
        ("scratch", ("cnn",)),
        ("upstream", ("cnn",)),
        ("scratch", ("cnn_b",)),
        ("upstream", ("cnn_b",)),
    ]


def test_of_two_pairs_with_one_name_the_later_counts() -> None:
    study = published(vit=300, cnn=310, cnn_b=320)
    declared = toy_pair("mini", "vit", "cnn"), toy_pair("mini", "vit", ["cnn", "cnn_b"])
    assert names(pairs_of(study, *declared)) == [("mini", ("vit",), ("cnn", "cnn_b"))]


def test_gaps_stand_once_each_and_only_inside_pairs() -> None:
    study = published(vit=300, cnn=310, cnn_b=320)
    study.add("vit_b", 100, [320] * 3, init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune")
    results = results_of(
        study, toy_pair("one", "vit", ["cnn", "cnn_b"]), toy_pair("two", "vit", "cnn"), toy_pair("off", "vit_l", "cnn")
    )
    assert [(gap.vit, gap.cnn) for gap in results.gaps] == [("vit", "cnn"), ("vit", "cnn_b")]
    assert [group.model for group in results.groups] == ["cnn", "cnn_b", "vit", "vit_b"]
    assert [pair.name for pair in results.pairs] == ["one", "two"], "those whose models are all there"
    assert Results.model_validate_json(results.model_dump_json()) == results


def test_searches_for_a_rate_are_listed_and_enter_nothing() -> None:
    study = published(vit=300, cnn=310)
    before = results_of(study)
    for rate, accuracy in ((0.01, 0.9), (0.03, None)):
        recipe = f"tune+lr{rate:g}"
        options = {"init": "pretrained", "upstream": SMALL_UPSTREAM, "role": Role.LR_SEARCH, "lr": rate, "recipe": recipe}
        study.add("vit", 1000, [0], dev_accuracy=accuracy, **options)
    study.add("vit", 1000, [0], status=CellStatus.PENDING, **options | {"recipe": "tune+lr0.1", "lr": 0.1})
    after = results_of(study)
    assert (after.groups, after.gaps, after.pairs) == (before.groups, before.gaps, before.pairs)
    assert [row.role for row in after.cells] == [*[Role.STUDY] * 6, *[Role.LR_SEARCH] * 3]
    assert {row.test_accuracy for row in after.cells[6:]} == {None}
    assert [row.lr for row in after.cells[6:]] == [0.01, 0.03, None]
    [warning] = after.warnings
    assert warning == "The matrix is unfinished: 8 of 9 cells are done, 1 pending."
    [result] = evaluate(toy_claim(scope=PRETRAINED), study.outcomes, study.predictions, miniature=False)
    assert (result.n, len(result.cells)) == (3, 6)
