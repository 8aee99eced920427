"""One grid of peak learning rates for both families, judged on a dev split: the rule of docs/recipes.md, as a command.

    scripts/tune cifar-plain --dataset cifar10 --size 0.1 --lr .0005 .001 .002 --cnn-lr .1 .2 .4

Writes a profile of one cell a (family, rate, seed) and runs it; a tenth of each training subset is held out, the seeds are 101
and up, which no study uses. Both families get the same number of rates. Prints a Markdown table of dev accuracies. Arguments
after -- go to `vitrepro run`, for instance --only GLOB. Runs again at no cost: finished cells are kept.
"""

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from repro.analysis.assemble import read_results_csv
from repro.workspace import resolve_home

DEV_FRACTION = 0.1
FIRST_SEED = 101


def main() -> None:
    ours, theirs = split_arguments(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="recipe whose rates are tuned")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--npz", type=Path, help="take the data set from this file instead")
    parser.add_argument("--size", default="0.1", help="fraction, or number of images")
    parser.add_argument("--models", nargs=2, default=["vit_cifar", "resnet18_cifar"], metavar=("VIT", "CNN"))
    parser.add_argument("--lr", nargs="+", type=float, required=True, help="rates of the ViT")
    parser.add_argument("--cnn-lr", nargs="+", type=float, help="rates of the CNN; the same as the ViT's if left out")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="another number of steps, with a twentieth of warm-up")
    parser.add_argument("--init", default="scratch")
    parser.add_argument("--upstream-recipe")
    parser.add_argument("--home")
    chosen = parser.parse_args(ours)
    rates = {"vit": chosen.lr, "cnn": chosen.cnn_lr or chosen.lr}
    if len(rates["vit"]) != len(rates["cnn"]):
        parser.error("equal effort: give both families the same number of rates")

    home = resolve_home(chosen.home)
    home.home.mkdir(parents=True, exist_ok=True)
    name = f"tune-{chosen.recipe}-{chosen.dataset}-{chosen.size.replace('.', '_')}"
    profile = home.home / f"{name}.toml"
    profile.write_text(profile_text(name, chosen, rates), encoding="utf-8")
    for stage in (["fetch"], ["run", *theirs], ["report", "--no-pdf"]):
        command = [sys.executable, "-m", "repro", *stage, "--profile", str(profile), "--home", str(home.home)]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode not in (0, 3):
            sys.exit(f"tune: {stage[0]} failed; its message is above")
    print_table(home.report_dir(name) / "results.csv", rates)


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def recipe_name(family: str, rate: float) -> str:
    return f"{family}-lr-{rate:g}"


def profile_text(name: str, chosen: argparse.Namespace, rates: dict[str, list[float]]) -> str:
    lines = [f'name = "{name}"', f"seeds = {chosen.seeds}", f"first_seed = {FIRST_SEED}"]
    if chosen.npz:
        lines += ["[[dataset]]", f'name = "{chosen.dataset}-tuned"', f'path = "{chosen.npz.absolute()}"']
    dataset = f"{chosen.dataset}-tuned" if chosen.npz else chosen.dataset
    for family, model in zip(("vit", "cnn"), chosen.models, strict=True):
        for rate in rates[family]:
            lines += [f'[recipe."{recipe_name(family, rate)}"]', f'base = "{chosen.recipe}"', f"dev_fraction = {DEV_FRACTION}"]
            lines += [f"{family} = {{ lr = {rate!r} }}"]
            if chosen.steps:
                lines += [f"steps = {chosen.steps}", f"warmup_steps = {chosen.steps // 20}"]
            lines += ["[[cells]]", f'dataset = ["{dataset}"]', f"size = [{chosen.size}]", f'model = ["{model}"]']
            lines += [f'init = ["{chosen.init}"]', f'recipe = "{recipe_name(family, rate)}"']
            if chosen.upstream_recipe:
                lines += [f'upstream_recipe = "{chosen.upstream_recipe}"']
    return "\n".join(lines) + "\n"


def print_table(results: Path, rates: dict[str, list[float]]) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    training: dict[str, list[float]] = defaultdict(list)
    for row in read_results_csv(results.read_text(encoding="utf-8")):
        if row.dev_accuracy is not None and row.train_accuracy is not None and row.role == "study":
            found[row.recipe].append(row.dev_accuracy)
            training[row.recipe].append(row.train_accuracy)
    print("| family | peak rate | mean dev accuracy | standard error | lowest training accuracy | seeds |")
    print("|---|---|---|---|---|---|")
    for family in ("vit", "cnn"):
        for rate in rates[family]:
            values = found[recipe_name(family, rate)]
            if not values:
                print(f"| {family} | {rate:g} | not finished | | | 0 |")
                continue
            error = f"{stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else "-"
            lowest = min(training[recipe_name(family, rate)])
            print(f"| {family} | {rate:g} | {mean(values):.4f} | {error} | {lowest:.4f} | {len(values)} |")


if __name__ == "__main__":
    main()
