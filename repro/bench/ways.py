"""The bare step once more, compiled or through CUDA graphs: what that would bring here, and what it costs to begin with.

It is measured in a process of its own, since compilers can crash, and cost the other numbers then. Must not know the
matrix. Read `measure_way` first.
"""

from repro.bench.ceiling import Ceiling
from repro.bench.clock import LEAST_BLOCKS, MOST_BLOCKS, now_s
from repro.bench.product import ProductPeak
from repro.bench.setting import prepared
from repro.benchmarks import WaySpeed, blocks_of
from repro.choices import StepWay
from repro.messages import Trial, TriedWay
from repro.training.ways import ready_steps

PEAK_S = 0.2
"""How long the matrix product is timed by which the batch is chosen, as it was for the plain step."""


def measure_way(trial: Trial) -> TriedWay:
    """Images a second of the bare step taken in the trial's way, and the seconds until ready. Raises what that raises."""
    assert trial.way is not StepWay.PLAIN
    peak = ProductPeak(device=trial.device, bfloat16=trial.bfloat16)
    peak.measure(PEAK_S)
    with prepared(trial, peak_flops_per_s=peak.flops_per_s) as setting:
        forward, ready_s = ready_steps(
            trial.way,
            setting.start.model,
            setting.data,
            setting.recipe,
            precision=setting.precision,
            head=setting.head,
            micro_batch=setting.micro_batch,
            cache=trial.cache,
        )
        ceiling = Ceiling(setting, forward)
        # Its batch may lie in memory otherwise than the loop's, and be compiled for anew.
        started_s = now_s(setting.device)
        ceiling.run(1)
        ready_s += now_s(setting.device) - started_s
        num_steps = max(1, int(trial.seconds / MOST_BLOCKS / ceiling.run(1)))
        rates: list[float] = []
        started_s = now_s(setting.device)
        while len(rates) < LEAST_BLOCKS or now_s(setting.device) - started_s < trial.seconds:
            rates.append(num_steps * setting.recipe.batch_size / ceiling.run(num_steps))
        return TriedWay(speed=WaySpeed(ceiling_images_per_s=blocks_of(rates), ready_s=ready_s, problem=""))
