import re

import pytest
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from report_fixtures import make_claim, make_gaps, make_groups, make_profile, make_results, make_row, make_study

from repro.analysis.results import ClaimResult, Results, Verdict
from repro.analysis.wording import measure_in_words
from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.headline import headline
from repro.page import Page, build_page, render_html
from repro.records import CellStatus
from repro.spec import Role


@pytest.fixture(scope="module")
def results() -> Results:
    return make_results(make_study())


def with_claims(results: Results, **verdicts: Verdict) -> Results:
    gaps = make_gaps(make_groups([make_row(cell) for cell in make_study(num_seeds=2)]))
    claims = tuple(make_claim(name.replace("_", "-"), verdict, gaps[:1]) for name, verdict in verdicts.items())
    return results.model_copy(update={"claims": claims})


def test_headline_quotes_each_claim_under_its_verdict(results: Results) -> None:
    assert headline(results) == (
        "In miniature and on digits, this run supports that the CNN is ahead from scratch at every size, contradicts that "
        "pre-training lifts the ViT more than the CNN and leaves open whether the CNN's lead from scratch shrinks with more "
        "images."
    )


@pytest.mark.parametrize("verdict", list(Verdict))
def test_headline_is_never_stronger_than_the_verdicts(results: Results, verdict: Verdict) -> None:
    sentence = headline(with_claims(results, scratch_cnn_ahead=verdict, more_upstream_images_help=verdict))
    words = {Verdict.SUPPORTED: "supports", Verdict.CONTRADICTED: "contradicts", Verdict.INCONCLUSIVE: "leaves open"}
    assert [word in sentence for word in words.values()] == [word == words[verdict] for word in words.values()]


def test_headline_does_not_take_sides_where_comparisons_differ(results: Results) -> None:
    claim = results.claims[0]
    other: ClaimResult = claim.model_copy(update={"dataset": "letters", "verdict": Verdict.CONTRADICTED})
    sentence = headline(results.model_copy(update={"claims": (claim, other)}))
    assert "supports" not in sentence and "contradicts" not in sentence
    assert "on digits and letters, this run gives different verdicts in different comparisons on whether" in sentence


def test_headline_counts_many_claims_instead_of_quoting_them(results: Results) -> None:
    names = ("scratch_cnn_ahead", "gap_narrows_with_data", "pretraining_helps_vit_more")
    sentence = headline(with_claims(results, **dict.fromkeys(names, Verdict.INCONCLUSIVE)))
    assert sentence == "In miniature and on digits, this run leaves open all 3 claims tested."


def test_headline_says_once_how_many_claims_were_tested(results: Results) -> None:
    [first, *_] = results.claims
    claims = tuple(
        first.model_copy(update={"id": f"{verdict}-{number}", "verdict": verdict})
        for verdict, how_many in ((Verdict.SUPPORTED, 4), (Verdict.CONTRADICTED, 3), (Verdict.INCONCLUSIVE, 5))
        for number in range(how_many)
    )
    assert headline(results.model_copy(update={"claims": claims})) == (
        "In miniature and on digits, this run supports 4 of the 12 claims tested, contradicts 3 and leaves open 5."
    )


def test_headline_keeps_the_capitals_of_names(results: Results) -> None:
    [first, *_] = results.claims
    for claim, said in (
        (first.claim.model_copy(update={"short": "ViT models win"}), "supports that ViT models win."),
        (first.claim.model_copy(update={"short": ""}), f"supports that {first.statement[0].lower()}{first.statement[1:]}"),
    ):
        result: ClaimResult = first.model_copy(update={"claim": claim})
        assert said in headline(results.model_copy(update={"claims": (result,)}))


def test_headline_of_an_unfinished_matrix_says_so() -> None:
    cells = make_study()
    some = headline(make_results(cells, unfinished={cells[0].id: CellStatus.FAILED}))
    assert some.startswith(
        f"So far, with {len(cells) - 1} of {len(cells)} cells finished, in miniature and on digits, this run "
    )
    without = headline(make_results(cells, unfinished={cells[0].id: CellStatus.FAILED}, verdicts=False))
    assert without.endswith("this run reaches no verdict: it shows measurements only.")
    none = headline(make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}))
    assert none == f"Nothing is measured yet: none of the {len(cells)} cells of this profile is finished."


