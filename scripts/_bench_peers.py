"""Our training loop beside what people would use instead, in one run: torch and torchvision, and timm.

    scripts/bench-peers --json peers.json
    scripts/bench-peers --device cpu --cases resnet18-plain --batch 8 --seconds 10

Every contender trains the same model on the same made-up images of CIFAR's shape, with the same batch, precision and device.
They take turns, block by block, so that a drift of the machine hits all. A block begins by throwing away what a loader's
processes made while others were on the clock; then come some untimed steps, then the timed ones, as many for every contender.
Clocks wait for the device. How each is wired: `_bench_peers_libraries.py`; what it says: docs/bench-peers.md. The table goes to
stdout, last; progress to stderr. Read `measure` first, then `race`.
"""

import argparse
import gc
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from _bench_peers_cases import NUM_IMAGES, SOURCE_SIZE, Setting, made_up_pack, prepare, shipped_cases
from _bench_peers_libraries import TimmPeer, TorchPeer, timm_feed, torch_feed
from _bench_peers_loops import Contender, OurLoop
from _bench_peers_results import CaseResult, ContenderResult, Results, read_peers_file, table, with_ratios

from repro.context import source_commit
from repro.documents import write_document
from repro.errors import ReproError
from repro.hardware import CPU_THREADS_PER_WORKER, DeviceChoice, choose_device, processor_name, usable_cores

BLOCKS = 5
"""Turns of each contender."""
UNTIMED_STEPS = 3
"""Steps of a block before its clock starts."""
LEAST_STEPS = 2
"""Timed steps of a block in any case."""


@dataclass(slots=True, kw_only=True)
class Score:
    """What one contender has done so far."""

    contender: Contender
    """Who."""
    images_per_s: list[float] = field(default_factory=list)
    """Of each block."""
    loader_images_per_s: list[float] = field(default_factory=list)
    """Of each block, its loader alone."""
    losses: list[float] = field(default_factory=list)
    """Of each block."""
    problem: str = ""
    """Why it was given up."""

    def attempt(self, deed: Callable[[], float]) -> float | None:
        """What `deed` gives; None where it fails, as a loader without shared memory does, which costs this contender only."""
        if self.problem:
            return None
        try:
            return deed()
        except (RuntimeError, ValueError, OSError, ReproError) as error:
            lines = str(error).strip().splitlines()
            self.problem = f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
            return None

    def result(self) -> ContenderResult:
        """As it is written; without numbers where it was given up."""
        if self.problem:
            return ContenderResult(contender=self.contender.name, problem=self.problem)
        return ContenderResult(
            contender=self.contender.name,
            images_per_s=tuple(self.images_per_s),
            loader_images_per_s=tuple(self.loader_images_per_s),
            losses=tuple(self.losses),
        )


def enter(setting: Setting, *, compiles: bool) -> list[Contender]:
    """The contenders, ours first; variants of a library share its loader."""
    contenders: list[Contender] = [OurLoop(setting)]
    for kind, feed in ((TorchPeer, torch_feed(setting)), (TimmPeer, timm_feed(setting))):
        contenders += [kind(setting, feed, compiles=variant) for variant in ((False, True) if compiles else (False,))]
    return contenders


def race(setting: Setting, contenders: list[Contender], *, seconds: float, say: Callable[[str], None]) -> CaseResult:
    """Let them take turns; the slowest one's timed steps take about `seconds` in all."""
    case, batch_size = setting.case, setting.case.recipe.batch_size
    scores = [Score(contender=contender) for contender in contenders]
    turn = max(setting.num_workers, LEAST_STEPS)

    def lap(score: Score, timed: int) -> float | None:
        def run() -> float:
            done = score.contender.lap(untimed=UNTIMED_STEPS, timed=timed)
            score.losses.append(done.loss)
            return done.wall_s

        return score.attempt(run)

    # The first lap starts processes and compiles; it is not counted.
    slowest_s = max((wall_s for score in scores if (wall_s := lap(score, turn)) is not None), default=0.0) / turn
    wanted = math.ceil(seconds / BLOCKS / slowest_s) if slowest_s else turn
    # Each process of a loader makes whole batches: every one of them is to be waited for equally often.
    timed = max(1, math.ceil(wanted / setting.num_workers)) * setting.num_workers if setting.num_workers else wanted
    timed = max(timed, LEAST_STEPS)
    for block in range(BLOCKS):
        say(f"{case.name}: block {block + 1} of {BLOCKS}, {timed} timed steps each")
        first = block % len(scores)
        for score in scores[first:] + scores[:first]:
            if (wall_s := lap(score, timed)) is not None:
                score.images_per_s.append(batch_size * timed / wall_s)
        time_loaders(scores, timed, batch_size)
    return CaseResult(
        case=case.name,
        model=case.model.name,
        recipe=case.recipe.name,
        source_size=case.source_size,
        image_size=case.image_size,
        batch_size=batch_size,
        micro_batch=setting.micro_batch,
        micro_batch_reason=setting.micro_batch_reason,
        timed_steps=timed,
        untimed_steps=UNTIMED_STEPS,
        contenders=with_ratios([score.result() for score in scores]),
    )


