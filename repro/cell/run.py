"""Runs one cell end to end: data → model → training → evaluation → record.

Must not know the matrix, other cells or who asks. Everything that it writes lies in the cell's folder; the record comes last.
Read `run_cell` first.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from repro.cell.files import (
    Log,
    StateKeeper,
    begin_attempt,
    describe_environment,
    follower,
    now,
    resumable_state,
    save_weights,
    sha256_of,
)
from repro.cell.inside import leave_inside
from repro.cell.start import Start, choose_micro_batch, make_start
from repro.cell.steps import steps_of
from repro.choices import Choice
from repro.datasets import Pack, dev_split, load_pack, training_subset
from repro.datasets.device import DeviceImages, PartImages
from repro.datasets.streaming import place_images
from repro.errors import TrainingDiverged
from repro.hardware import EnergyMeter, image_budget_bytes, peak_memory_bytes, start_peak_memory
from repro.inside import INSIDE
from repro.messages import Job
from repro.models.heads import features
from repro.models.macs import count_forward_macs, count_parameters
from repro.records import (
    EPOCHS,
    LAST,
    LOG,
    PREDICTIONS,
    WEIGHTS,
    Record,
    write_epochs,
    write_predictions,
    write_record,
)
from repro.spec import Recipe, Role
from repro.training.data import TrainingData
from repro.training.evaluation import Evaluation, evaluate
from repro.training.loop import Training, train
from repro.training.precision import Precision
from repro.training.ridge import train_head_by_ridge
from repro.training.seeds import derive_seed
from repro.workspace import Workspace

TRAIN_EVALUATION_IMAGES = 10_000
"""At most about so many training images tell the final training accuracy; its standard error is then below half a point."""
FLOPS_PER_MAC_TRAINED = 6
"""A multiply-add is 2 operations; the backward pass costs twice the forward pass."""
FLOPS_PER_MAC_FORWARD = 2
"""Where the features are frozen there is no backward pass but the head's."""


