"""Everything that docs/gpu-todo.md asks of a GPU, in the order of its worth, with one table at the end.

    python scripts/_measure_gpu.py DATA OUT --minutes 9

DATA holds `cifar10-45k5k.npz` (x_train, y_train, x_test, y_test) and `tinyimagenet32.npz` (x_train, y_train; 25 images a class
are held out here as its test part); stages whose file is not there wait for another call, and some need none. OUT gets a home,
the logs, and `table.md`. It stops what runs when the minutes are over; called again with the same OUT it goes on where it was,
so that ten-minute slices add up. Needs the kit's packages in this Python, and no network.
`--cpu` tries the whole script on a CPU with a few steps of each kind.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from _measure_gpu_matrices import BLOCKS, DATASETS

ROOT = Path(__file__).resolve().parent.parent
TINY_TEST_IMAGES_A_CLASS = 25
FEW_STEPS = 6
ALONE = {"VITREPRO_CELLS_AT_ONCE": "1"}
"""So that a cell's seconds are its own."""
NOT_COMPILED = {"VITREPRO_COMPILE": "graphs"}
"""Compiling is measured for minutes; `bench` shows once what it brings."""
RESERVED_S = 40.0
"""So long before the time is over what takes long is stopped, for what is done must still be tabulated."""
PEER_CASES = ("resnet18-plain", "vit-plain", "deit-tiny-224")
"""Of scripts/bench-peers, those with targets."""
TRIAL_TRAIN_EVERY, TRIAL_TEST_EVERY = 25, 20
"""Of the images of a trial on a CPU: every so many-th."""


class Measurement:
    """One pass of the script: what is left of the time, and what was found."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.out: Path = chosen.out.absolute()
        self.device = "cpu" if chosen.cpu else "cuda"
        self.ends_at = time.monotonic() + 60 * chosen.minutes
        self.lines: list[str] = []

    def kit(
        self,
        *arguments: str,
        home: str = "home",
        extra: dict[str, str] | None = None,
        at_most_s: float = float("inf"),
        kill_when: Callable[[], bool] = lambda: False,
    ) -> int:
        """Run the command: SIGTERM when the time is over, SIGKILL when asked. Its exit code; stderr goes to a log."""
        reserved_s = 0.0 if arguments[0] == "report" else RESERVED_S
        ends_at = min(self.ends_at - reserved_s, time.monotonic() + at_most_s)
        environment = surroundings() | (extra or {})
        command = [sys.executable, "-m", "repro", *arguments, "--home", str(self.out / home), "--device", self.device]
        log = self.out / f"{arguments[0]}-{len(list(self.out.glob('*.log')))}.log"
        with log.open("w") as stderr, (self.out / "stdout.json").open("w") as stdout:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
            while process.poll() is None:
                if kill_when():
                    process.kill()
                elif time.monotonic() > ends_at:
                    process.terminate()
                    process.wait()
                time.sleep(0.05)
        return process.returncode

    def profile(self, name: str, blocks: str, *, seeds: int = 3) -> str:
        """Write a profile; its path."""
        path = self.out / f"{name}.toml"
        datasets = "".join(entry.format(out=self.out) for dataset, entry in DATASETS.items() if dataset in blocks)
        text = f'name = "{name}"\nseeds = {seeds}\n{datasets}{blocks}'
        if self.device == "cpu":
            text = shortened(text)
        path.write_text(text)
        return str(path)

    def rows(self, name: str, home: str = "home") -> list[dict[str, str]]:
        """The finished cells of a profile, from its results.csv."""
        import pandas as pd

        table = pd.read_csv(self.out / home / "report" / name / "results.csv", dtype=str, keep_default_na=False)
        return [row for row in table.to_dict(orient="records") if row["status"] == "done"]

    def busy(self) -> str:
        """What a `run --json` that has just ended tells of the device, to follow other words; nothing where it was cut off."""
        try:
            told = json.loads((self.out / "stdout.json").read_text())
        except json.JSONDecodeError:
            return ""
        if told["busy_share"] is None:
            return ""
        return f"; busy with cells {100 * told['busy_share']:.0f} % of {told['wall_s']:.0f} s"

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)


def surroundings() -> dict[str, str]:
    """The environment of this process, in which the package is found from any folder."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def shortened(text: str) -> str:
    """The same matrix with a few steps of 16 images, for a CPU."""
    for name in ("cifar-quick", "cifar-plain", "cifar-strong", "cifar-finetune", "tiny-upstream"):
        text = text.replace(f'recipe = "{name}"', f'recipe = "few-{name}"')
        if f'"few-{name}"' in text:
            steps = f"steps = {FEW_STEPS}\nwarmup_steps = 1\nbatch_size = 16\n"
            text = text.replace("[[cells]]", f'[recipe.few-{name}]\nbase = "{name}"\n{steps}\n[[cells]]', 1)
    return (
        text.replace("seeds = 3", "seeds = 1")
        .replace(
            "steps = 40\nwarmup_steps = 4", "steps = 2\nwarmup_steps = 1\nbatch_size = 4\nmicro_batch = 4\nimage_size = 64"
        )
        .replace("image_size = 384", "image_size = 96")
        .replace(
            'base = "tiny-upstream"\nimage',
            f'base = "tiny-upstream"\nsteps = {FEW_STEPS}\nwarmup_steps = 1\nbatch_size = 16\nimage',
        )
        .replace(
            "crop_min_area = 0.25",
            f"crop_min_area = 0.25\nsteps = {FEW_STEPS}\nwarmup_steps = 1\nbatch_size = 16\nmicro_batch = 16",
        )
        .replace("steps = 3000\nwarmup_steps = 150", f"steps = {FEW_STEPS}\nwarmup_steps = 1\nbatch_size = 16")
        .replace("@90000", "@300")
        .replace("size = [0.1, 1.0]", "size = [300, 1000]")
        .replace("size = [1.0]", "size = [1000]")
        .replace("size = [0.1]", "size = [300]")
        .replace("check_at = [0.1]", "check_at = [300]")
    )


