"""Results -> the page: what the templates are given, computed by pure code, and the rendering itself.

It arranges numbers that stand in `Results`; the first sentence comes from `repro.headline`.
Must not know files, records or the PDF. Read `build_page` first.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from repro.analysis.results import CellRow, ClaimResult, Results, Verdict
from repro.analysis.wording import measure_in_words
from repro.catalog import Catalog
from repro.figures import Figures
from repro.formatting import FAMILY_NAMES, FILTERS, count
from repro.headline import headline
from repro.plan import datasets_of, resolve_recipes
from repro.records import CellStatus
from repro.spec import DatasetSpec, Family, ModelSpec, Profile, Recipe, Role
from repro.svg import Figure

PAPER_BIBTEX = """\
@inproceedings{dosovitskiy2021image,
  title     = {An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale},
  author    = {Alexey Dosovitskiy and Lucas Beyer and Alexander Kolesnikov and Dirk Weissenborn and Xiaohua Zhai and
               Thomas Unterthiner and Mostafa Dehghani and Matthias Minderer and Georg Heigold and Sylvain Gelly and
               Jakob Uszkoreit and Neil Houlsby},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  url       = {https://arxiv.org/abs/2010.11929}
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A claim or an observation with what its numbers mean."""

    result: ClaimResult
    figure: Figure | None
    anchor: str
    """Its id in the page."""
    measure: str
    """What is measured, in words."""
    unit: str
    """Of the value on the accuracy scale."""
    decisive: str
    """Which of several points is quoted; empty where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """How far the seeds of one (data set, size, init, recipe, model) were trained."""

    dataset: str
    num_train_images: int
    init: str
    recipe: str
    model: str
    family: Family
    num_seeds: int
    is_regularised: bool
    """Whether its recipe is not expected to reach 99 % training accuracy."""
    lowest_train_accuracy: float
    """The worst seed's accuracy on its training subset by the final weights."""
    highest_train_loss: float
    """The worst seed's mean cross-entropy there, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceCheck:
    """A cell with four times the steps beside the study cell that it repeats."""

    longer: CellRow
    normal: CellRow | None
    """None where it is not in the matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeColumn:
    """A recipe as either family trains by it; they differ in optimizer, learning rate and weight decay at most."""

    name: str
    vit: Recipe
    cnn: Recipe
    steps: str
    """Optimizer steps and, in brackets, those of warm-up; at every size that has its own."""
    augmentation: str
    """What is done to the images, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model with its measured size."""

    spec: ModelSpec | None
    """None for a name that neither catalogue nor profile holds."""
    name: str
    family: Family
    num_parameters: int | None
    forward_macs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the templates show."""

    results: Results
    profile: Profile
    figures: Figures
    headline: str
    tally: dict[Verdict, int]
    """Number of ledger entries by verdict, every verdict named."""
    claims: tuple[LedgerEntry, ...]
    observations: tuple[LedgerEntry, ...]
    num_done: int
    """Finished cells."""
    status_counts: dict[CellStatus, int]
    """Cells by status, absent ones left out."""
    unfinished: tuple[CellRow, ...]
    """Cells that are not done."""
    cell_seconds: float
    """Seconds of all finished cells together."""
    energy_j: float | None
    """Joules of all finished cells together; None unless every one has its own measurement."""
    cell_anchors: dict[str, str]
    """Id in the page of each cell's row, by cell id."""
    training: tuple[TrainingRow, ...]
    checks: tuple[ConvergenceCheck, ...]
    datasets: tuple[DatasetSpec, ...]
    recipes: tuple[RecipeColumn, ...]
    models: tuple[ModelRow, ...]
    bibtex: str


def build_page(*, profile: Profile, results: Results, figures: Figures, catalog: Catalog) -> Page:
    """Arrange the results for the templates. Raises ProfileError where the profile names what nobody knows."""
    done = [row for row in results.cells if row.status is CellStatus.DONE]
    tally = dict.fromkeys(Verdict, 0)
    for result in results.claims:
        if result.verdict is not None:
            tally[result.verdict] += 1
    statuses = [row.status for row in results.cells]
    energies = [row.energy_j for row in done if row.energy_j is not None and not row.device_shared]
    return Page(
        results=results,
        profile=profile,
        figures=figures,
        headline=headline(results),
        tally=tally,
        claims=_entries(results.claims, figures.claims, "claim"),
        observations=_entries(results.observations, figures.observations, "observation"),
        num_done=len(done),
        status_counts={status: statuses.count(status) for status in CellStatus if status in statuses},
        unfinished=tuple(row for row in results.cells if row.status is not CellStatus.DONE),
        cell_seconds=sum(row.total_s or 0.0 for row in done),
        energy_j=sum(energies) if energies and len(energies) == len(done) else None,
        cell_anchors={row.id: f"cell-{number}" for number, row in enumerate(results.cells, 1)},
        training=_training_rows(done),
        checks=_convergence_checks(results.cells),
        datasets=tuple(datasets_of(profile, catalog).values()),
        recipes=_recipe_columns(profile, catalog),
        models=_model_rows(profile, catalog, results.cells),
        bibtex=PAPER_BIBTEX,
    )


def render_html(page: Page) -> str:
    """The whole page as one HTML text: CSS and figures inline, names escaped, no script."""
    import jinja2

    folder = templates_dir()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["family_names"] = FAMILY_NAMES
    stylesheet = (folder / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(page=page, results=page.results, stylesheet=stylesheet)


def templates_dir() -> Path:
    """The folder of templates: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / "report_templates"
    return inside if inside.is_dir() else package.parent / "report_templates"


def _entries(results: tuple[ClaimResult, ...], figures: tuple[Figure | None, ...], kind: str) -> tuple[LedgerEntry, ...]:
    entries = []
    for number, (result, figure) in enumerate(zip(results, figures, strict=True), 1):
        measure, unit = measure_in_words(result.claim)
        which = "weakest" if result.claim.quantifier == "every" else "strongest"
        entries.append(
            LedgerEntry(
                result=result,
                figure=figure,
                anchor=f"{kind}-{number}-entry",
                measure=measure,
                unit=unit,
                decisive=f"the {which} of {len(result.points)}" if len(result.points) > 1 else "",
            )
        )
    return tuple(entries)


def _training_rows(done: list[CellRow]) -> tuple[TrainingRow, ...]:
    members: dict[tuple[str, int, str, str, str], list[CellRow]] = defaultdict(list)
    for row in done:
        if row.role is Role.STUDY:
            members[row.dataset, row.num_train_images, row.init, row.recipe, row.model].append(row)
    return tuple(
        TrainingRow(
            dataset=dataset,
            num_train_images=num_train_images,
            init=init,
            recipe=recipe,
            model=model,
            family=rows[0].family,
            num_seeds=len(rows),
            is_regularised=rows[0].is_regularised,
            lowest_train_accuracy=min(row.train_accuracy for row in rows if row.train_accuracy is not None),
            highest_train_loss=max(row.train_loss for row in rows if row.train_loss is not None),
        )
        for (dataset, num_train_images, init, recipe, model), rows in members.items()
    )


def _convergence_checks(cells: tuple[CellRow, ...]) -> tuple[ConvergenceCheck, ...]:
    def subject(row: CellRow) -> tuple[str, int, str, str, int]:
        return row.dataset, row.num_train_images, row.init, row.model, row.seed

    study: dict[tuple[str, int, str, str, int], list[CellRow]] = defaultdict(list)
    for row in cells:
        if row.role is Role.STUDY:
            study[subject(row)].append(row)
    checks = []
    for longer in cells:
        if longer.role is Role.CONVERGENCE_CHECK and longer.status is CellStatus.DONE:
            # A check's recipe is named after the one it repeats (`NAME+4x`); the longest match is its own.
            candidates = [row for row in study[subject(longer)] if longer.recipe.startswith(row.recipe)]
            normal = max(candidates, key=lambda row: len(row.recipe), default=None)
            checks.append(ConvergenceCheck(longer=longer, normal=normal))
    return tuple(checks)


def _recipe_columns(profile: Profile, catalog: Catalog) -> tuple[RecipeColumn, ...]:
    recipes = resolve_recipes(profile, catalog)
    names = [name for block in profile.cells for name in (block.recipe, block.upstream_recipe) if name is not None]
    return tuple(_recipe_column(recipes[name]) for name in dict.fromkeys(names))


def _recipe_column(recipe: Recipe) -> RecipeColumn:
    steps = [f"up to {count(at.up_to_images)} images {count(at.steps)} ({count(at.warmup_steps)})" for at in recipe.steps_at]
    steps.append(f"{'else ' if steps else ''}{count(recipe.steps)} ({count(recipe.warmup_steps)})")
    mixing = [
        f"{name} (alpha {alpha:g})" for name, alpha in (("mixup", recipe.mixup_alpha), ("CutMix", recipe.cutmix_alpha)) if alpha
    ]
    augmentation = [
        "mirror" if recipe.flip else "",
        f"crop after padding by {recipe.crop_padding}" if recipe.crop_padding else "",
        "TrivialAugment" if recipe.trivial_augment else "",
        f"{' or '.join(mixing)} for {100 * recipe.mix_probability:g} % of the images" if mixing else "",
        f"erasing for {100 * recipe.erase_probability:g} % of the images" if recipe.erase_probability else "",
    ]
    return RecipeColumn(
        name=recipe.name,
        vit=recipe.for_family("vit"),
        cnn=recipe.for_family("cnn"),
        steps="; ".join(steps),
        augmentation=", ".join(filter(None, augmentation)) or "none",
    )


def _model_rows(profile: Profile, catalog: Catalog, cells: tuple[CellRow, ...]) -> tuple[ModelRow, ...]:
    """Each model once for each size that it took (the head depends on the data set's classes)."""
    specs = {**catalog.models, **{spec.name: spec for spec in profile.model}}
    measured = {(row.model, row.family, row.num_parameters, row.forward_macs) for row in cells}
    known = {model for model, _, num_parameters, _ in measured if num_parameters is not None}
    return tuple(
        ModelRow(spec=specs.get(name), name=name, family=family, num_parameters=num_parameters, forward_macs=forward_macs)
        for name, family, num_parameters, forward_macs in sorted(measured, key=str)
        if num_parameters is not None or name not in known
    )
