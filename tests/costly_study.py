"""The made-up studies with made-up costs and learning curves: formulas, not measurements.

As a script it writes a report of each: `python tests/costly_study.py FOLDER`.
"""

import math
import sys
import zlib
from pathlib import Path

import numpy as np
from full_study import NUM_IMAGES, full_results, full_study
from full_study import PROFILE as FULL
from published_study import PROFILE as PUBLISHED
from published_study import published_results, published_study

from repro.analysis.curves import Histories, History, chosen_cells, thinned
from repro.analysis.results import CellRow, Results
from repro.records import CellStatus, EpochRow
from repro.rendering import write_report
from repro.spec import Profile, Role
from repro.workspace import Workspace

MACS = {"vit_cifar": 5.2e8, "resnet18_cifar": 5.6e8}


def with_costs(results: Results, *, joules: bool = True, shared: int = 0) -> Results:
    """The results with costs by formula, and the upstream cells that toy studies leave out; `shared` cells shared a device."""
    rows: list[CellRow] = []
    for number, row in enumerate(results.cells):
        rows.append(costly(row, joules=joules, is_shared=number < shared))
    started = {
        (row.upstream_dataset, row.num_upstream_images, row.model, row.seed): row
        for row in rows
        if row.init.startswith("upstream:") and row.role is Role.STUDY
    }
    for (dataset, num_images, model, seed), row in started.items():
        changes = {
            "id": f"{dataset}.n{num_images}.{model}.scratch.tiny-upstream.s{seed}",
            "dataset": dataset,
            "num_train_images": num_images,
            "init": "scratch",
            "upstream_dataset": "",
            "num_upstream_images": 0,
            "recipe": "tiny-upstream",
            "role": Role.UPSTREAM,
        }
        rows.append(costly(row.model_copy(update=changes), joules=joules))
    return results.model_copy(update={"cells": tuple(rows)})


def costly(row: CellRow, *, joules: bool = True, is_shared: bool = False) -> CellRow:
    """The row with costs by formula; one that is not done has none."""
    if row.status is not CellStatus.DONE:
        return row
    macs = MACS.get(row.model) or row.forward_macs or 1e9
    steps = 8e3 if row.role is Role.UPSTREAM else 2e3 if "finetune" in row.recipe else 4e3 * (4 if "4x" in row.recipe else 1)
    flops = (2 if row.is_probe else 6) * macs * steps * 256
    seconds = flops / (3e13 if row.family == "vit" else 2.2e13) * (1 + 0.02 * row.seed)
    return row.model_copy(
        update={
            "train_flops": flops,
            "wall_s": seconds,
            "energy_j": 480 * seconds if joules else None,
            "device": "Made-up GPU",
            "device_shared": is_shared,
        }
    )


def made_up_history(row: CellRow, *, num_points: int = 300, dev: bool | None = None) -> History:
    """A learning curve by formula; the dev split is the upstream cells' unless `dev` says otherwise."""
    generator = np.random.default_rng(zlib.crc32(row.id.encode()))
    slow = 1.0 if row.family == "vit" else 2.2
    steps = 16000 if "4x" in row.recipe else 4000
    goal = 0.78 if row.is_regularised else 1.0
    has_dev = row.role is Role.UPSTREAM if dev is None else dev
    points = []
    for number in range(1, num_points + 1):
        progress, noise = slow * number * steps / num_points / 700, 1 + 0.03 * float(generator.normal())
        accuracy = goal * (1 - math.exp(-progress)) * (1 - 0.003 * float(generator.random()))
        points.append(
            EpochRow(
                step=round(number * steps / num_points),
                epoch=number / 3,
                lr=0.001,
                train_loss=noise * (2.5 * math.exp(-progress / 2) + 0.004 + 1.2 * (1 - goal)),
                train_accuracy=accuracy,
                dev_loss=noise * (1.1 * math.exp(-progress / 3) + 0.4) if has_dev else None,
                dev_accuracy=0.8 * accuracy if has_dev else None,
                elapsed_s=number / 10,
            )
        )
    return History(row=row, points=thinned(points))


def made_up_histories(results: Results) -> Histories:
    """Curves of the cells that a report of the results shows."""
    chosen = chosen_cells(results.cells)
    return Histories(
        places=tuple(tuple(made_up_history(row) for row in place.cells) for place in chosen),
        num_left_out=sum(place.num_left_out for place in chosen),
        problems=(),
    )


def write(folder: Path) -> None:
    """Both reports."""
    studies: list[tuple[Profile, Results, dict[str, np.ndarray]]] = []
    full, published = full_study(), published_study()
    studies.append((FULL, with_costs(full_results(full), shared=7), full.predictions))
    studies.append((PUBLISHED, with_costs(published_results(published)), published.predictions))
    labels = np.arange(NUM_IMAGES) % 10
    for profile, results, correct in studies:
        paths = write_report(
            workspace=Workspace(home=folder),
            profile=profile,
            results=results,
            labels_and_predictions={cell: (labels, np.where(right, labels, labels + 1)) for cell, right in correct.items()},
            histories=made_up_histories(results),
            out=lambda line: sys.stderr.write(line + "\n"),
        )
        sys.stdout.write(f"{paths.html}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
