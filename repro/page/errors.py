"""The section on errors: each comparison with its figure, its images, and what is missing.

Must not know how anything is computed or where images lie. Read `error_section` first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.analysis.error_results import ClassAccuracy, ErrorComparison, Exemplar
from repro.analysis.results import Results
from repro.datasets.glimpses import Glimpse
from repro.page.exemplars import data_uri
from repro.spec import Role
from repro.svg import Figure

MOST_ROWS = 200
"""Classes in the folded table: the first and the last half of them where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One image with what both families say of it."""

    exemplar: Exemplar
    uri: str
    """The image as a `data:` URI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBlock:
    """One comparison of errors."""

    result: ErrorComparison
    figure: Figure | None
    rows: tuple[ClassAccuracy, ...]
    """Classes of the folded table."""
    only_vit: tuple[Card, ...]
    """Images that only the ViT gets."""
    only_cnn: tuple[Card, ...]
    """Images that only the CNN gets."""
    problem: str
    """Why no images are shown, a clause; empty where they are, or where there is none to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSection:
    """All of the section."""

    blocks: tuple[ErrorBlock, ...]
    missing: tuple[str, ...]
    """Data sets that cells are tested on and no comparison stands for."""


def error_section(results: Results, figures: Sequence[Figure | None], glimpses: Mapping[str, Glimpse]) -> ErrorSection:
    """`figures` holds one for each of `results.errors`; `glimpses` the images by data set."""
    tested = sorted({row.dataset for row in results.cells if row.role is Role.STUDY})
    compared = {comparison.dataset for comparison in results.errors}
    none = Glimpse(images={}, problem="none were handed to the report")
    blocks = [
        _block(comparison, figure, glimpses.get(comparison.dataset, none))
        for comparison, figure in zip(results.errors, figures, strict=True)
    ]
    return ErrorSection(blocks=tuple(blocks), missing=tuple(name for name in tested if name not in compared))


def _block(comparison: ErrorComparison, figure: Figure | None, glimpse: Glimpse) -> ErrorBlock:
    rows = comparison.classes
    return ErrorBlock(
        result=comparison,
        figure=figure,
        rows=rows if len(rows) <= MOST_ROWS else (*rows[: MOST_ROWS // 2], *rows[-MOST_ROWS // 2 :]),
        only_vit=_cards(comparison.only_vit, glimpse),
        only_cnn=_cards(comparison.only_cnn, glimpse),
        problem=glimpse.problem if comparison.only_vit or comparison.only_cnn else "",
    )


def _cards(exemplars: Sequence[Exemplar], glimpse: Glimpse) -> tuple[Card, ...]:
    return tuple(
        Card(exemplar=exemplar, uri=data_uri(glimpse.images[exemplar.image]))
        for exemplar in exemplars
        if exemplar.image in glimpse.images
    )
