"""Everything a report says, put together from outcomes and predictions: tables, claims, warnings, and the CSV.

Must not know how results are drawn or where they are stored. Read `assemble` first.
"""

import itertools
import statistics as standard_statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO

import pandas as pd

from repro import __version__
from repro.analysis.arms import contender
from repro.analysis.convergence import is_regularised
from repro.analysis.errors import Answers, compare_errors
from repro.analysis.inside import inside_arms, inside_rows
from repro.analysis.ledger import hold_claims
from repro.analysis.pretraining import gains
from repro.analysis.results import CellRow, Estimate, Gap, Group, Outcome, Results
from repro.analysis.statistics import Arm, Correctness, Scale, estimate
from repro.analysis.study import Study, index_study, row_order
from repro.analysis.wording import listing
from repro.attempts import FIRST_STEPS
from repro.choices import PRECISION, STEPS, StepWay, chosen
from repro.records import CellStatus, Environment, Record
from repro.spec import Cell, Claim, PairSpec, Profile

COLUMNS = tuple(CellRow.model_fields)
"""Columns of `results.csv`, in order."""


def assemble(
    profile: Profile,
    outcomes: Sequence[Outcome],
    predictions: Mapping[str, Correctness],
    claims: Sequence[Claim],
    *,
    pairs: Iterable[PairSpec] = (),
    answers: Answers | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
    generated_at: str,
) -> Results:
    """All results of a profile, the same whatever the order of `outcomes`.

    `predictions` maps the id of each done cell to bool (I,), whether each test image was classified correctly; `pairs` are
    those that catalogue and profile declare; without `answers` (and `class_names` by data set) errors are not compared;
    `generated_at` is UTC, ISO 8601. Unfinished matrices, single seeds and single families are no error: what cannot be said is
    left out and the warnings say so.
    """
    ordered = sorted(outcomes, key=lambda outcome: row_order(outcome.row))
    rows = tuple(outcome.row for outcome in ordered)
    looks = inside_rows(rows, {one.row.id: one.record.inside for one in ordered if one.record and one.record.inside})
    study = index_study(rows, predictions, pairs, looks)
    ledger = hold_claims(claims, study, profile)
    records = [outcome.record for outcome in ordered if outcome.record is not None]
    newest = max(records, key=lambda record: (record.finished_at, record.fingerprint), default=None)
    return Results(
        profile=profile.name,
        description=profile.description,
        miniature=profile.miniature,
        notes=profile.notes,
        vitrepro=__version__,
        generated_at=generated_at,
        environment=newest.environment if newest else None,
        precision=told.reason if newest and (told := chosen(newest.choices, PRECISION)) else None,
        warnings=(
            *_progress_warnings(rows),
            *study.refused,
            *_disagreements(rows, study),
            *_mixtures(records),
            *ledger.warnings,
        ),
        claims=tuple(result for result in ledger.results if result.verdict is not None),
        observations=tuple(result for result in ledger.results if result.verdict is None),
        groups=groups(study),
        gaps=gaps(study),
        gains=gains(study, claims),
        pairs=tuple(spec for spec in study.declared if any(pair.name == spec.name for pair in study.pairs)),
        errors=compare_errors(study, answers or {}, class_names or {}),
        inside=looks,
        inside_arms=inside_arms(looks),
        cells=rows,
    )


def groups(study: Study) -> tuple[Group, ...]:
    """Mean accuracy over the finished seeds of every arm that has one; intervals are cut off at 0 and 1."""
    found = []
    for key in sorted(study.arms):
        rows = study.arms[key]
        seeds = sorted(study.finished(rows))
        if not seeds:
            continue
        correct_SI = study.matrix(rows, seeds)
        accuracies = tuple(float(accuracy) for accuracy in correct_SI.mean(axis=1))
        found.append(
            Group(
                dataset=key.dataset,
                num_train_images=key.num_train_images,
                model=key.model,
                family=key.family,
                init=key.init,
                num_upstream_images=key.num_upstream_images,
                recipe=key.recipe,
                accuracy=_within_unit(estimate([Arm(weight=1.0, correct=correct_SI)], Scale.ACCURACY)),
                sd=standard_statistics.stdev(accuracies) if len(accuracies) > 1 else None,
                seeds=accuracies,
                cells=tuple(rows[seed].id for seed in seeds),
            )
        )
    return tuple(found)