def time_loaders(scores: list[Score], num_batches: int, batch_size: int) -> None:
    """Each loader alone once, for all variants that share it."""
    by_feed: dict[int, list[Score]] = {}
    for score in scores:
        if score.contender.feed is not None:
            by_feed.setdefault(id(score.contender.feed), []).append(score)
    for sharing in by_feed.values():
        feed = sharing[0].contender.feed
        able = [score for score in sharing if not score.problem]
        if feed is None or not able:
            continue
        wall_s = able[0].attempt(lambda feed=feed: feed.load(num_batches))
        if wall_s is not None:
            for score in able:
                score.loader_images_per_s.append(batch_size * num_batches / wall_s)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    names = list(shipped_cases())
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE", help=f"some of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=30.0, help="timed training of a case's slowest contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--batch", type=int, metavar="N", help="other batches than the recipe's, for small machines; even")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes of each peer's loader (as many as cores)"
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="measure the peers compiled as well (on a GPU, unless forbidden)",
    )
    chosen = parser.parse_args()
    if chosen.batch is not None and (chosen.batch < 2 or chosen.batch % 2):
        parser.error("--batch: timm mixes pairs, so give an even number of at least 2")
    if chosen.workers < 0 or not chosen.seconds > 0:
        parser.error("--workers is at least 0, --seconds above 0")
    return chosen


def results_of(cases: list[CaseResult], chosen: argparse.Namespace, device: DeviceChoice, *, compiles: bool) -> Results:
    """What was measured so far, with everything that a reader needs to judge it."""
    packages = {name: version(name) for name in ("torch", "torchvision", "timm", "pillow")}
    return Results(
        commit=source_commit(),
        versions={"Python": platform.python_version()} | packages,
        device=device.name if device.device == "cuda" else processor_name(),
        device_type=device.device,
        precision=device.precision_reason,
        num_cores=usable_cores(),
        num_threads=torch.get_num_threads(),
        num_workers=chosen.workers,
        seconds=chosen.seconds,
        compiles=compiles,
        cases=tuple(cases),
        published=read_peers_file().published,
    )


def measure(chosen: argparse.Namespace, say: Callable[[str], None]) -> Results:
    """Race case after case; the file is written after each, so that an interrupted run keeps what is finished."""
    device = choose_device(chosen.device)
    compiles = device.device == "cuda" if chosen.compile is None else chosen.compile
    # As in our workers, and as the tuning guide and timm's script have it.
    torch.backends.cudnn.benchmark = True
    if device.device == "cpu":
        torch.set_num_threads(CPU_THREADS_PER_WORKER)
    torch.manual_seed(0)
    say(f"{device.name}: {device.reason}; {device.precision_reason}")
    known, pack = shipped_cases(), made_up_pack(NUM_IMAGES, SOURCE_SIZE)
    cases: list[CaseResult] = []
    for name in chosen.cases:
        case = known[name].with_batch(chosen.batch) if chosen.batch else known[name]
        setting = prepare(case, device, pack=pack, num_workers=chosen.workers)
        say(f"{name}: {case.model.name}, batch {case.recipe.batch_size}; first laps")
        cases.append(race(setting, enter(setting, compiles=compiles), seconds=chosen.seconds, say=say))
        if chosen.json:
            write_document(chosen.json, results_of(cases, chosen, device, compiles=compiles))
        # Memory and compiled graphs of a case must not weigh on the next one.
        gc.collect()
        torch.compiler.reset()
    return results_of(cases, chosen, device, compiles=compiles)


def main() -> int:
    chosen = options()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        results = measure(chosen, say)
    except ReproError as error:
        sys.exit(f"bench-peers: error: {error.message}\n  What to do: {error.remedy}")
    print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