def lay_out(data: Path, out: Path, *, is_trial: bool) -> None:
    """Write the data sets that are there to OUT, Tiny ImageNet with a test part of its own; few images of each for a trial."""
    for name in ("cifar10-45k5k", "tinyimagenet32"):
        target = out / f"{name}.npz"
        if target.exists() or not (data / f"{name}.npz").exists():
            continue
        with np.load(data / f"{name}.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        if "x_test" not in arrays:
            arrays = with_test_part(arrays["x_train"], arrays["y_train"])
        if is_trial:
            every = {"train": TRIAL_TRAIN_EVERY, "test": TRIAL_TEST_EVERY}
            arrays = {key: values[:: every[key.partition("_")[2]]] for key, values in arrays.items()}
        part = out / f"{name}.part.npz"
        np.savez(part, **arrays)
        part.rename(target)


def with_test_part(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        is_test[np.flatnonzero(labels == label)[-TINY_TEST_IMAGES_A_CLASS:]] = True
    parts = {"train": ~is_test, "test": is_test}
    return {f"{key}_{part}": values[chosen] for part, chosen in parts.items() for key, values in (("x", images), ("y", labels))}


def check(measurement: Measurement) -> bool:
    """After `quick`, whose records then tell the forecast: without them it would be measured for a minute."""
    profile = measurement.profile("quick", BLOCKS["quick"])
    measurement.kit("fetch", "--profile", profile)
    code = measurement.kit("check", "--profile", profile, "--json", "--verbose")
    if code == 0:
        found = json.loads((measurement.out / "stdout.json").read_text())
        for line in found["lines"]:
            measurement.say(f"check {line['level']} {line['name']}: {line['message']}")
        forecast = found["forecast"]
        measurement.say(
            f"forecast of quick: {forecast['wall_s']:.0f} s for {forecast['num_cells'] - forecast['num_done']} cells"
        )
    return code == 0


def run_blocks(measurement: Measurement, name: str, *, extra: dict[str, str] | None = None) -> bool:
    """Run one matrix as far as the time allows, and tabulate what is finished."""
    profile = measurement.profile(name, BLOCKS[name])
    started = time.monotonic()
    measurement.kit("fetch", "--profile", profile)
    code = measurement.kit("run", "--profile", profile, "--json", extra=NOT_COMPILED | (extra or {}))
    seconds, busy = time.monotonic() - started, measurement.busy()
    measurement.kit("report", "--profile", profile, "--no-pdf", at_most_s=120)
    measurement.say(f"\n{name}: exit code {code} after {seconds:.0f} s in this pass{busy}")
    measurement.say(
        "| size | model | init | recipe | n | test accuracy | training accuracy | s a cell | ms a step | kJ a cell | GiB |"
    )
    measurement.say("|---|---|---|---|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in measurement.rows(name):
        # A search for a rate has no test accuracy: what it found is the study cells' own rate.
        if row["test_accuracy"]:
            groups[row["role"], row["num_train_images"], row["model"], row["init"], f"{row['recipe']} at {row['lr']}"].append(
                row
            )
    for key, members in sorted(groups.items()):
        accuracy = [100 * float(row["test_accuracy"]) for row in members]
        spread = f" ± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
        lowest = 100 * min(float(row["train_accuracy"]) for row in members)
        wall_s = mean(float(row["wall_s"]) for row in members)
        step_ms = mean(1000 * float(row["wall_s"]) / steps_of(measurement, row) for row in members)
        joules = [float(row["energy_j"]) / 1000 for row in members if row["energy_j"]]
        energy = f"{mean(joules):.1f}" if joules else "-"
        memory = max(float(row["peak_mem_bytes"]) for row in members) / 2**30
        shared = "*" if any(row["device_shared"] == "True" for row in members) else ""
        measurement.say(
            f"| {key[1]} | {key[2]} | {key[3]} | {key[4]} | {len(members)} | {mean(accuracy):.2f}{spread} | {lowest:.2f} "
            f"| {wall_s:.1f}{shared} | {step_ms:.2f} | {energy} | {memory:.2f} |"
        )
    return code == 0


def sharing(measurement: Measurement) -> bool:
    """The same cells, several at once on the GPU and one at a time: seconds of the whole run, and why so many at once."""
    block = BLOCKS["quick"].replace("size = [0.1, 1.0]", "size = [0.1]").replace("convergence_check_at = [0.1]\n", "")
    profile, codes = measurement.profile("sharing", block), list[int]()
    for home, extra in (("together", {}), ("alone", ALONE)):
        measurement.kit("fetch", "--profile", profile, home=home)
        started = time.monotonic()
        code = measurement.kit("run", "--profile", profile, "--verbose", "--json", home=home, extra=NOT_COMPILED | extra)
        codes.append(code)
        seconds, busy = time.monotonic() - started, measurement.busy()
        measurement.say(f"sharing {home}: exit code {code} after {seconds:.0f} s, measuring included{busy}")
        records = [json.loads(path.read_text()) for path in (measurement.out / home / "runs").glob("*/record.json")]
        for name in sorted({record["cell"]["model"]["name"] for record in records}):
            own = [record for record in records if record["cell"]["model"]["name"] == name]
            told = {choice["what"]: choice for choice in own[0]["choices"]}
            together, steps = told.get("cells at once", {}), told.get("steps", {})
            seconds = mean(record["wall_s"] for record in own)
            measurement.say(f"  {name}: {seconds:.1f} s a cell, {together.get('value')} at once: {together.get('reason')}")
            measurement.say(f"  {name}: steps {steps.get('value')}: {steps.get('reason')}")
    return not any(codes)


def steps_of(measurement: Measurement, row: dict[str, str]) -> int:
    folder = measurement.out / "home" / "runs" / f"{row['id'][:200]}-{row['fingerprint'][:8]}"
    return int(json.loads((folder / "record.json").read_text())["cell"]["recipe"]["steps"])


def bench(measurement: Measurement, name: str, *, extra: dict[str, str] | None = None) -> bool:
    """The loop beside the bare step, for the models of a matrix's first block; on made-up images of CIFAR-10's shape."""
    columns = (
        "model | recipe | batch | loop, images/s | loop to ceiling | share of peak | evaluation, images/s | mJ an image | GiB"
    )
    measurement.say(f"\n| {columns} |")
    measurement.say("|---|---|---|---|---|---|---|---|---|")
    before, first, *_ = BLOCKS[name].replace("cifar10-45k5k", "cifar10").split("[[cells]]")
    profile = measurement.profile(f"bench-{name}", f"{before}[[cells]]{first}")
    seconds = "1" if measurement.device == "cpu" else "5"
    code = measurement.kit("bench", "--profile", profile, "--seconds", seconds, extra=extra)
    # The file has the rows of a run that the end of the time has cut off, too.
    files = (measurement.out / "home" / "bench" / f"bench-{name}").glob("*.json")
    benchmarks = [json.loads(path.read_text()) for path in sorted(files)]
    for row in [row for benchmark in benchmarks for row in benchmark["rows"]]:
        case, speed = row["case"], row["speed"]
        if speed is None:
            measurement.say(f"| {case['model']} | {case['recipe']} | {case['batch_size']} | {row['problem']} | | | | | |")
            continue
        joules = speed["joules_per_image"]
        measurement.say(
            f"| {case['model']} | {case['recipe']} | {speed['batch_size']} | {speed['loop_images_per_s']['median']:,.0f} "
            f"| {100 * speed['loop_to_ceiling_ratio']['median']:.1f} % | {100 * speed['peak_share']:.1f} % "
            f"| {speed['evaluation_images_per_s']['median']:,.0f} | {'-' if joules is None else f'{1000 * joules:.1f}'} "
            f"| {(speed['peak_mem_bytes'] or 0) / 2**30:.2f} |"
        )
    return code == 0


def peers(measurement: Measurement, case: str) -> bool:
    """One case of scripts/bench-peers, whose table is repeated."""
    few = ["--batch", "4", "--seconds", "1", "--no-compile"] if measurement.device == "cpu" else ["--seconds", "8"]
    command = [sys.executable, str(ROOT / "scripts" / "_bench_peers.py"), "--device", measurement.device, "--cases", case, *few]
    with (measurement.out / f"peers-{case}.log").open("w") as log:
        left_s = max(1.0, measurement.ends_at - time.monotonic())
        try:
            done = subprocess.run(
                [*command, "--json", str(measurement.out / f"peers-{case}.json")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=left_s,
                check=False,
                env=surroundings(),
            )
        except subprocess.TimeoutExpired:
            measurement.say(f"peers {case}: no time left in this pass")
            return False
    measurement.say(done.stdout)
    return done.returncode == 0


def streamed(measurement: Measurement) -> bool:
    """The same cell with its images resident and streamed: seconds, and how far the accuracies lie apart."""
    block = (
        BLOCKS["quick"]
        .replace("size = [0.1, 1.0]", "size = [0.1]")
        .replace('["vit_cifar", "resnet18_cifar"]', '["resnet18_cifar"]')
    )
    profile, codes = measurement.profile("streamed", block.replace("convergence_check_at = [0.1]\n", ""), seeds=1), list[int]()
    for home, limit in (("resident", {}), ("streamed", {"VITREPRO_IMAGES_ON_DEVICE_GIB": "0"})):
        measurement.kit("fetch", "--profile", profile, home=home)
        codes.append(measurement.kit("run", "--profile", profile, home=home, extra=NOT_COMPILED | limit))
        measurement.kit("report", "--profile", profile, "--no-pdf", home=home, at_most_s=120)
        for row in measurement.rows("streamed", home):
            measurement.say(f"images {home}: {float(row['wall_s']):.2f} s, test accuracy {row['test_accuracy']}")
    return not any(codes)


def resumed(measurement: Measurement) -> bool:
    """A cell killed in its middle and finished by a second call, beside the undisturbed one above."""
    profile = measurement.out / "streamed.toml"
    measurement.kit("fetch", "--profile", str(profile), home="killed")
    runs = measurement.out / "killed" / "runs"
    code = measurement.kit(
        "run", "--profile", str(profile), home="killed", extra=NOT_COMPILED, kill_when=lambda: any(runs.glob("*/last.pt"))
    )
    finished = measurement.kit("run", "--profile", str(profile), home="killed", extra=NOT_COMPILED)
    measurement.kit("report", "--profile", str(profile), "--no-pdf", home="killed", at_most_s=120)
    for row in measurement.rows("streamed", "killed"):
        measurement.say(f"killed in its middle (exit code {code}), then finished: test accuracy {row['test_accuracy']}")
    return finished == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="some of the stages of docs/gpu-todo.md")
    parser.add_argument("--cpu", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    measurement = Measurement(chosen)
    lay_out(chosen.data, chosen.out, is_trial=chosen.cpu)
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() and not chosen.cpu else platform.processor() or "cpu"
    measurement.say(f"{where}, torch {torch.__version__}, Python {platform.python_version()}, commit {commit()}")
    cifar, tiny = "cifar10-45k5k", "tinyimagenet32"
    # What tells most comes first; what needs no data before what does.
    stages: dict[str, tuple[Callable[[Measurement], bool], tuple[str, ...]]] = {
        "bench": (partial(bench, name="quick"), ()),
        "bench224": (partial(bench, name="speed224", extra=NOT_COMPILED), ()),
        **{f"peers-{case}": (partial(peers, case=case), ()) for case in PEER_CASES},
        "quick": (partial(run_blocks, name="quick"), (cifar,)),
        "plain": (partial(run_blocks, name="plain"), (cifar,)),
        "check": (check, (cifar,)),
        "sharing": (sharing, (cifar,)),
        "speed224": (partial(run_blocks, name="speed224", extra=ALONE), (cifar,)),
        "streamed": (streamed, (cifar,)),
        "resumed": (resumed, (cifar,)),
        "upstream": (partial(run_blocks, name="upstream"), (cifar, tiny)),
        "strong": (partial(run_blocks, name="strong"), (cifar,)),
        "published": (partial(run_blocks, name="published"), (cifar, tiny)),
    }
    for name, (stage, needs) in stages.items():
        if not chosen.only or name in chosen.only:
            attempt(measurement, name, stage, needs)
    (measurement.out / "table.md").write_text("\n".join(measurement.lines) + "\n")


def attempt(measurement: Measurement, name: str, stage: Callable[[Measurement], bool], needs: Sequence[str]) -> None:
    """A stage, or what an earlier pass has found by it once it had ended."""
    told = measurement.out / f"stage-{name}.md"
    missing = [f"{data}.npz" for data in needs if not (measurement.out / f"{data}.npz").exists()]
    if told.exists():
        measurement.say(told.read_text().rstrip("\n"))
    elif missing:
        measurement.say(f"{name}: waits for {' and '.join(missing)} in DATA")
    elif time.monotonic() > measurement.ends_at - RESERVED_S:
        measurement.say(f"{name}: no time left in this pass")
    else:
        before = len(measurement.lines)
        try:
            if stage(measurement):
                told.write_text("\n".join(measurement.lines[before:]) + "\n")
        except (OSError, KeyError, ValueError) as error:
            measurement.say(f"{name}: not tabulated, {type(error).__name__}: {error}")


def commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    main()
