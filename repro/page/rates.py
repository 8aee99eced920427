"""How learning rates were chosen: what the searches found on the dev split, and which rate the study's cells took.

Must not know claims or figures. Read `search_tables` first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.analysis.arms import contender
from repro.analysis.results import CellRow
from repro.records import CellStatus
from repro.spec import Family, Role

SEARCHED = "+lr"
"""What stands between a recipe's name and the rate in the name of a search's recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedRate:
    """One learning rate that was tried."""

    dev_accuracy: float | None
    words: str
    """Why there is no accuracy; empty where there is."""
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """The search of one model on one data set."""

    dataset: str
    model: str
    family: Family
    init: str
    num_train_images: int
    rates: tuple[SearchedRate | None, ...]
    """By the rates of the table; None where one was not tried."""
    at_the_edge: bool
    """Whether the chosen rate is the smallest or largest that was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTable:
    """All searches under one recipe."""

    recipe: str
    rates: tuple[float, ...]
    rows: tuple[SearchRow, ...]


def search_tables(cells: Sequence[CellRow]) -> tuple[SearchTable, ...]:
    """One table for each recipe with searches; the chosen rate is the one that the study's own cells were trained with."""
    searches: dict[str, dict[tuple[str, str, str], dict[float, CellRow]]] = {}
    for row in cells:
        if row.role is Role.LR_SEARCH:
            recipe, _, rate = row.recipe.rpartition(SEARCHED)
            place = (row.dataset, row.model, row.init)
            searches.setdefault(recipe, {}).setdefault(place, {})[row.lr if row.lr is not None else float(rate)] = row
    used = {
        (row.recipe, row.dataset, row.model, row.init): row.lr for row in cells if row.role is Role.STUDY and row.lr is not None
    }
    tables = []
    for recipe, places in searches.items():
        rates = tuple(sorted({rate for tried in places.values() for rate in tried}))
        rows = tuple(_search_row(tried, rates, used.get((recipe, *place))) for place, tried in places.items())
        tables.append(SearchTable(recipe=recipe, rates=rates, rows=rows))
    return tuple(tables)


def _search_row(tried: Mapping[float, CellRow], rates: Sequence[float], used: float | None) -> SearchRow:
    first = next(iter(tried.values()))
    chosen = next((rate for rate in tried if used is not None and math.isclose(rate, used)), None)
    return SearchRow(
        dataset=first.dataset,
        model=contender(first.model, first.init),
        family=first.family,
        init=first.init,
        num_train_images=first.num_train_images,
        rates=tuple(_searched(tried[rate], is_chosen=rate == chosen) if rate in tried else None for rate in rates),
        at_the_edge=chosen is not None and chosen in (min(tried), max(tried)),
    )


def _searched(row: CellRow, *, is_chosen: bool) -> SearchedRate:
    words = ""
    if row.dev_accuracy is None:
        words = "diverged" if row.status is CellStatus.DONE else row.status.value
    return SearchedRate(dev_accuracy=row.dev_accuracy, words=words, is_chosen=is_chosen)
