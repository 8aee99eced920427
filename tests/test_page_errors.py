"""The section on errors as a reader sees it, and its figure."""

import base64
import io
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import spine
from errors_study import ErrorStudy, picture, profile_of, shown_study
from PIL import Image
from report_fixtures import HOSTILE
from test_analysis_errors import CNN, LABELS, NAMES, VIT, known_study

from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.datasets.glimpses import Glimpse
from repro.figures import draw_figures
from repro.figures.classes import class_figure
from repro.page import build_page, render_html
from repro.page.exemplars import NUM_COLOURS, data_uri
from repro.records import CellStatus
from repro.stages.report import report

SVG = "{http://www.w3.org/2000/svg}"


class Text(HTMLParser):
    """Tags, image texts and visible text of a piece of the page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(markup)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def section(results: Results, glimpses: dict[str, Glimpse] | None = None) -> str:
    profile = profile_of("cifar10", ("vit_cifar", "resnet18_cifar"))
    page = build_page(
        profile=profile, results=results, figures=draw_figures(results), catalog=load_catalog(), glimpses=glimpses
    )
    markup = render_html(page)
    assert markup.index('id="training"') < markup.index('id="errors"') < markup.index('id="results"')
    return section_of(markup)


def section_of(markup: str) -> str:
    return markup.partition('<section id="errors">')[2].partition("</section>")[0]


def decoded(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_the_known_study_is_told_exactly() -> None:
    images = {place: picture(place, side=8, num_channels=1) for place in (2, 10)}
    seen = Text(section(known_study().results(NAMES), {"toy": Glimpse(images=images)}))
    # Names are escaped: the class called <b>cat</b> is text.
    assert "Only the ViT: 1 image <b>cat</b> ViT right, 2 of 2 CNN bear, 2 of 2" in seen.text
    assert "Only the CNN: 1 image apple ViT bear, 2 of 2 CNN right, 2 of 2" in seen.text
    assert [image["alt"] for image in seen.images] == ["Test image 10 of toy: <b>cat</b>", "Test image 2 of toy: apple"]
    for image, place in zip(seen.images, (10, 2), strict=True):
        assert image["src"] is not None
        assert np.array_equal(np.array(decoded(image["src"])), images[place][..., 0])
    assert "12 test images, 2 seeds." in seen.text
    assert "Not finished yet" not in seen.text and "planned" not in seen.text


def test_a_single_unfinished_seed_is_said() -> None:
    study = known_study(1)
    for model, said in (("vit", VIT), ("cnn", CNN)):
        study.study.add(model, 100, said[1:] == LABELS, first_seed=2, status=CellStatus.PENDING)
        study.study.add(model, 900, said == LABELS, status=CellStatus.PENDING)
    text = Text(section(study.results(NAMES))).text
    assert "1 seed of 2 planned." in text and "One seed gives no interval" in text
    assert "Not finished yet: 900 training images." in text
    assert "a single seed gives no interval" in text and "[" not in text
    assert "They are not shown: none were handed to the report." in text


def test_an_empty_and_a_one_sided_matrix_say_what_is_missing() -> None:
    assert "no data set has cells that are tested" in Text(section(ErrorStudy().results())).text
    study = ErrorStudy()
    study.add("vit", 100, LABELS, VIT)
    study.study.add("cnn", 100, CNN == LABELS, status=CellStatus.FAILED)
    text = Text(section(study.results())).text
    assert "Nothing to compare yet on toy:" in text and "Seed by seed" not in text
    other = known_study()
    other.add("vit", 100, LABELS, VIT, dataset="lonely")
    text = Text(section(other.results())).text
    assert "Nothing to compare yet on lonely:" in text and "toy, from scratch" in text


def test_hostile_class_names_are_text_everywhere() -> None:
    names = (f"{HOSTILE}\n\t\x00", "\u05d0\u05d1\u05d2", '"><img src=x onerror=alert(1)>')
    study = known_study()
    images = {place: picture(place, side=8, num_channels=3) for place in (2, 10)}
    markup = section(study.results({"toy": names}), {"toy": Glimpse(images=images)})
    seen = Text(markup)
    assert "script" not in seen.tags and len(seen.images) == 2
    assert all(set(image) == {"src", "width", "height", "alt"} for image in seen.images)
    assert "\u202e" not in markup and "\x00" not in markup
    assert '"><img src=x onerror=alert(1)>' in seen.text
    (figure,) = draw_figures(study.results({"toy": names})).classes
    assert figure is not None
    ElementTree.fromstring(figure.svg)


def test_many_classes_are_shown_at_both_ends_and_folded_in_full() -> None:
    results, _, glimpses = shown_study(num_seeds=2)
    place, comparison = next((i, found) for i, found in enumerate(results.errors) if found.dataset == "cifar100")
    figure = draw_figures(results).classes[place]
    assert figure is not None
    labels = ["".join(element.itertext()).strip() for element in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")]
    names = [comparison.class_names[row.label] for row in comparison.classes]
    assert [label for label in labels if label in names or "between" in label] == [
        *names[:10],
        "\u2026 80 between",
        *names[-10:],
    ]
    assert f"({names[0]})" in figure.title and "of 100 classes" in figure.title
    markup = section(results, glimpses)
    table = markup[markup.index("cifar100") :].partition('<table class="classes">')[2].partition("</table>")[0]
    assert table.count("<tr>") == 101
    assert len(markup) < 400_000


def test_the_figure_states_its_finding_and_needs_no_intervals() -> None:
    (comparison,) = known_study().results(NAMES).errors
    figure = class_figure(comparison, name="classes-1")
    assert figure is not None
    assert figure.title.startswith("By class, CNN \u2212 ViT goes from \u2212") and "(apple)" in figure.title
    first, *rest = figure.description.rpartition("test images. ")[2].split("; ")
    assert first.startswith("apple: ViT ") and [told.partition(":")[0] for told in rest] == ["bear", "<b>cat</b>"]
    assert figure.title.endswith(f"excludes zero in {comparison.num_apart} of 3 classes")
    assert class_figure(comparison.model_copy(update={"classes": ()}), name="none") is None
    (single,) = known_study(1).results(NAMES).errors
    alone = class_figure(single, name="classes-1")
    assert alone is not None and alone.title.endswith("a single seed gives no interval")


@pytest.mark.parametrize(
    ("side", "num_channels", "shown", "most_bytes"),
    [(8, 1, 8, 300), (8, 3, 8, 500), (32, 3, 32, 3000), (64, 3, 64, 12_000), (224, 3, 64, 12_000), (224, 1, 64, 5000)],
)
def test_images_become_small_pngs(side: int, num_channels: int, shown: int, most_bytes: int) -> None:
    image = picture(5, side=side, num_channels=num_channels)
    uri = data_uri(image)
    made = decoded(uri)
    assert made.size == (shown, shown) and made.mode == ("L" if num_channels == 1 else "P")
    assert len(base64.b64decode(uri.partition(",")[2])) < most_bytes
    assert uri == data_uri(image)
    pixels = np.array(made if num_channels == 1 else made.convert("RGB")).astype(float)
    assert abs(pixels.mean() - float(image.mean())) < 2
    if shown == side:
        off_by = np.abs(pixels.reshape(image.shape) - image)
        assert off_by.max() == 0 if num_channels == 1 or side**2 <= NUM_COLOURS else off_by.mean() < 8


def test_the_stage_shows_images_of_the_pack_and_does_without(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, lines = spine.make_context(profile, home)
    spine.fetch(context)
    lines.clear()
    seen = Text(section_of(report(context, with_pdf=False).html.read_text()))
    assert "dots, from scratch" in seen.text and "2 seeds." in seen.text
    results = Results.model_validate_json((home / "report" / "tiny" / "results.json").read_text())
    (comparison,) = results.errors
    assert len(seen.images) == len(comparison.only_vit) + len(comparison.only_cnn)
    x_test = np.load(home / "data" / "dots" / "x_test.npy")
    for image, exemplar in zip(seen.images, (*comparison.only_vit, *comparison.only_cnn), strict=True):
        assert image["src"] is not None
        assert np.array_equal(np.array(decoded(image["src"])), x_test[exemplar.image][..., 0])
    (home / "data" / "dots" / "x_test.npy").unlink()
    again = Text(section_of(report(spine.make_context(profile, home)[0], with_pdf=False).html.read_text()))
    assert again.images == []
    assert seen.images, "the study must have an image that one family alone gets, or this shows nothing"
    assert "They are not shown: the data set in this home is incomplete or damaged" in again.text
    shutil.rmtree(home / "data")
    assert report(spine.make_context(profile, home)[0], with_pdf=False).html.exists()
    assert lines == []