def run_cell(job: Job, *, progress: Callable[[int], None]) -> Record:
    """Run or resume the job's cell and write its files; `progress` is called with the steps done.

    A search for a rate never sees the test set: its record holds the dev accuracy, or that training diverged. Raises ReproError
    for what a user can mend; anything else is a defect or the device's fault.
    """
    started_at, started = now(), time.perf_counter()
    cell, workspace = job.cell, Workspace(home=job.home)
    folder = workspace.run_dir(cell.id, job.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / LOG)
    # A head that is solved for would be rounded again under bfloat16, and its bias, into which means are folded, is large.
    bfloat16 = job.bfloat16 and cell.recipe.ridge_penalty is None
    precision = Precision(device_type=job.device, bfloat16=bfloat16, channels_last=job.channels_last)
    log(f"{cell.id} fingerprint {job.fingerprint}")
    state = resumable_state(folder, job.fingerprint, log)
    begun = begin_attempt(folder, job, is_resumed=state is not None)
    recipe = cell.recipe.model_copy(update={"lr": job.lr, "lr_grid": ()})

    # The run has looked at the source when it planned this cell.
    pack = load_pack(workspace, cell.dataset, trusts_source=True)
    manifest = pack.manifest
    subset = training_subset(pack.y_train, cell.num_train_images, seed=cell.seed, dataset_sha256=manifest.content_sha256)
    fit, dev = dev_split(subset, pack.y_train, recipe.dev_fraction, cell.seed)

    seeds = {
        "weights": derive_seed("weights", cell.model.family, cell.seed),
        "order": derive_seed("order", manifest.content_sha256, cell.num_train_images, cell.seed),
        "augmentation": derive_seed("augmentation", manifest.content_sha256, cell.num_train_images, cell.seed),
    }
    start = make_start(job, pack, recipe, precision, seed=seeds["weights"])
    model = start.model
    forward_macs = count_forward_macs(model, image_size=start.image_size, num_channels=start.num_channels)

    with _placed_images(pack, precision, at_once=job.at_once) as (train_images, test_images, placement):
        micro_batch, how_many = choose_micro_batch(start, recipe, precision, at_once=job.at_once)
        data = training_data(train_images, start, recipe, fit, dev, flip_keeps_label=cell.dataset.flip_keeps_label)
        head = start.head if recipe.is_probe else None
        # Playing a graph back takes no memory; what its passes need was taken when they were recorded.
        start_peak_memory(device=job.device)
        steps = steps_of(job, model, data, recipe, precision=precision, head=head, micro_batch=micro_batch, log=log)
        meter = EnergyMeter(device=job.device)
        joules_before = meter.joules()
        outcome: Training | TrainingDiverged
        try:
            if recipe.ridge_penalty is not None:
                outcome = train_head_by_ridge(
                    model,
                    start.head,
                    lambda x_BCHW: features(model, x_BCHW),
                    data,
                    recipe,
                    precision=precision,
                    progress=follower(log, progress),
                )
            else:
                outcome = train(
                    model,
                    data,
                    recipe,
                    precision=precision,
                    head=head,
                    micro_batch=micro_batch,
                    order_seed=seeds["order"],
                    augmentation_seed=seeds["augmentation"],
                    forward=steps.forward,
                    state=state,
                    save=StateKeeper(folder / LAST, job.fingerprint, model),
                    progress=follower(log, progress),
                )
        except TrainingDiverged as error:
            if cell.role is not Role.LR_SEARCH:
                raise
            outcome = error
        joules_after = meter.joules()
        diverged = outcome.message if isinstance(outcome, TrainingDiverged) else ""
        training = outcome if isinstance(outcome, Training) else _given_up(since=time.perf_counter() - started)
        log(diverged or f"trained in {training.wall_s:.2f} s, weights of step {training.selected_step}")
        write_epochs(folder, training.rows)
        on_train = on_test = None
        if cell.role is not Role.LR_SEARCH:
            on_train, on_test = _evaluate_both(model, train_images, test_images, fit, start, recipe, precision)
            _require_finite(on_train, on_test, training)
            write_predictions(folder, labels=np.asarray(pack.y_test), predicted=on_test.predicted_N.numpy())
        peak_bytes = peak_memory_bytes(device=job.device)
        inside = None
        if job.looks_inside:
            given = training_data(test_images, start, recipe, fit[:0], fit[:0], flip_keeps_label=False).normalised_batch
            inside = leave_inside(folder, model, test_images, given, log=log)
    if job.keeps_weights:
        save_weights(model, folder / WEIGHTS)
    energy_j, energy_choices = energy_used(joules_before, joules_after, training, problem=meter.problem)
    record = Record(
        cell=cell,
        fingerprint=job.fingerprint,
        upstream_fingerprint=job.upstream_fingerprint,
        weights_sha256=job.weights.sha256 if job.weights else None,
        data_sha256=manifest.content_sha256,
        subset_sha256=hashlib.sha256(subset.astype("<i8").tobytes()).hexdigest(),
        num_classes=manifest.num_classes,
        num_test_images=len(pack.y_test),
        test_accuracy=on_test.accuracy if on_test else None,
        test_loss=on_test.loss if on_test else None,
        train_accuracy=on_train.accuracy if on_train else None,
        train_loss=on_train.loss if on_train else None,
        dev_accuracy=training.dev_accuracy,
        selected_step=training.selected_step,
        lr=job.lr,
        diverged=diverged,
        num_parameters=count_parameters(model),
        forward_macs=forward_macs,
        train_flops=_train_flops(recipe, forward_macs, num_images=len(fit)),
        wall_s=training.wall_s,
        total_s=time.perf_counter() - started,
        energy_j=energy_j,
        peak_mem_bytes=peak_bytes,
        device_shared=job.device_shared,
        resumed_from_step=training.resumed_from_step,
        seeds=seeds,
        choices=(*steps.choices, *begun, placement, *start.choices, how_many, *energy_choices),
        environment=describe_environment(job),
        started_at=started_at,
        finished_at=now(),
        files_sha256={
            name: sha256_of(folder / name) for name in (PREDICTIONS, EPOCHS, WEIGHTS, INSIDE) if (folder / name).exists()
        },
        inside=inside,
    )
    write_record(folder, record)
    if on_test is not None and on_train is not None:
        log(f"test accuracy {on_test.accuracy:.4f}, training accuracy {on_train.accuracy:.4f}")
    return record


def _given_up(*, since: float) -> Training:
    """What stands in the record of a search whose training diverged: nothing is measured."""
    return Training(rows=[], wall_s=since, selected_step=0, dev_accuracy=None, resumed_from_step=None)


