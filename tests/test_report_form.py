"""The form of the report: its policy and script, colours, weight, what print leaves out, names that attack it."""

import base64
import hashlib
import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pypdf
import pytest
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from report_fixtures import make_profile, make_results, make_study

from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.page import MOST_PRINTED, Page, build_page, render_html, templates_dir
from repro.rendering import write_report
from repro.workspace import Workspace

HOSTILE = "<script>alert(1)</script> \"q\" 'q' & \u05d0\u05d1 \u202ee\u202c \x00\x07\U0001f600 </title></svg>"
LIGHT_AND_DARK = re.findall(r":root \{(.*?)\}", (templates_dir() / "report.css").read_text(), flags=re.DOTALL)
COLOUR_BLIND: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB."""


def colours(mode: int) -> dict[str, np.ndarray]:
    """Linear RGB of every colour of the page; mode 0 is light, 1 dark."""
    named = re.findall(r"--([a-z]+): #([0-9a-f]{6});", LIGHT_AND_DARK[mode])
    srgb = {name: np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255 for name, digits in named}
    return {name: np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) for name, rgb in srgb.items()}


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    lighter, darker = sorted((float(np.dot((0.2126, 0.7152, 0.0722), rgb)) for rgb in (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB under D65."""
    matrix = np.array(((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)))
    x, y, z = np.cbrt(matrix @ np.clip(rgb, 0, 1) / (0.95047, 1.0, 1.08883))
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


@pytest.fixture(scope="module")
def full_page() -> Page:
    results = full_results(full_study(num_images=300))
    return build_page(profile=FULL, results=results, figures=draw_figures(results), catalog=load_catalog())


@pytest.mark.parametrize("mode", [0, 1])
def test_every_colour_of_text_has_contrast_on_both_grounds(mode: int) -> None:
    page = colours(mode)
    for name, ground in itertools.product(set(page) - {"grid", "surface", "panel"}, ("surface", "panel")):
        assert contrast(page[name], page[ground]) >= 4.5, f"{name} on {ground}"


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("kind", COLOUR_BLIND)
def test_the_families_differ_for_colour_blind_eyes(mode: int, kind: str) -> None:
    page = colours(mode)
    vit, cnn = (lab(np.array(COLOUR_BLIND[kind]) @ page[name]) for name in ("vit", "cnn"))
    assert np.linalg.norm(vit - cnn) > 25


def test_verdicts_differ_in_shape_and_word() -> None:
    results = make_results(make_study())
    markup = render_html(build_page(profile=FULL, results=results, figures=draw_figures(results), catalog=load_catalog()))
    shapes = {}
    for word in ("supported", "contradicted", "inconclusive"):
        [mark] = set(re.findall(rf'<span class="verdict {word}">(<svg .*?</svg>)\s*{word}\b', markup, flags=re.DOTALL))
        shapes[word] = re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", mark)
    assert len(set(shapes.values())) == 3


def test_the_policy_allows_the_pages_own_script_and_nothing_else(full_page: Page) -> None:
    markup = render_html(full_page)
    [script] = re.findall(r"<script>(.*?)</script>", markup, flags=re.DOTALL)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', markup)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML|document\.write)\b", script)
    assert markup.count("<script") == 1 and "<script" not in render_html(full_page, paper=True)


def test_a_large_study_weighs_little(full_page: Page) -> None:
    size_bytes = len(render_html(full_page).encode())
    assert size_bytes < 800_000, "176 cells; grows with cells and claims"
    for figure in full_page.figures.all:
        assert len(figure.svg) < 20_000, figure.name
        assert not re.search(r"\d\.\d{3}", re.sub(r"<(title|desc).*?</\1>", "", figure.svg)), (
            "no more than hundredths of a pixel"
        )


def test_a_figure_styles_itself_alone(full_page: Page) -> None:
    assert not any("<style" in figure.svg for figure in full_page.figures.all), (
        "a style rule inside would hold for the whole page"
    )


