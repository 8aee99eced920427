"""Measures one case: peak of the device, time to the first step, loop beside bare step, evaluation.

Must not know the matrix. Read `measure_speed` first.
"""

from collections.abc import Callable

import torch

from repro.bench.ceiling import Ceiling
from repro.bench.clock import LEAST_BLOCKS, MOST_BLOCKS, now_s
from repro.bench.pairs import STEPS_TO_LEARN, Pair, Runs, measure_pairs
from repro.bench.product import ProductPeak
from repro.bench.setting import Setting, prepared
from repro.benchmarks import Speed, blocks_of
from repro.cell.files import describe_environment
from repro.choices import Choice
from repro.hardware import EnergyMeter, peak_memory_bytes, start_peak_memory
from repro.messages import Trial, Tried
from repro.training.evaluation import evaluate

PEAK_PART = 20
"""One part in so many of the time is given to the matrix product, before and after."""


def measure_speed(trial: Trial, *, progress: Callable[[int], None]) -> Tried:
    """Measure the case; `progress` is called with steps done, as in a cell. Writes log and state into the trial's folder.

    Raises ReproError for what a user can mend, and what torch raises where memory runs out.
    """
    peak = ProductPeak(device=trial.device, bfloat16=trial.bfloat16 and trial.recipe.ridge_penalty is None)
    peak.measure(trial.seconds / PEAK_PART)
    start_peak_memory(device=trial.device)
    meter = EnergyMeter(device=trial.device)
    with prepared(trial, peak_flops_per_s=peak.flops_per_s) as setting:
        pairs, first_step_s = [], None
        if setting.recipe.ridge_penalty is None:
            runs = Runs(setting, trial.folder, progress)
            first_step_s = setting.made_ready_s + runs.steps_s(1)
            step_s = _about_a_step(runs, trial.seconds)
            peak_mem_bytes = peak_memory_bytes(device=trial.device)
            pairs = measure_pairs(runs, Ceiling(setting), meter, step_s=step_s, seconds=trial.seconds)
        evaluated = _evaluation_images_per_s(setting, trial.seconds)
        if not pairs:
            peak_mem_bytes = peak_memory_bytes(device=trial.device)
        peak.measure(trial.seconds / PEAK_PART)
        joules, energy_problem = _joules_per_image(pairs, meter, trial.device)
        rates = [pair.num_images / pair.loop_s for pair in pairs]
        flops_per_s = blocks_of(rates).median * setting.flops_per_image if pairs else None
        speed = Speed(
            batch_size=setting.recipe.batch_size,
            loop_images_per_s=blocks_of(rates) if pairs else None,
            ceiling_images_per_s=blocks_of([pair.num_images / pair.ceiling_s for pair in pairs]) if pairs else None,
            loop_to_ceiling_ratio=blocks_of([pair.ceiling_s / pair.loop_s for pair in pairs]) if pairs else None,
            evaluation_images_per_s=blocks_of(evaluated),
            forward_macs=setting.forward_macs,
            flops_per_image=setting.flops_per_image,
            loop_flops_per_s=flops_per_s,
            peak_flops_per_s=peak.flops_per_s,
            peak_share=flops_per_s / peak.flops_per_s if flops_per_s is not None else None,
            peak_mem_bytes=peak_mem_bytes,
            joules_per_image=joules,
            energy_problem=energy_problem,
            first_step_s=first_step_s,
            choices=(*setting.choices, *_without_steps(setting)),
        )
    return Tried(speed=speed, environment=describe_environment(trial))


def _about_a_step(runs: Runs, seconds: float) -> float:
    """About the seconds of a step, after the first."""
    for num_steps in STEPS_TO_LEARN:
        taken_s = runs.steps_s(num_steps)
        if taken_s > seconds / MOST_BLOCKS / 4:
            break
    return taken_s / num_steps


def _evaluation_images_per_s(setting: Setting, seconds: float) -> list[float]:
    """Images a second of blocks of whole evaluation batches, a first batch left out."""

    def run(num_batches: int) -> float:
        number = num_batches * setting.start.evaluation_batch
        started_s = now_s(setting.device)
        evaluate(
            setting.start.model,
            setting.data.normalised_batch,
            positions_N=torch.arange(number) % len(setting.images),
            precision=setting.precision,
            prefetch=setting.images.prefetch,
            batch_images=setting.start.evaluation_batch,
        )
        return number / (now_s(setting.device) - started_s)

    run(1)
    block_images = run(1) * seconds / MOST_BLOCKS
    num_batches = max(1, int(block_images / setting.start.evaluation_batch))
    rates: list[float] = []
    started_s = now_s(setting.device)
    while len(rates) < LEAST_BLOCKS or now_s(setting.device) - started_s < seconds:
        rates.append(run(num_batches))
    return rates


def _joules_per_image(pairs: list[Pair], meter: EnergyMeter, device: str) -> tuple[float | None, str]:
    """Joules of an image through the loop, or why there are none."""
    if device == "cpu":
        return None, "a CPU has no energy counter that this kit reads"
    joules = [pair.joules for pair in pairs if pair.joules is not None]
    if not pairs or len(joules) < len(pairs) or min(joules) < 0:
        return None, meter.problem or ("no step was timed" if not pairs else "the GPU's counter began anew")
    return sum(joules) / sum(pair.num_images for pair in pairs), ""


def _without_steps(setting: Setting) -> tuple[Choice, ...]:
    if setting.recipe.ridge_penalty is None:
        return ()
    reason = "the head is solved for in closed form, on features computed as in evaluation"
    return (Choice(what="steps", value="none", reason=reason),)
