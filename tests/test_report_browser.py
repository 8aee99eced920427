"""The page in a real browser: Debian's Chromium, driven by Playwright, and accessibility by axe-core."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from published_study import PROFILE as PUBLISHED
from published_study import published_results, published_study
from report_fixtures import make_profile, make_results, make_study

from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.page import build_page, render_html
from repro.records import CellStatus
from repro.spec import Profile

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python (requirements/dev.lock.txt)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian, Ubuntu: apt-get install chromium)"),
]

WIDTHS_PX = (360, 768, 1024, 1440, 1600)
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \"q\" &"
    "\u05d0\u05d1 \u202ee\u202c \x00\U0001f600"
)
NAMES = ("full", "published", "hostile", "empty", "unfinished")

Browser = Any
BrowserPage = Any


def studies() -> dict[str, tuple[Profile, Results]]:
    """Every kind of page: large, large with long names, with names that attack it, and without (all) numbers."""
    cells = make_study(sizes=(50, 400, 1197), upstream_sizes=(2000,), num_seeds=2)
    unfinished = {cell.id: list(CellStatus)[number % len(CellStatus)] for number, cell in enumerate(cells)}
    attacked = make_study(num_seeds=2, dataset=HOSTILE, vit=HOSTILE + 300 * "x", cnn=300 * "\u6f22" + HOSTILE)
    return {
        "full": (FULL, full_results(full_study(num_images=300))),
        "published": (PUBLISHED, published_results(published_study(num_images=200))),
        "hostile": (make_profile(), make_results(attacked, profile=HOSTILE + 300 * "y", warnings=(HOSTILE + 300 * "z",))),
        "empty": (make_profile(), make_results(cells, unfinished={c.id: CellStatus.PENDING for c in cells}, verdicts=False)),
        "unfinished": (make_profile(), make_results(cells, unfinished=unfinished, verdicts=False)),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, catalog = tmp_path_factory.mktemp("pages"), load_catalog()
    paths = {}
    for name, (profile, results) in studies().items():
        page = build_page(profile=profile, results=results, figures=draw_figures(results), catalog=catalog)
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(render_html(page), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses root with its sandbox
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Visit:
    """A page, with what it asked the network for and what it complained of."""

    def __init__(self, browser: Browser, path: Path, *, width_px: int = 1280, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width_px, "height": 900}, **options)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page: BrowserPage = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overflows_complains_or_leaves_the_machine(browser: Browser, files: dict[str, Path], name: str) -> None:
    with Visit(browser, files[name]) as visit:
        visit.unfold()
        for width in WIDTHS_PX:
            visit.page.set_viewport_size({"width": width, "height": 900})
            wide = visit.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} px of page in a window of {width} px"
            outside = visit.page.evaluate(
                """() => [...document.querySelectorAll('h1, h2, h3, h4, p, li, dd, pre, figure, .scroll')].filter(
                    one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll .scroll, table'))
                    .map(one => one.outerHTML.slice(0, 80))"""
            )
            assert outside == []
        assert visit.requests == [files[name].as_uri()]
        assert visit.complaints == []
        assert "owned" not in visit.page.title() or name == "hostile"
        if name == "hostile":
            assert visit.page.title() != "owned" and visit.page.locator("img").count() == 0
            assert visit.page.locator("script").count() == 1
            assert HOSTILE[:40] in visit.page.locator("#results").inner_text()


@pytest.mark.parametrize(("name", "scheme"), [*((name, "light") for name in NAMES), ("full", "dark"), ("unfinished", "dark")])
def test_axe_finds_nothing_serious(browser: Browser, files: dict[str, Path], name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (requirements/dev.lock.txt)")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    with Visit(browser, files[name], color_scheme=scheme, width_px=1024) as visit:
        if name not in ("full", "published"):  # hundreds of rows more, all alike
            visit.unfold()
        visit.page.evaluate(script)
        rules = ", runOnly: ['color-contrast']" if scheme == "dark" else ""
        found = visit.page.evaluate(f"axe.run(document, {{resultTypes: ['violations']{rules}}})")
        grave = [
            (one["id"], one["help"], [node["html"][:160] for node in one["nodes"][:3]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert grave == []
        assert len(found["passes"]) > (0 if rules else 15)


@pytest.mark.parametrize("name", NAMES)
def test_headings_are_in_order_and_figures_have_words(browser: Browser, files: dict[str, Path], name: str) -> None:
    with Visit(browser, files[name], java_script_enabled=False) as visit:
        levels = visit.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => Number(one.tagName[1]))")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        figures = visit.page.evaluate(
            """[...document.querySelectorAll('svg[role=img]')].map(one =>
                one.getAttribute('aria-labelledby').split(' ').map(
                    id => document.getElementById(id)?.textContent.length ?? 0))"""
        )
        assert bool(figures) == (name != "empty")
        assert all(min(lengths) > 10 for lengths in figures)


def column(page: BrowserPage, table: str, number: int) -> list[str]:
    texts: list[str] = page.locator(f"{table} tbody tr").evaluate_all(
        "(rows, number) => rows.map(row => row.cells[number].textContent.trim())", number
    )
    return texts


def test_tables_sort_by_mouse_and_keyboard(browser: Browser, files: dict[str, Path]) -> None:
    with Visit(browser, files["full"]) as visit:
        page = visit.page
        visit.unfold()
        table = "table.every"
        head = page.locator(f"{table} thead th").nth(1)
        before = column(page, table, 1)
        assert head.get_attribute("aria-sort") is None
        head.get_by_role("button", name="Images").click()
        sizes = [int(text.replace(",", "")) for text in column(page, table, 1)]
        assert head.get_attribute("aria-sort") == "ascending"
        assert sizes == sorted(sizes) and len(sizes) == len(before) and sizes != [int(t.replace(",", "")) for t in before]
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert [int(text.replace(",", "")) for text in column(page, table, 1)] == sorted(sizes, reverse=True)
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") is None
        assert column(page, table, 1) == before

        models = page.locator(f"{table} thead th").nth(2).get_by_role("button")
        models.focus()
        page.keyboard.press("Enter")
        assert column(page, table, 2) == sorted(column(page, table, 2), key=str.casefold)
        seeds = [int(text) for text in column(page, table, 5)]
        assert seeds[:3] == [1, 2, 3], "rows that are equal stay in the order of the report"
        accuracy = page.locator(f"{table} thead th").nth(7)
        accuracy.get_by_role("button").click()
        numbers = [float(text.split("\u00a0")[0]) for text in column(page, table, 7)]
        assert numbers == sorted(numbers)
        assert page.locator(f"{table} th[aria-sort]").count() == 1
        assert visit.complaints == []


def test_missing_values_come_last_whichever_way(browser: Browser, files: dict[str, Path]) -> None:
    with Visit(browser, files["unfinished"]) as visit:
        visit.unfold()
        button = visit.page.locator("table.every thead th").nth(7).get_by_role("button")
        shapes = "[...document.querySelectorAll('table.every tbody tr')].map(row => row.cells.length > 8)"
        num_done = sum(visit.page.evaluate(shapes))
        assert 0 < num_done < len(visit.page.evaluate(shapes))
        for _ in range(2):
            button.click()
            done = visit.page.evaluate(shapes)
            assert all(done[:num_done]) and not any(done[num_done:])


def test_units_and_durations_sort_by_what_they_mean(browser: Browser, files: dict[str, Path], tmp_path: Path) -> None:
    markup = files["empty"].read_text(encoding="utf-8")
    values = ["1\u00a0h\u00a002\u00a0min", "59.0\u00a0s", "\u2013", "2\u00a0min\u00a005\u00a0s", "3.4\u00a0s"]
    sizes = ["1.2\u00a0GiB", "900\u00a0MiB", "2.5\u00a0kJ", "\u221213.5 [\u221214, 2]", "1,024"]
    rows = "".join(f"<tr><td>{value}</td><td>{size}</td></tr>" for value, size in zip(values, sizes, strict=True))
    head = '<thead><tr><th class="number">A</th><th class="number">B</th></tr></thead>'
    table = f'<table class="sortable" id="own">{head}<tbody>{rows}</tbody></table>'
    path = tmp_path / "page.html"
    path.write_text(markup.replace("</main>", f"{table}</main>"), encoding="utf-8")
    with Visit(browser, path) as visit:
        visit.page.locator("#own th").nth(0).get_by_role("button").click()
        assert column(visit.page, "#own", 0) == [values[index] for index in (4, 1, 3, 0, 2)]
        visit.page.locator("#own th").nth(1).get_by_role("button").click()
        assert column(visit.page, "#own", 1) == [sizes[index] for index in (3, 4, 2, 1, 0)]


def test_without_script_the_page_is_whole(browser: Browser, files: dict[str, Path]) -> None:
    words = "document.querySelector('main').textContent.replace(/\\s+/g, ' ')"
    with Visit(browser, files["full"], java_script_enabled=False) as plain, Visit(browser, files["full"]) as scripted:
        assert plain.page.locator("th button").count() == 0 < scripted.page.locator("th button").count()
        assert plain.page.evaluate(words) == scripted.page.evaluate(words)


def test_a_link_to_a_cell_unfolds_its_row(browser: Browser, files: dict[str, Path]) -> None:
    with Visit(browser, files["full"]) as visit:
        page = visit.page
        page.locator("details.evidence > summary").first.click()
        page.locator("details.cells > summary").first.click()
        link = page.locator("details.cells a").first
        row = page.locator(f"tr{link.get_attribute('href')}")
        assert not row.is_visible()
        link.click()
        row.wait_for(state="visible", timeout=5000)
        assert 0 <= row.bounding_box()["y"] < 200


def test_dark_mode_reaches_the_figures(browser: Browser, files: dict[str, Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        with Visit(browser, files["full"], color_scheme=scheme) as visit:
            seen[scheme] = visit.page.evaluate(
                """() => [document.body, document.querySelector('figure svg text'), document.querySelector('b.vit')].map(
                    (one, number) => getComputedStyle(one)[['backgroundColor', 'fill', 'color'][number]])"""
            )
            label = visit.page.locator("figure svg text", has_text="ViT").first
            assert label.evaluate("one => getComputedStyle(one).fill") == seen[scheme][2]
    assert seen["light"][0] == "rgb(254, 254, 254)" and seen["dark"][0] == "rgb(20, 23, 27)"
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


def test_print_is_light_unfolded_and_without_controls(browser: Browser, files: dict[str, Path]) -> None:
    with Visit(browser, files["full"], color_scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        ground = visit.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--surface')")
        assert ground.strip() == "#fefefe"
        for selector in ("nav", "summary", ".skip", "table.every"):
            assert not visit.page.locator(selector).first.is_visible(), selector
        assert visit.page.locator("details.evidence table").first.is_visible()
        assert "too many to print" in visit.page.locator("#results").inner_text()
        assert visit.page.evaluate("getComputedStyle(document.querySelector('th button'), '::after').content") == "none"


def test_the_keyboard_finds_its_way(browser: Browser, files: dict[str, Path]) -> None:
    with Visit(browser, files["published"], width_px=360) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        skip = page.locator(".skip")
        assert skip.evaluate("one => one === document.activeElement") and skip.bounding_box()["x"] >= 0
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        assert page.url.endswith("#claims")
        regions = page.locator(".scroll")
        assert regions.count() > 5
        for region in regions.all()[:20]:
            assert region.get_attribute("tabindex") == "0" and region.get_attribute("aria-label")
        first = regions.first
        first.focus()
        assert first.evaluate("one => one.scrollWidth > one.clientWidth"), "a wide table scrolls in its own region"