def test_print_counts_cells_that_are_too_many_and_says_where_they_stand(full_page: Page) -> None:
    assert len(full_page.results.cells) > MOST_PRINTED
    screen, paper = render_html(full_page), render_html(full_page, paper=True)
    last = full_page.cell_anchors[full_page.results.cells[-1].id]
    assert f'id="{last}"' in screen and f'id="{last}"' not in paper
    assert "176 cells are too many to print: <code>results.csv</code>" in paper
    few = full_page.results.model_copy(update={"cells": full_page.results.cells[:MOST_PRINTED]})
    page = build_page(profile=FULL, results=few, figures=full_page.figures, catalog=load_catalog())
    paper = render_html(page, paper=True)
    assert paper.count("<tr id=") == MOST_PRINTED and "too many to print" not in paper


def test_the_head_says_what_was_run(full_page: Page) -> None:
    head = render_html(full_page).partition('<header class="masthead">')[2].partition("</header>")[0]
    text = re.sub(r"<[^>]+>", " ", head)
    for words in ("Profile", "full", "176 of 176 (100.0\u00a0%)", "Date", "Cell time", "Energy", "not measured for every cell"):
        assert words in text
    results = make_results(make_study())
    page = build_page(profile=make_profile(), results=results, figures=draw_figures(results), catalog=load_catalog())
    markup = render_html(page)
    assert "CPU, Artificial CPU" in markup and "<code>0123456789ab</code>" in markup
    assert "@inproceedings{dosovitskiy2021image" in markup and "@software{vitrepro," in markup
    assert "To run exactly this again" in markup


@pytest.mark.slow
def test_hostile_names_reach_pdf_and_figures_as_text(tmp_path: Path) -> None:
    study = make_study(sizes=(50, 1197), upstream_sizes=(2000,), num_seeds=2, dataset=HOSTILE, vit=HOSTILE + 300 * "x")
    results = make_results(study, profile=HOSTILE + 300 * "y", warnings=(HOSTILE + 300 * "\u6f22",))
    said: list[str] = []
    paths = write_report(
        workspace=Workspace(home=tmp_path), profile=make_profile(), results=results, labels_and_predictions={}, out=said.append
    )
    assert said == [] and paths.pdf is not None
    pdf = pypdf.PdfReader(paths.pdf)
    # pypdf leaves the first byte of each letter's code in the text of a font that has Han characters.
    text = "".join(sheet.extract_text() for sheet in pdf.pages).replace("\x00", "")
    assert "<script>alert(1)</script>" in text.replace("\n", "") and "x" * 20 in text
    assert not any(key in str(pdf.trailer["/Root"]) for key in ("/JavaScript", "/OpenAction", "/AA"))
    for path in paths.figures:
        root = ElementTree.parse(path).getroot()
        assert not any(element.tag.endswith("script") for element in root.iter())
        assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)


@pytest.mark.slow
def test_the_pdf_of_a_large_study_is_short_and_whole(tmp_path: Path) -> None:
    results = full_results(full_study(num_images=300))
    paths = write_report(
        workspace=Workspace(home=tmp_path), profile=FULL, results=results, labels_and_predictions={}, out=lambda line: None
    )
    assert paths.pdf is not None
    pdf = pypdf.PdfReader(paths.pdf)
    assert 10 < len(pdf.pages) < 40
    for number, sheet in enumerate(pdf.pages, 1):
        text = sheet.extract_text()
        assert f"{number} / {len(pdf.pages)}" in text and "full: On cifar10 and cifar100" in text
        fonts = sheet["/Resources"]["/Font"].values()
        descendants = [font.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"] for font in fonts]
        assert all(any(key.startswith("/FontFile") for key in descriptor) for descriptor in descendants), "embedded"
    titles = [entry.title for entry in pdf.outline if not isinstance(entry, list)]
    sections = [entry.title for part in pdf.outline if isinstance(part, list) for entry in part if not isinstance(entry, list)]
    assert "Full results" in titles + sections
    assert pdf.metadata is not None and pdf.metadata.title == "Vision Transformer against CNN: profile full"
    root = pdf.trailer["/Root"]
    assert root["/Lang"] == "en" and root["/MarkInfo"]["/Marked"], "readable aloud"
    assert {sheet.mediabox.width < sheet.mediabox.height for sheet in pdf.pages} == {True}, "no page is turned"
