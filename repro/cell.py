"""Runs one cell end to end: data → model → training → evaluation → record.

Must not know the matrix, other cells or who asks. Everything that it writes lies in the cell's folder; the record comes last.
Read `run_cell` first.
"""

import contextlib
import hashlib
import importlib.metadata
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from repro import __version__
from repro.datasets import Pack, dev_split, load_pack, training_subset
from repro.datasets.device import DeviceImages, PartImages
from repro.datasets.streaming import place_images
from repro.errors import CorruptFile, TrainingDiverged
from repro.hardware import (
    EnergyMeter,
    image_budget_bytes,
    peak_memory_bytes,
    processor_name,
    start_peak_memory,
    usable_cores,
)
from repro.messages import Job
from repro.models.build import build_model, load_backbone
from repro.models.macs import count_forward_macs, count_parameters
from repro.records import (
    EPOCHS,
    FAILURE,
    LAST,
    LOG,
    PREDICTIONS,
    RECORD,
    WEIGHTS,
    Choice,
    Environment,
    EpochRow,
    Record,
    write_epochs,
    write_predictions,
    write_record,
)
from repro.training.checkpoint import load_state, save_state
from repro.training.evaluation import Evaluation, evaluate
from repro.training.loop import Training, TrainingData, train
from repro.training.precision import Precision
from repro.training.seeds import derive_seed, generator_for
from repro.workspace import Workspace, move_aside, write_atomically

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "matplotlib", "pillow")
"""Packages whose versions can change numbers."""
TRAIN_EVALUATION_IMAGES = 10_000
"""At most about so many training images tell the final training accuracy; its standard error is then below half a point."""
FLOPS_PER_MAC_TRAINED = 6
"""A multiply-add is 2 operations; the backward pass costs twice the forward pass."""


