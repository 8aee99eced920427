"""The bare step once more, compiled: what `torch.compile` would bring on this device, and what it costs to begin with.

It is measured in a process of its own, since compilers can crash, and cost the other numbers then. Must not know the
matrix. Read `measure_compiled` first.
"""

from repro.bench.ceiling import Ceiling
from repro.bench.clock import LEAST_BLOCKS, MOST_BLOCKS, now_s
from repro.bench.product import ProductPeak
from repro.bench.setting import prepared
from repro.benchmarks import CompiledSpeed, blocks_of
from repro.messages import Trial, TriedCompiled
from repro.training.compilation import compile_steps

PEAK_S = 0.2
"""How long the matrix product is timed by which the batch is chosen, as it was for the plain step."""


def measure_compiled(trial: Trial) -> TriedCompiled:
    """Images a second of the compiled bare step, and the seconds of compiling. Raises whatever compiling raises."""
    assert trial.compiles_into is not None
    peak = ProductPeak(device=trial.device, bfloat16=trial.bfloat16)
    peak.measure(PEAK_S)
    with prepared(trial, peak_flops_per_s=peak.flops_per_s) as setting:
        forward, compile_s = compile_steps(
            setting.start.model,
            setting.data,
            setting.recipe,
            precision=setting.precision,
            head=setting.head,
            micro_batch=setting.micro_batch,
            cache=trial.compiles_into,
        )
        ceiling = Ceiling(setting, forward)
        # Its batch may lie in memory otherwise than the loop's, and be compiled for anew.
        started_s = now_s(setting.device)
        ceiling.run(1)
        compile_s += now_s(setting.device) - started_s
        num_steps = max(1, int(trial.seconds / MOST_BLOCKS / ceiling.run(1)))
        rates: list[float] = []
        started_s = now_s(setting.device)
        while len(rates) < LEAST_BLOCKS or now_s(setting.device) - started_s < trial.seconds:
            rates.append(num_steps * setting.recipe.batch_size / ceiling.run(num_steps))
        return TriedCompiled(speed=CompiledSpeed(ceiling_images_per_s=blocks_of(rates), compile_s=compile_s, problem=""))