def training_data(
    images: PartImages,
    start: Start,
    recipe: Recipe,
    fit: npt.NDArray[np.int64],
    dev: npt.NDArray[np.int64],
    *,
    flip_keeps_label: bool,
) -> TrainingData:
    """What the loop sees: the images at the positions `fit` to train on, those at `dev` held out."""
    return TrainingData(
        batch=images.batch,
        normalise=start.normalise or images.normalise,
        train_positions=torch.from_numpy(fit),
        dev_positions=torch.from_numpy(dev),
        num_classes=start.num_classes,
        flip_keeps_label=flip_keeps_label,
        prefetch=images.prefetch,
        image_size=recipe.image_size,
        repeat_grey=start.repeats_grey,
        evaluation_batch=start.evaluation_batch,
    )


def _evaluate_both(
    model: nn.Module,
    train_images: PartImages,
    test_images: PartImages,
    fit: npt.NDArray[np.int64],
    start: Start,
    recipe: Recipe,
    precision: Precision,
) -> tuple[Evaluation, Evaluation]:
    """On (a sample of) the training images, then once on the test images."""
    nowhere = np.empty(0, dtype=np.int64)
    # Every k-th image of a large subset: the pack's order is by digest, so they are a random sample.
    sample = fit[:: -(-len(fit) // TRAIN_EVALUATION_IMAGES)]
    found = []
    for images, positions in ((train_images, sample), (test_images, np.arange(len(test_images)))):
        # The statistics for normalising are the training part's, whichever part is evaluated.
        data = training_data(images, start, recipe, positions, nowhere, flip_keeps_label=False)
        found.append(
            evaluate(
                model,
                data.normalised_batch,
                positions_N=data.train_positions,
                precision=precision,
                prefetch=images.prefetch,
                batch_images=start.evaluation_batch,
            )
        )
    return found[0], found[1]


def _require_finite(on_train: Evaluation, on_test: Evaluation, training: Training) -> None:
    if not (math.isfinite(on_train.loss) and math.isfinite(on_test.loss)):
        raise TrainingDiverged(
            f"The weights of step {training.selected_step} are useless: their loss is {on_train.loss} on the training images "
            f"and {on_test.loss} on the test images.",
            remedy="Lower the recipe's lr, lengthen warmup_steps or set clip_norm.",
        )


def _train_flops(recipe: Recipe, forward_macs: int, *, num_images: int) -> float:
    """Floating-point operations of the training: all images that went through, forward and (but for a probe) backward."""
    if recipe.ridge_penalty is not None:
        return float(FLOPS_PER_MAC_FORWARD * forward_macs * num_images)
    per_mac = FLOPS_PER_MAC_FORWARD if recipe.is_probe else FLOPS_PER_MAC_TRAINED
    return float(per_mac * forward_macs * recipe.steps * recipe.batch_size)


@contextlib.contextmanager
def _placed_images(pack: Pack, precision: Precision, *, at_once: int) -> Iterator[tuple[PartImages, PartImages, Choice]]:
    """Training images, test images, and whether all of them lie on the device; the training images have precedence."""
    device, layout = precision.device_type, precision.memory_format
    budget_bytes, origin = image_budget_bytes(device=device, at_once=at_once)
    train_images, why_train = place_images(pack, part="train", device=device, memory_format=layout, budget_bytes=budget_bytes)
    with train_images:
        left_bytes = budget_bytes - (pack.x_train.nbytes if isinstance(train_images, DeviceImages) else 0)
        test_images, why_test = place_images(pack, part="test", device=device, memory_format=layout, budget_bytes=left_bytes)
        with test_images:
            is_resident = isinstance(train_images, DeviceImages) and isinstance(test_images, DeviceImages)
            value = "resident" if is_resident else "streamed"
            yield train_images, test_images, Choice(what="images", value=value, reason=f"{why_train}; {why_test}; {origin}")


def energy_used(
    before: float | None, after: float | None, training: Training, *, problem: str
) -> tuple[float | None, tuple[Choice, ...]]:
    """Joules of the training, or None; and, where a GPU's could not be counted, why. `problem` is the meter's."""
    if before is not None and after is not None and after < before:
        problem = "the GPU's counter began anew"
    if problem:
        return None, (Choice(what="energy", value="not counted", reason=problem),)
    # The counter covers this process' part only, so a resumed cell has no honest figure.
    if before is None or after is None or training.resumed_from_step is not None:
        return None, ()
    return after - before, ()
