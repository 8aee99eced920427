"""What the page tells of published weights: pairs, published numbers beside ours, searches for learning rates, recipes."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from published_study import DEIT, NEW_RESNET, OLD_RESNET, PROFILE, VIT_B16, published_results, published_study
from report_fixtures import HOSTILE, make_profile, make_results, make_study
from toy_study import SMALL_UPSTREAM, ToyStudy, toy_claim, toy_pair

from repro.analysis.assemble import assemble
from repro.analysis.results import Results
from repro.catalog import Catalog, load_catalog
from repro.figures import draw_figures
from repro.page import Page, build_page, render_html
from repro.page.checkpoints import checkpoints_of
from repro.page.protocol import model_rows
from repro.page.rates import search_tables
from repro.records import CellStatus
from repro.spec import CellBlock, CheckpointSpec, DatasetSpec, ModelSpec, PairSpec, Profile, PublishedResult, Role, Scope


@pytest.fixture(scope="module")
def results() -> Results:
    return published_results(published_study(num_images=300))


@pytest.fixture(scope="module")
def page(results: Results) -> Page:
    return build_page(profile=PROFILE, results=results, figures=draw_figures(results), catalog=load_catalog())


@pytest.fixture(scope="module")
def markup(page: Page) -> str:
    return render_html(page)


class Text(HTMLParser):
    """Tags, ids and visible text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def toy_results(study: ToyStudy, *pairs: PairSpec, profile: Profile) -> Results:
    claims = [toy_claim(scope=Scope(init="pretrained"))]
    return assemble(profile, study.outcomes, study.predictions, claims, pairs=pairs, generated_at="2026-01-01T00:00:00Z")


def toy_profile(**fields: object) -> Profile:
    block = CellBlock(dataset=("digits",), size=(1.0,), model=("vit", "cnn"), init=("pretrained",), recipe="micro-finetune")
    return Profile.model_validate({"name": "toy", "cells": (block,)} | fields)


def catalog_with(*published: PublishedResult) -> Catalog:
    return replace(load_catalog(), published=published)


def one_result(accuracy: tuple[float, ...], recipe: str | None = None) -> PublishedResult:
    return PublishedResult(model="vit", dataset="digits", recipe=recipe, accuracy=accuracy, setting="s", source="t")


def digits_study(*, size: int = 1197, init: str = "pretrained", recipe: str = "micro-finetune", **options: object) -> ToyStudy:
    study = ToyStudy()
    for model, correct in (("vit", 380), ("cnn", 360)):
        fields: dict[str, object] = {"dataset": "digits", "init": init, "upstream": SMALL_UPSTREAM, "recipe": recipe} | options
        study.add(model, size, [correct] * 3, **fields)  # type: ignore[arg-type]
    return study


def test_each_pair_has_its_models_with_what_they_were_trained_on(page: Page) -> None:
    assert page.checkpoints is not None
    mini, *others = page.checkpoints.pairs
    assert (mini.title, [row.name for row in mini.rows]) == ("DeiT-Ti against ResNet-18", [DEIT, OLD_RESNET, NEW_RESNET])
    row = mini.rows[0]
    assert row.spec is not None and row.spec.imagenet_top1 == 0.7219
    assert (row.upstream, row.num_upstream_images, row.num_parameters) == ("ImageNet-1k", 1_281_167, (5_717_416,))
    assert row.place == "model.safetensors, huggingface"
    large = next(pair for pair in others if pair.title == "ViT-L/16 against ResNet-50, torchvision")
    assert [row.name for row in large.rows] == ["torchvision/vit_l_16.IMAGENET1K_V1", "torchvision/resnet50.IMAGENET1K_V1"]


def test_models_that_stand_in_no_declared_pair_have_a_table_of_their_own() -> None:
    results = toy_results(digits_study(), profile=toy_profile())
    found = build_page(
        profile=toy_profile(), results=results, figures=draw_figures(results), catalog=load_catalog()
    ).checkpoints
    assert found is not None
    assert [(pair.title, [row.name for row in pair.rows]) for pair in found.pairs] == [("", ["cnn", "vit"])]


def test_the_page_says_what_no_interval_here_can_say(markup: str) -> None:
    section = Text(markup.partition('<section id="checkpoints">')[2].partition("</section>")[0]).text
    section = " ".join(section.split())
    assert "cannot be matched in everything" in section
    assert "say nothing about training the weights anew" in section
    assert "600 epochs, LAMB" in section and "Apache-2.0" in section and "timm results/results-imagenet.csv" in section
    assert "these checkpoints, fine-tuned" in markup


def test_a_page_without_published_weights_has_no_such_section() -> None:
    results = make_results(make_study())
    page = build_page(profile=make_profile(), results=results, figures=draw_figures(results), catalog=load_catalog())
    assert (page.checkpoints, page.searches) == (None, ())
    markup = render_html(page)
    parts = ('id="checkpoints"', 'id="rates"', 'href="#checkpoints"', "Image size", "What is trained")
    assert not any(part in markup for part in parts)