def run_cell(job: Job, *, progress: Callable[[int], None]) -> Record:
    """Run or resume the job's cell and write its files; `progress` is called with the steps done.

    Raises ReproError for what a user can mend; anything else is a defect or the device's fault.
    """
    started_at, started = _now(), time.perf_counter()
    cell, workspace = job.cell, Workspace(home=job.home)
    folder = workspace.run_dir(cell.id, job.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    log = _Log(folder / LOG)
    precision = Precision(device_type=job.device, bfloat16=job.bfloat16, channels_last=job.channels_last)
    log(f"{cell.id} fingerprint {job.fingerprint}")
    state = _resumable_state(folder, job.fingerprint, log)

    # The run has looked at the source when it planned this cell.
    pack = load_pack(workspace, cell.dataset, trusts_source=True)
    manifest = pack.manifest
    subset = training_subset(pack.y_train, cell.num_train_images, seed=cell.seed, dataset_sha256=manifest.content_sha256)
    fit, dev = dev_split(subset, pack.y_train, cell.recipe.dev_fraction, cell.seed)

    seeds = {
        "weights": derive_seed("weights", cell.model.family, cell.seed),
        "order": derive_seed("order", manifest.content_sha256, cell.num_train_images, cell.seed),
        "augmentation": derive_seed("augmentation", manifest.content_sha256, cell.num_train_images, cell.seed),
    }
    model: nn.Module = build_model(
        cell.model,
        image_size=manifest.image_size,
        num_channels=manifest.num_channels,
        num_classes=manifest.num_classes,
        generator=generator_for(seeds["weights"]),
    )
    forward_macs = count_forward_macs(model, image_size=manifest.image_size, num_channels=manifest.num_channels)
    if cell.upstream is not None:
        assert job.upstream_fingerprint and job.upstream_id
        load_backbone(model, workspace.run_dir(job.upstream_id, job.upstream_fingerprint) / WEIGHTS)
    # torch's stubs leave the memory_format overload untyped.
    model = model.to(device=job.device, memory_format=precision.memory_format)  # type: ignore[call-overload]

    with _placed_images(pack, precision) as (train_images, test_images, placement):
        start_peak_memory(device=job.device)
        meter = EnergyMeter(device=job.device)
        joules_before = meter.joules()
        training = train(
            model,
            TrainingData(
                batch=train_images.batch,
                normalise=train_images.normalise,
                train_positions=torch.from_numpy(fit),
                dev_positions=torch.from_numpy(dev),
                num_classes=manifest.num_classes,
                flip_keeps_label=cell.dataset.flip_keeps_label,
                prefetch=train_images.prefetch,
            ),
            cell.recipe,
            precision=precision,
            order_seed=seeds["order"],
            augmentation_seed=seeds["augmentation"],
            state=state,
            save=lambda new: save_state(folder / LAST, new, fingerprint=job.fingerprint),
            progress=_follower(log, progress),
        )
        joules_after = meter.joules()
        log(f"trained in {training.wall_s:.2f} s, weights of step {training.selected_step}")
        write_epochs(folder, training.rows)

        # Every k-th image of a large subset: the pack's order is by digest, so they are a random sample.
        sample = torch.from_numpy(fit[:: -(-len(fit) // TRAIN_EVALUATION_IMAGES)])
        on_train = _evaluate(model, train_images, sample, precision)
        on_test = _evaluate(model, test_images, torch.arange(len(pack.y_test)), precision)
    if not (math.isfinite(on_train.loss) and math.isfinite(on_test.loss)):
        raise TrainingDiverged(
            f"The weights of step {training.selected_step} are useless: their loss is {on_train.loss} on the training images "
            f"and {on_test.loss} on the test images.",
            remedy="Lower the recipe's lr, lengthen warmup_steps or set clip_norm.",
        )
    write_predictions(folder, labels=np.asarray(pack.y_test), predicted=on_test.predicted_N.numpy())
    if job.keeps_weights:
        _save_weights(model, folder / WEIGHTS)
    record = Record(
        cell=cell,
        fingerprint=job.fingerprint,
        upstream_fingerprint=job.upstream_fingerprint,
        data_sha256=manifest.content_sha256,
        subset_sha256=hashlib.sha256(subset.astype("<i8").tobytes()).hexdigest(),
        num_classes=manifest.num_classes,
        num_test_images=len(pack.y_test),
        test_accuracy=on_test.accuracy,
        test_loss=on_test.loss,
        train_accuracy=on_train.accuracy,
        train_loss=on_train.loss,
        dev_accuracy=training.dev_accuracy,
        selected_step=training.selected_step,
        num_parameters=count_parameters(model),
        forward_macs=forward_macs,
        train_flops=float(FLOPS_PER_MAC_TRAINED * forward_macs * cell.recipe.steps * cell.recipe.batch_size),
        wall_s=training.wall_s,
        total_s=time.perf_counter() - started,
        energy_j=_energy(joules_before, joules_after, training),
        peak_mem_bytes=peak_memory_bytes(device=job.device),
        device_shared=job.device_shared,
        resumed_from_step=training.resumed_from_step,
        seeds=seeds,
        choices=(*job.choices, placement),
        environment=describe_environment(job),
        started_at=started_at,
        finished_at=_now(),
        files_sha256={name: _sha256(folder / name) for name in (PREDICTIONS, EPOCHS, WEIGHTS) if (folder / name).exists()},
    )
    write_record(folder, record)
    log(f"test accuracy {record.test_accuracy:.4f}, training accuracy {record.train_accuracy:.4f}")
    return record


@contextlib.contextmanager
def _placed_images(pack: Pack, precision: Precision) -> Iterator[tuple[PartImages, PartImages, Choice]]:
    """Training images, test images, and whether all of them lie on the device; the training images have precedence."""
    device, layout = precision.device_type, precision.memory_format
    budget_bytes, origin = image_budget_bytes(device=device)
    train_images, why_train = place_images(pack, part="train", device=device, memory_format=layout, budget_bytes=budget_bytes)
    with train_images:
        left_bytes = budget_bytes - (pack.x_train.nbytes if isinstance(train_images, DeviceImages) else 0)
        test_images, why_test = place_images(pack, part="test", device=device, memory_format=layout, budget_bytes=left_bytes)
        with test_images:
            is_resident = isinstance(train_images, DeviceImages) and isinstance(test_images, DeviceImages)
            value = "resident" if is_resident else "streamed"
            yield train_images, test_images, Choice(what="images", value=value, reason=f"{why_train}; {why_test}; {origin}")


def _evaluate(model: nn.Module, images: PartImages, positions_N: Tensor, precision: Precision) -> Evaluation:
    return evaluate(model, images.normalised_batch, positions_N=positions_N, precision=precision, prefetch=images.prefetch)


def describe_environment(job: Job) -> Environment:
    """Versions and hardware as the record keeps them."""
    return Environment(
        vitrepro=__version__,
        commit=job.commit,
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor_name(),
        num_cores=usable_cores(),
        device=job.device_name,
        driver=job.driver,
        command=job.command,
    )


class _Log:
    """Appends timed lines to the cell's `log.txt`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{_now()} {line}\n")


def _follower(log: _Log, progress: Callable[[int], None]) -> Callable[[int, EpochRow], None]:
    def follow(step: int, row: EpochRow) -> None:
        log(f"step {step} loss {row.train_loss:.4f} training accuracy {row.train_accuracy:.4f}")
        progress(step)

    return follow


def _resumable_state(folder: Path, fingerprint: str, log: _Log) -> dict[str, object] | None:
    # What a killed worker was writing, and what belongs to an earlier result that is being redone.
    for path in (*folder.glob(".*.tmp"), *(folder / name for name in (FAILURE, RECORD, PREDICTIONS, EPOCHS, WEIGHTS))):
        path.unlink(missing_ok=True)
    try:
        state = load_state(folder / LAST, fingerprint=fingerprint)
    except CorruptFile as error:
        aside = move_aside(folder / LAST)
        log(f"{error.message} Moved to {aside.name}; the cell starts again.")
        print(f"{error.message} Moved to {aside.name}; the cell starts again.", file=sys.stderr)  # noqa: T201
        return None
    if state is not None:
        log(f"resumed after step {state['step']}")
    return state


def _save_weights(model: nn.Module, path: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, save(tensors))


def _energy(before: float | None, after: float | None, training: Training) -> float | None:
    # The counter covers this process' part only, so a resumed cell has no honest figure.
    if before is None or after is None or training.resumed_from_step is not None:
        return None
    return after - before


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
