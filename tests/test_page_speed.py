"""The section on the speed of a machine: there where something was measured, absent otherwise."""

import html
import re
from pathlib import Path

import pytest
import spine
from report_fixtures import make_profile, make_results, make_study
from test_benchmarks import BENCHMARK, FAILED

from repro.benchmarks import Benchmark, write_benchmark
from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.page import build_page, render_html
from repro.stages.report import report


def page(*benchmarks: Benchmark, paper: bool = False) -> str:
    results = make_results(make_study(num_seeds=2))
    figures = draw_figures(results)
    built = build_page(profile=make_profile(), results=results, figures=figures, catalog=load_catalog(), benchmarks=benchmarks)
    return render_html(built, paper=paper)


def section(*benchmarks: Benchmark, paper: bool = False) -> str:
    found = re.search(r'<section id="speed">.*?</section>', page(*benchmarks, paper=paper), re.DOTALL)
    assert found
    return found[0]


def words(markup: str) -> str:
    text = html.unescape(re.sub(r"<[^>]+>", " ", markup)).replace("\u00a0", " ")
    return " ".join(text.split())


def test_without_a_benchmark_there_is_no_section() -> None:
    text = page()
    assert 'id="speed"' not in text
    assert "speed of this machine" not in text.lower()


@pytest.mark.parametrize("paper", [False, True])
def test_the_table_shows_what_was_measured_and_what_it_means(paper: bool) -> None:
    markup = section(BENCHMARK, paper=paper)
    text = words(markup)
    row = (
        "ViT vit_micro micro-scratch 8 px, 16 of 64 1,500 1,450 to 1,550 1,500 1,475 to 1,600 96.6 % 95.3 to 98.3 12.38 "
        "12.31 to 12.44 9 GFLOP/s 30.0 % 768 MiB 0.0123 J 0.2 s"
    )
    assert row in text
    assert "Not measured: Out of memory: 3 GiB." in text
    assert "vit_&lt;huge&gt;" in markup
    for word in ("Loop :", "Ceiling :", "Ratio :", "Evaluation :", "Operations :", "Memory :", "Energy :", "First step :"):
        assert word in text
    assert "Measured 2026-01-31 14:05 UTC with vitrepro 0.1.0 at commit abc , Python 3.12.1, torch 2.11.0, driver 580.1" in text
    assert "1 case more was to be measured; the run was stopped." in text
    assert "fewer images a step were timed" in text
    assert "One worker with one thread" not in text
    assert "batch 16 of 64 (time)" in text


def test_the_table_scrolls_within_itself() -> None:
    assert re.search(
        r'<div class="scroll" role="region" tabindex="0" aria-label="Speed on NVIDIA H200">\s*<table', section(BENCHMARK)
    )


def test_each_device_has_a_table_and_the_cpu_says_how_many_threads() -> None:
    cpu = BENCHMARK.model_copy(update={"device": "cpu", "rows": BENCHMARK.rows[:1], "num_cases": 1})
    text = words(section(cpu, BENCHMARK))
    assert text.count("Recipe, side, images a step") == 2
    assert text.count("One worker with one thread, as in training") == 1
    assert "cpu , EPYC" in text


def test_nothing_measured_is_told_too() -> None:
    nothing = BENCHMARK.model_copy(update={"rows": (FAILED,), "environment": None, "num_cases": 1})
    text = words(section(nothing))
    assert "Not measured: Out of memory" in text
    assert "Measured 2026-01-31 14:05 UTC. device NVIDIA H200 (a usable GPU)." in text
    assert "Chosen automatically" not in text


def test_the_report_shows_the_benchmarks_of_its_profile(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, lines = spine.make_context(profile, home)
    spine.fetch(context)
    write_benchmark(context.workspace, BENCHMARK)
    assert 'id="speed"' not in report(context, with_pdf=False).html.read_text()
    path = write_benchmark(context.workspace, BENCHMARK.model_copy(update={"profile": "tiny"}))
    assert 'id="speed"' in report(context, with_pdf=False).html.read_text()
    path.write_text("{}")
    assert 'id="speed"' not in report(context, with_pdf=False).html.read_text()
    assert any(line.startswith("warning: ") and str(path) in line for line in lines)