def gaps(study: Study) -> tuple[Gap, ...]:
    """CNN minus ViT over the seeds that both have finished, for every pair of models and every size, each once."""
    combinations = dict.fromkeys(combination for pair in study.pairs for combination in pair.combinations)
    found = []
    for vit, cnn in combinations:
        seeds = sorted(study.finished(study.arms[vit]) & study.finished(study.arms[cnn]))
        if not seeds:
            continue
        arms = [
            Arm(weight=1.0, correct=study.matrix(study.arms[cnn], seeds)),
            Arm(weight=-1.0, correct=study.matrix(study.arms[vit], seeds)),
        ]
        found.append(
            Gap(
                dataset=vit.dataset,
                num_train_images=vit.num_train_images,
                init=vit.beginning,
                num_upstream_images=min(vit.num_upstream_images, cnn.num_upstream_images),
                recipe=vit.recipe,
                vit=contender(vit.model, vit.init),
                cnn=contender(cnn.model, cnn.init),
                accuracy=estimate(arms, Scale.ACCURACY),
                log_odds=estimate(arms, Scale.LOG_ODDS),
                cells=tuple(study.arms[key][seed].id for key in (cnn, vit) for seed in seeds),
            )
        )
    return tuple(found)


def outcome_row(cell: Cell, fingerprint: str | None, status: CellStatus, reason: str, record: Record | None) -> CellRow:
    """The row of one planned cell; its numbers come from `record` if it is done, and stay empty otherwise."""
    done = record if status is CellStatus.DONE else None
    return CellRow(
        id=cell.id,
        fingerprint=fingerprint,
        role=cell.role,
        dataset=cell.dataset.name,
        model=cell.model.name,
        family=cell.model.family,
        init=cell.init,
        upstream_dataset=cell.upstream_dataset,
        num_upstream_images=cell.num_upstream_images,
        recipe=cell.recipe.name,
        is_regularised=is_regularised(cell.recipe),
        is_probe=cell.recipe.is_probe,
        num_train_images=cell.num_train_images,
        seed=cell.seed,
        status=status,
        reason=reason,
        test_accuracy=done.test_accuracy if done else None,
        test_loss=done.test_loss if done else None,
        train_accuracy=done.train_accuracy if done else None,
        train_loss=done.train_loss if done else None,
        dev_accuracy=done.dev_accuracy if done else None,
        lr=done.lr if done else None,
        selected_step=done.selected_step if done else None,
        num_parameters=done.num_parameters if done else None,
        forward_macs=done.forward_macs if done else None,
        train_flops=done.train_flops if done else None,
        wall_s=done.wall_s if done else None,
        total_s=done.total_s if done else None,
        energy_j=done.energy_j if done else None,
        peak_mem_bytes=done.peak_mem_bytes if done else None,
        device=done.environment.device if done else None,
        device_shared=done.device_shared if done else None,
    )


def results_csv(results: Results) -> str:
    """One line a cell in the order of `results.cells`; empty where there is no value, every float written in full."""
    rows = [row.model_dump(mode="json") for row in results.cells]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).to_csv(index=False, lineterminator="\n")


def read_results_csv(text: str) -> tuple[CellRow, ...]:
    """The rows that `results_csv` wrote: with the predictions enough to recompute `groups` and `gaps`."""
    frame = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, lineterminator="\n")
    optional = {name for name, field in CellRow.model_fields.items() if type(None) in getattr(field.annotation, "__args__", ())}
    return tuple(
        CellRow.model_validate(
            {str(name): None if text == "" and name in optional else text for name, text in row.items()},
            strict=False,  # a CSV holds nothing but text
        )
        for row in frame.to_dict(orient="records")
    )