def test_every_link_of_the_page_leads_somewhere_and_ids_are_unique(markup: str) -> None:
    text = Text(markup)
    assert len(text.ids) == len(set(text.ids))
    assert {link[1:] for link in text.links if link.startswith("#")} <= set(text.ids)
    assert {"#checkpoints", "#rates"} <= set(text.links)
    assert text.tags.count("script") == 1


@pytest.mark.parametrize(
    ("accuracy", "difference"),
    [((0.95,), 0.0), ((0.94,), 0.01), ((0.93, 0.96), 0.0), ((0.96, 0.97), -0.01), ((0.90, 0.93), 0.02)],
)
def test_the_difference_is_from_the_value_or_the_nearer_end_of_the_range(
    accuracy: tuple[float, ...], difference: float
) -> None:
    results = toy_results(digits_study(), profile=toy_profile())
    found = checkpoints_of(toy_profile(), results, catalog_with(one_result(accuracy)))
    assert found is not None
    [row] = found.published
    assert row.difference == pytest.approx(difference)
    assert (row.ours.model, row.follows) == ("vit", False)


@pytest.mark.parametrize(
    ("study", "recipe", "rows"),
    [
        (digits_study(), "micro-finetune", 1),
        (digits_study(), "finetune-long", 0),
        (digits_study(size=500), None, 0),
        (digits_study(init="file:/home/me/mine.pth"), None, 0),
        (digits_study(is_probe=True), None, 0),
        (digits_study(is_probe=True), "micro-finetune", 1),
    ],
)
def test_published_numbers_stand_beside_ours_on_the_whole_training_part(study: ToyStudy, recipe: str | None, rows: int) -> None:
    found = checkpoints_of(toy_profile(), toy_results(study, profile=toy_profile()), catalog_with(one_result((0.9,), recipe)))
    assert found is not None
    assert [row.follows for row in found.published] == [recipe is not None] * rows


def test_the_whole_training_part_is_the_largest_where_its_size_is_not_known() -> None:
    profile = toy_profile(
        dataset=(DatasetSpec(name="own", path=Path("own.npz")),),
        cells=(CellBlock(dataset=("own",), size=(1.0,), model=("vit",), init=("pretrained",), recipe="micro-finetune"),),
    )
    study = ToyStudy()
    for size in (50, 100):
        study.add("vit", size, [300] * 3, dataset="own", init="pretrained", recipe="micro-finetune")
    published = one_result((0.9,)).model_copy(update={"dataset": "own"})
    found = checkpoints_of(profile, toy_results(study, profile=profile), catalog_with(published))
    assert found is not None
    assert [row.ours.num_train_images for row in found.published] == [100]


def test_published_numbers_are_sorted_by_model_and_say_which_schedule_they_follow(page: Page, markup: str) -> None:
    assert page.checkpoints is not None
    rows = page.checkpoints.published
    assert len(
        {(row.published.source, row.ours.dataset, row.ours.recipe, row.published.setting, row.ours.model) for row in rows}
    ) == len(rows)
    models = [row.ours.model for row in rows]
    assert models == sorted(models, key=models.index) and VIT_B16 in models
    assert not {"linear-probe", "few-shot", "scratch-224"} & {row.ours.recipe for row in rows}
    assert {row.ours.recipe for row in rows if row.follows} <= {"finetune-short", "finetune-long-384"}
    assert "Published numbers beside ours" in markup and "97.2 to 97.4" in markup and "another schedule" in markup


def searched(**options: object) -> ToyStudy:
    study = ToyStudy()
    for rate, accuracy in ((0.001, 0.8), (0.003, 0.9), (0.01, None)):
        study.add(
            "vit", 1000, [0], init="pretrained", recipe=f"tune+lr{rate:g}", role=Role.LR_SEARCH, lr=rate, dev_accuracy=accuracy
        )
    study.add("cnn", 1000, [0], init="pretrained", recipe="tune+lr0.003", role=Role.LR_SEARCH, lr=0.003, dev_accuracy=0.7)
    study.add("cnn", 1000, [0], init="pretrained", recipe="tune+lr0.03", role=Role.LR_SEARCH, status=CellStatus.PENDING)
    study.add("vit", 1000, [300] * 3, init="pretrained", recipe="tune", lr=0.003)
    study.add("cnn", 1000, [300], init="pretrained", recipe="tune", status=CellStatus.PENDING)
    return study


def test_searches_stand_in_one_table_a_recipe_with_the_rate_that_the_cells_took() -> None:
    [table] = search_tables([outcome.row for outcome in searched().outcomes])
    assert (table.recipe, table.rates) == ("tune", (0.001, 0.003, 0.01, 0.03))
    vit, cnn = table.rows
    assert [rate.dev_accuracy if rate else "-" for rate in vit.rates] == [0.8, 0.9, None, "-"]
    assert [bool(rate and rate.is_chosen) for rate in vit.rates] == [False, True, False, False]
    assert vit.rates[2] is not None and vit.rates[2].words == "diverged"
    assert not vit.at_the_edge
    assert [rate.words if rate else "-" for rate in cnn.rates] == ["-", "", "-", "pending"]
    assert not any(rate and rate.is_chosen for rate in cnn.rates), "nothing is trained with a chosen rate yet"