def test_every_measure_is_worded_in_the_claims_direction() -> None:
    for claim in load_catalog().claims.values():
        words, unit = measure_in_words(claim)
        units = {
            "positions-in-line-alike": "in cosine similarity",
            "attention-distance-rises": "% of uniform attention's distance",
        }
        assert unit.startswith(units.get(claim.id, "points")) and ("per tenfold" in words) == ("per tenfold" in unit)
    assert measure_in_words(load_catalog().claims["scratch-cnn-ahead"])[0] == "accuracy of the CNN minus accuracy of the ViT"


def test_page_pairs_each_convergence_check_with_the_cell_it_repeats(results: Results) -> None:
    page = build_page(profile=make_profile(), results=results, figures=draw_figures(results), catalog=load_catalog())
    assert len(page.checks) == 2
    for check in page.checks:
        assert check.normal is not None
        assert (check.normal.role, check.normal.recipe, check.normal.seed) == (Role.STUDY, "micro-scratch", 1)
        assert check.normal.model == check.longer.model
    assert page.tally == {Verdict.SUPPORTED: 1, Verdict.CONTRADICTED: 1, Verdict.INCONCLUSIVE: 1}
    assert {row.lowest_train_accuracy for row in page.training} == {1.0, 0.9975}


def test_page_shows_energy_only_where_every_cell_had_the_device_alone(results: Results) -> None:
    def energy(**changes: object) -> float | None:
        rows = tuple(row.model_copy(update=changes) for row in results.cells)
        changed = results.model_copy(update={"cells": rows})
        return build_page(
            profile=make_profile(), results=changed, figures=draw_figures(changed), catalog=load_catalog()
        ).energy_j

    assert energy(energy_j=2.0, device_shared=True) is None
    assert energy(energy_j=2.0, device_shared=False) == 2.0 * len(results.cells)


@pytest.fixture(scope="module")
def full_page() -> Page:
    results = full_results(full_study(num_images=300))
    return build_page(profile=FULL, results=results, figures=draw_figures(results), catalog=load_catalog())


def test_many_entries_are_led_by_a_table_of_all_verdicts(full_page: Page, results: Results) -> None:
    markup = render_html(full_page)
    table = markup.partition('<table class="overview">')[2].partition("</table>")[0]
    assert [f"claim-{number}-entry" for number in range(1, len(full_page.claims) + 1)] == re.findall(r'href="#([^"]+)"', table)
    assert table.count("rowgroup") == len({entry.result.id for entry in full_page.claims})
    assert "<td" in table and "cifar-strong \u2212 cifar-plain" in table
    few = build_page(profile=make_profile(), results=results, figures=draw_figures(results), catalog=load_catalog())
    assert 'class="overview"' not in render_html(few)


def test_an_entry_says_what_becomes_of_its_verdict_and_where_it_stands(full_page: Page) -> None:
    markup = render_html(full_page)
    said = [entry.result.survival for entry in full_page.claims if entry.result.survival]
    assert said and all(sentence in markup for sentence in said)
    assert "points per tenfold of upstream images" in markup
    assert markup.count('<span class="where">') == len(full_page.claims) + len(full_page.observations)


def test_recipes_stand_in_one_column_each_with_all_that_they_do(full_page: Page) -> None:
    by_name = {column.name: column for column in full_page.recipes}
    assert list(by_name) == ["cifar-plain", "cifar-strong", "cifar-finetune", "tiny-upstream"]
    strong, upstream = by_name["cifar-strong"], by_name["tiny-upstream"]
    assert all(words in strong.augmentation for words in ("mirror", "TrivialAugment", "mixup", "CutMix", "erasing"))
    assert strong.steps.startswith("up to 5,000 images ") and "; else " in strong.steps
    assert not upstream.steps.startswith("up to")
    markup = render_html(full_page)
    assert "SGD, Nesterov momentum" in markup and "AdamW, betas" in markup


def test_low_training_accuracy_is_no_alarm_under_a_recipe_that_is_not_expected_to_reach_it(full_page: Page) -> None:
    assert {row.recipe for row in full_page.training if row.is_regularised} == {"cifar-strong"}
    markup = render_html(full_page)
    assert "93.0\u00a0% (as expected)" in markup and "(below 99 %)" not in markup