def _within_unit(estimated: Estimate) -> Estimate:
    if estimated.ci95 is None:
        return estimated
    low, high = estimated.ci95
    return estimated.model_copy(update={"ci95": (max(0.0, low), min(1.0, high))})


def _progress_warnings(rows: Sequence[CellRow]) -> list[str]:
    counts = Counter(row.status for row in rows)
    unfinished = [f"{counts[status]} {status}" for status in CellStatus if status is not CellStatus.DONE and counts[status]]
    warnings = []
    if unfinished:
        warnings.append(
            f"The matrix is unfinished: {counts[CellStatus.DONE]} of {len(rows)} cells are done, {', '.join(unfinished)}."
        )
    for status in (CellStatus.FAILED, CellStatus.BLOCKED, CellStatus.UNFETCHED):
        by_reason: dict[str, list[str]] = {}
        for row in rows:
            if row.status is status:
                by_reason.setdefault(row.reason, []).append(row.id)
        warnings += [
            f"{len(ids)} cell(s) {status}: {reason or 'no reason given'} ({listing(ids)})" for reason, ids in by_reason.items()
        ]
    return warnings


def _disagreements(rows: Sequence[CellRow], study: Study) -> list[str]:
    """Predictions that do not give the recorded accuracy belong to another run, or were changed."""
    wrong = [
        row.id
        for row in rows
        if row.id in study.correct
        and row.test_accuracy is not None
        and abs(float(study.correct[row.id].mean()) - row.test_accuracy) * len(study.correct[row.id]) > 0.5  # half an image
    ]
    return [f"Recorded accuracy and stored predictions of {len(wrong)} cell(s) disagree: {listing(wrong)}."] if wrong else []


def _mixtures(records: Sequence[Record]) -> list[str]:
    """One line for each data set and each circumstance in which its cells differ."""
    circumstances: dict[str, Callable[[Record], str]] = {
        "devices": lambda record: _device(record.environment),
        "versions of torch": lambda record: record.environment.packages.get("torch", "unknown"),
        "versions of vitrepro": lambda record: record.environment.vitrepro,
        "commits": lambda record: record.environment.commit or "no git checkout",
        # Compiled steps, and such through CUDA graphs, may differ from plain ones in rounding.
        "ways of taking training steps": lambda record: _value(record, STEPS, otherwise=StepWay.PLAIN),
        "precisions": _precision,
        "contents of the data set": lambda record: record.data_sha256[:12],
    }
    by_dataset: dict[str, list[Record]] = {}
    for record in records:
        by_dataset.setdefault(record.cell.dataset.name, []).append(record)
    warnings = []
    for dataset, members in sorted(by_dataset.items()):
        for what, of in circumstances.items():
            counts = Counter(of(record) for record in members)
            if len(counts) > 1:
                found = [f"{value} ({count} cells)" for value, count in sorted(counts.items())]
                warnings.append(f"Cells on {dataset} that are compared with each other mix {what}: {listing(found)}.")
    return warnings


def _value(record: Record, what: str, *, otherwise: str) -> str:
    return choice.value if (choice := chosen(record.choices, what)) else otherwise


def _precision(record: Record) -> str:
    """That of the cell's last steps; where earlier ones were taken in another, that as well."""
    first = [choice.value for choice in record.choices if choice.what == FIRST_STEPS]
    found = [_value(record, PRECISION, otherwise="unknown"), *reversed(first)]
    # On another device steps may have gone on in the same one.
    return " after ".join(value for value, _ in itertools.groupby(found))


def _device(environment: Environment) -> str:
    return f"cpu, {environment.processor}" if environment.device == "cpu" else environment.device
