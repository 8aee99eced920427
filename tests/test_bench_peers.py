"""`scripts/bench-peers`: every contender learns, numbers follow from laps, and the file says what the table shows. No times."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from repro.catalog import load_catalog
from repro.documents import read_document, write_document
from repro.errors import TrainingDiverged
from repro.hardware import choose_device
from repro.spec import Recipe

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from _bench_peers import BLOCKS, UNTIMED_STEPS, race  # noqa: E402
from _bench_peers_cases import NUM_CLASSES, Case, Setting, made_up_pack, prepare, shipped_cases  # noqa: E402
from _bench_peers_libraries import TimmPeer, TorchPeer, timm_feed, torch_feed  # noqa: E402
from _bench_peers_loops import Contender, Lap, OurLoop  # noqa: E402
from _bench_peers_results import Results, read_peers_file, table, targets  # noqa: E402

PLAIN = Recipe(name="toy", lr=0.004, batch_size=32, steps=400, warmup_steps=10, clip_norm=1.0, flip=True, crop_padding=1)
STRONG = PLAIN.model_copy(
    update={
        "trivial_augment": True,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "mix_probability": 0.5,
        "erase_probability": 0.25,
        "label_smoothing": 0.1,
    }
)
FINE_TUNING = PLAIN.model_copy(
    update={
        "optimizer": "sgd",
        "nesterov": False,
        "lr": 0.03,
        "crop_padding": 0,
        "image_size": 16,
        "crop_min_area": 0.3,
        "label_smoothing": 0.1,
    }
)
RECIPES = {"plain": PLAIN, "strong": STRONG, "fine-tuning": FINE_TUNING}
CONTENDERS = {
    "ours": OurLoop,
    "torch": lambda setting: TorchPeer(setting, torch_feed(setting), compiles=False),
    "timm": lambda setting: TimmPeer(setting, timm_feed(setting), compiles=False),
}


def toy_setting(recipe: Recipe = PLAIN, *, num_workers: int = 0) -> Setting:
    torch.manual_seed(0)
    spec = load_catalog().models["vit_micro"]
    case = Case(name="toy", model=spec, recipe=recipe, source_size=8, num_images=320)
    return prepare(case, choose_device("cpu"), pack=made_up_pack(320, 8), num_workers=num_workers)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("contender", CONTENDERS)
def test_every_contender_learns(contender: str, recipe: str) -> None:
    runner = CONTENDERS[contender](toy_setting(RECIPES[recipe]))
    first = runner.lap(untimed=0, timed=4)
    for _ in range(2):
        last = runner.lap(untimed=10, timed=25)
    assert math.isfinite(first.loss)
    assert last.loss < first.loss - 0.05
    assert first.wall_s > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_peers_models_are_given_images_of_our_kind(recipe: str) -> None:
    setting = toy_setting(RECIPES[recipe])
    for feed in (torch_feed(setting), timm_feed(setting)):
        batches = list(islice(iter(feed), 10))
        x_BCHW = torch.cat([images for images, _ in batches])
        assert x_BCHW.shape == (320, 3, setting.case.image_size, setting.case.image_size)
        assert x_BCHW.dtype == torch.float32
        if recipe != "strong":
            # Padding with black makes them a little darker and wider spread than ours.
            assert abs(float(x_BCHW.mean())) < 0.5
            assert 0.7 < float(x_BCHW.std()) < 1.3
        for _, labels in batches:
            if labels.ndim == 2:
                assert torch.allclose(labels.sum(dim=1), torch.ones(len(labels)))
            else:
                assert labels.dtype == torch.int64
                assert int(labels.max()) < NUM_CLASSES


def test_a_pass_of_a_loader_is_followed_by_the_next() -> None:
    for feed in (torch_feed(toy_setting()), timm_feed(toy_setting())):
        seen = [labels for _, labels in islice(iter(feed), 25)]
        assert len(seen) == 25
        # Every class is equally frequent, so that one whole pass has each so many times.
        assert torch.bincount(torch.cat(seen[10:20])).tolist() == [32] * NUM_CLASSES


def test_parts_of_a_batch_make_the_same_step_as_the_whole() -> None:
    setting = toy_setting(STRONG.model_copy(update={"optimizer": "sgd", "lr": 0.1}))
    feed = torch_feed(setting)
    x_BCHW, targets_B = next(iter(feed))
    whole, parts = (TorchPeer(replace(setting, micro_batch=number), feed, compiles=False) for number in (32, 8))
    losses = [float(peer.step(x_BCHW, targets_B)) for peer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_each_library_is_wired_for_the_recipe() -> None:
    setting = toy_setting(STRONG)
    nesterov = toy_setting(PLAIN.model_copy(update={"optimizer": "sgd"}))
    for kind, feed in ((TorchPeer, torch_feed), (TimmPeer, timm_feed)):
        peer = kind(setting, feed(setting), compiles=False)
        assert isinstance(peer.optimizer, torch.optim.AdamW)
        assert peer.optimizer.defaults["fused"]
        peer = kind(nesterov, feed(nesterov), compiles=False)
        assert isinstance(peer.optimizer, torch.optim.SGD)
        assert peer.optimizer.defaults["nesterov"]


def test_the_rate_falls_to_nothing_at_the_recipes_end() -> None:
    for kind, feed in ((TorchPeer, torch_feed), (TimmPeer, timm_feed)):
        setting = toy_setting(PLAIN.model_copy(update={"steps": 40, "warmup_steps": 10}))
        peer = kind(setting, feed(setting), compiles=False)
        rates = []
        for _ in range(39):
            peer.lap(untimed=0, timed=1)
            rates.append(peer.optimizer.param_groups[0]["lr"])
        assert max(rates) == pytest.approx(PLAIN.lr, rel=0.15)  # timm's cosine goes on under the warm-up
        assert rates[-1] < PLAIN.lr / 20


class Metronome(Contender):
    """A step takes it so many seconds, as it says."""

    def __init__(self, name: str, step_s: float, *, breaks_in_lap: int = 0) -> None:
        self.name = name
        self.step_s = step_s
        self.laps: list[tuple[int, int]] = []
        self.breaks_in_lap = breaks_in_lap

    def lap(self, *, untimed: int, timed: int) -> Lap:
        self.laps.append((untimed, timed))
        if len(self.laps) == self.breaks_in_lap:
            raise RuntimeError("DataLoader worker is killed by signal: Bus error.\nIt might be out of shared memory.")
        return Lap(wall_s=self.step_s * timed, loss=1.0)


def test_rates_and_ratios_follow_from_the_laps() -> None:
    contenders = [Metronome("ours", 0.5), Metronome("torch + torchvision", 1.0), Metronome("timm", 2.0, breaks_in_lap=3)]
    lines: list[str] = []
    result = race(toy_setting(), list(contenders), seconds=100.0, say=lines.append)
    assert result.timed_steps == 10  # 2 seconds a step, 5 blocks, 100 seconds
    ours, torch_row, timm_row = result.contenders
    assert ours.images_per_s == (64.0,) * BLOCKS
    assert torch_row.images_per_s == (32.0,) * BLOCKS
    assert (ours.ours_to_it, torch_row.ours_to_it) == (None, 2.0)
    assert "Bus error" in timm_row.problem
    assert timm_row.images_per_s == ()
    # All made the same steps, the broken one until it broke.
    assert contenders[0].laps == contenders[1].laps
    assert contenders[0].laps[1:] == [(UNTIMED_STEPS, 10)] * BLOCKS
    assert len(contenders[2].laps) == 3
    assert len(lines) == BLOCKS


def test_a_block_gives_every_process_of_a_loader_the_same_number_of_batches() -> None:
    setting = toy_setting(num_workers=4)
    result = race(setting, [Metronome("ours", 1.0)], seconds=27.0, say=lambda _: None)
    assert result.timed_steps == 8


def test_our_divergence_costs_the_row_only() -> None:
    class Diverging(Metronome):
        def lap(self, *, untimed: int, timed: int) -> Lap:
            raise TrainingDiverged("The training loss became nan at step 1.", remedy="none")

    result = race(toy_setting(), [Diverging("ours", 1.0), Metronome("timm", 1.0)], seconds=1.0, say=lambda _: None)
    assert "nan" in result.contenders[0].problem
    assert result.contenders[1].ours_to_it is None


def made_up_results(*, device_type: str = "cpu") -> Results:
    metronomes = [Metronome("ours", 0.5), Metronome("timm", 2.0), Metronome("timm, compiled", 1.0)]
    case = race(toy_setting(), list(metronomes), seconds=1.0, say=lambda _: None).model_copy(update={"case": "vit-plain"})
    return Results(
        commit=None,
        versions={"torch": torch.__version__},
        device="some device",
        device_type=device_type,
        precision="float32",
        num_cores=2,
        num_threads=1,
        num_workers=2,
        seconds=1.0,
        compiles=True,
        cases=(case,),
        published=read_peers_file().published,
    )


def test_the_file_has_what_the_table_shows(tmp_path: Path) -> None:
    results = made_up_results()
    path = tmp_path / "peers.json"
    write_document(path, results)
    again = read_document(path, Results, remedy="")
    assert again == results
    assert table(again) == table(results)
    shown = "\n".join(table(results))
    assert "| vit-plain | ours | 64.0 (64.0 to 64.0) | - | - |" in shown
    assert "| vit-plain | timm | 16.0 (16.0 to 16.0) | - | 4.00 |" in shown
    assert "On a CPU the model bounds every loop" in shown
    measured, _, others = shown.partition("Published by others")
    for published in results.published:
        assert published.what not in measured
        assert published.what in others
        assert published.hardware in others
        assert published.source in others


def test_targets_hold_against_the_faster_variant_and_on_a_gpu_only() -> None:
    wanted = read_peers_file().target
    assert targets(made_up_results(), wanted) == []
    (line,) = targets(made_up_results(device_type="cuda"), wanted)
    assert line == "target vit-plain: 2.00 times timm, 5 wanted: missed"


def test_targets_are_for_cases_that_there_are() -> None:
    cases = shipped_cases()
    for target in read_peers_file().target:
        assert target.case in cases
        assert target.library in {TorchPeer.library, TimmPeer.library}
        assert f"`{target.case}`" in (ROOT / "docs" / "bench-peers.md").read_text(encoding="utf-8")


def test_other_batches_leave_out_a_micro_batch_that_does_not_fit() -> None:
    case = shipped_cases()["deit-tiny-224"]
    assert (case.recipe.batch_size, case.image_size, case.source_size) == (512, 224, 32)
    assert case.with_batch(256).recipe.micro_batch == 128
    assert case.with_batch(4).recipe.micro_batch is None


@pytest.mark.slow
def test_the_command_runs_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    command = [sys.executable, str(ROOT / "scripts" / "_bench_peers.py"), "--device", "cpu", "--json", str(file)]
    command += ["--cases", "deit-tiny-224", "--batch", "2", "--seconds", "0.1", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [case["case"] for case in found["cases"]] == ["deit-tiny-224"]
    for case in found["cases"]:
        assert [row["contender"] for row in case["contenders"]] == ["ours", "torch + torchvision", "timm"]
        for row in case["contenders"]:
            assert not row["problem"]
            assert len(row["images_per_s"]) == BLOCKS
            assert len(row["loader_images_per_s"]) == (0 if row["contender"] == "ours" else BLOCKS)
            assert all(math.isfinite(loss) for loss in row["losses"])
            assert f"| {case['case']} | {row['contender']} | " in done.stdout
    assert "batch 2 (2 at once)" in done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_peer_makes_the_same_steps() -> None:
    setting = toy_setting(PLAIN.model_copy(update={"flip": False, "crop_padding": 0}))
    x_BCHW, labels_B = next(iter(torch_feed(setting)))
    eager, compiled = (TorchPeer(setting, torch_feed(setting), compiles=kind) for kind in (False, True))
    losses = [[float(peer.step(x_BCHW, labels_B)) for _ in range(3)] for peer in (eager, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
