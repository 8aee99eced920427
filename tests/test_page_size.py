"""The page of the whole profile `full`, every cell finished and every section filled, stays well under 2 MB."""

import re

import pytest
from whole_study import FACTS, WholeStudy, planned_cells, whole_study

from repro.catalog import load_catalog, load_profile
from repro.figures import draw_figures
from repro.page import build_page, render_html
from repro.spec import Role

pytestmark = pytest.mark.slow

LIMIT = 2_000_000
"""Bytes of `report.html`: what a mail takes, and a phone loads."""
MARGIN = 300_000
"""Kept free: names, warnings and the next paragraph are not all in a made-up study."""
FIGURES = {
    "claims": 20,
    "observations": 2,
    "scaling": 24,
    "pretraining": 8,
    "upstream": 4,
    "compute": 12,
    "curves": 17,
    "inside": 2,
    "errors": 4,
}
"""Drawings that a section has at least."""
SECTIONS = {*FIGURES, "checkpoints", "rates", "training", "results", "protocol", "environment", "sources"}


@pytest.fixture(scope="module")
def study() -> WholeStudy:
    return whole_study(num_images=1000)


@pytest.fixture(scope="module")
def markup(study: WholeStudy) -> str:
    figures = draw_figures(study.results, study.histories, study.insides)
    page = build_page(
        profile=study.profile, results=study.results, figures=figures, catalog=load_catalog(), glimpses=study.glimpses
    )
    return render_html(page)


def test_the_study_is_what_the_profile_plans(study: WholeStudy) -> None:
    planned = planned_cells(load_profile("full"))
    assert {row.id for row in study.results.cells} == {entry.cell.id for entry in planned}
    assert {row.role for row in study.results.cells} == set(Role) and {row.dataset for row in study.results.cells} == set(FACTS)
    assert study.results.warnings == ()


def test_the_page_is_small(markup: str) -> None:
    assert len(markup.encode()) < LIMIT - MARGIN


def test_every_section_is_there_and_filled(markup: str, study: WholeStudy) -> None:
    sections = dict(re.findall(r'<section id="(\w+)">(.*?)</section>', markup, flags=re.DOTALL))
    assert set(sections) == SECTIONS
    for name, at_least in FIGURES.items():
        assert len(re.findall(r'<svg (?!class="mark")', sections[name])) >= at_least, name
    for name, section in sections.items():
        text = re.sub(r"<svg.*?</svg>|<[^>]*>", " ", section, flags=re.DOTALL)
        assert len(text.split()) > 60, name
        assert not re.search(r"[Nn]othing to (show|compare)|[Nn]o curve|They are not shown", text), name
    assert sections["inside"].count("<img ") >= 6 and sections["errors"].count("<img ") >= 40
    assert sections["results"].count('<tr id="cell-') == len(study.results.cells)
    assert sections["rates"].count("chosen</span>") == 20, "a rate for each checkpoint and data set"