def test_a_rate_at_the_end_of_its_grid_is_told(page: Page, markup: str) -> None:
    assert any(row.at_the_edge for table in page.searches for row in table.rows)
    text = " ".join(Text(markup).text.split())
    assert "the best rate lies at an end of the grid, so that a better one may lie beyond it" in text
    assert "chosen from 0.001, 0.003, 0.01, 0.03" in text and "diverged" in text


def test_recipes_tell_image_size_crop_momentum_batches_and_heads(page: Page, markup: str) -> None:
    text = " ".join(Text(markup.partition('<section id="protocol">')[2]).text.split())
    for words in (
        "SGD, plain momentum 0.9",
        "SGD, Nesterov momentum 0.9",
        "none: least squares in closed form, penalty 1024",
        "a linear head on frozen features",
        "224 px, bicubic",
        "512 (models with BatchNorm: 128 at a time)",
        "Inception crop of 5 to 100 % of the image, mirror",
    ):
        assert words in text, words
    assert {column.name for column in page.recipes} == {block.recipe for block in PROFILE.cells}


def test_library_models_are_named_by_their_library() -> None:
    own = ModelSpec(name="mine", architecture="timm/vit_tiny_patch16_224", family="vit")
    profile = toy_profile(model=(own,))
    study = digits_study()
    rows = [
        outcome.row.model_copy(update={"model": name})
        for outcome, name in zip(study.outcomes, ("mine", DEIT, "timm/unheard_of.tag", "vit_micro"), strict=False)
    ]
    shapes = {row.name: (row.shape, row.citation) for row in model_rows(profile, load_catalog(), rows)}
    assert shapes["mine"] == ("vit_tiny_patch16_224 of timm", "")
    assert shapes[DEIT][0] == "as in timm" and "Touvron" in shapes[DEIT][1]
    assert shapes["timm/unheard_of.tag"] == ("as in timm", "")
    assert shapes["vit_micro"][0].startswith("patch ")


def test_low_training_accuracy_of_a_probe_is_no_alarm(page: Page, markup: str) -> None:
    assert {row.recipe for row in page.training if row.is_probe} == {"linear-probe", "few-shot"}
    assert "(head only)" in markup and "(below 99 %)" not in markup


def test_a_profiles_own_checkpoint_takes_the_place_of_a_shipped_one() -> None:
    own = CheckpointSpec(name=DEIT, family="vit", title="My DeiT", license="mine alone")
    profile = toy_profile(checkpoint=(own,))
    study = ToyStudy()
    study.add(DEIT, 1197, [300] * 3, dataset="digits", init="pretrained", recipe="micro-finetune")
    study.add(DEIT, 1197, [300] * 3, dataset="digits", init="file:/home/me/mine.pth", recipe="micro-finetune")
    found = checkpoints_of(profile, toy_results(study, profile=profile), load_catalog())
    assert found is not None
    [table] = found.pairs
    assert {row.name: row.spec.title if row.spec else None for row in table.rows} == {
        DEIT: "My DeiT",
        f"{DEIT} from file mine.pth": None,
    }, "what is known of the published weights says nothing of a file"


def test_hostile_names_are_shown_and_not_executed() -> None:
    name = HOSTILE[:90]
    profile = toy_profile(
        checkpoint=(
            CheckpointSpec(
                name="vit",
                family="vit",
                title=name,
                upstream_recipe=name,
                license=name,
                imagenet_top1=0.5,
                imagenet_source=name,
            ),
        )
    )
    study = digits_study(upstream=(name, 1000))
    study.add("vit", 1197, [380] * 3, dataset="digits", init=f"file:/home/{name}.pth", recipe="micro-finetune")
    study.add(
        "vit",
        1197,
        [0],
        dataset="digits",
        init="pretrained",
        recipe=f"{name}+lr0.1",
        role=Role.LR_SEARCH,
        lr=0.1,
        dev_accuracy=0.5,
    )
    pair = toy_pair("mini", "vit", "cnn").model_copy(update={"title": name, "reason": name})
    published = one_result((0.9,)).model_copy(update={"setting": name, "source": name})
    results = toy_results(study, pair, profile=profile)
    page = build_page(profile=profile, results=results, figures=draw_figures(results), catalog=catalog_with(published))
    text = Text(render_html(page))
    assert text.tags.count("script") == 1
    assert text.text.count("<script>alert('x')</script>") >= 8
    assert "from file" in text.text and "/home/" not in text.text.partition("Every cell")[0].partition("Means over seeds")[2]
