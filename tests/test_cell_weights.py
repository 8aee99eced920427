"""One cell that starts from published weights, in this process: its start, how it sees images, what it may look at."""

import hashlib
import math
from functools import partial
from pathlib import Path

import mirror
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from repro.catalog import load_catalog
from repro.cell import run_cell
from repro.cell.files import StateKeeper
from repro.cell.start import normaliser
from repro.datasets import prepare
from repro.errors import CorruptFile
from repro.inside import read_inside
from repro.messages import Job, Weights
from repro.records import PREDICTIONS, WEIGHTS, Record, read_epochs
from repro.spec import Cell, CheckpointSpec, DatasetSource, DatasetSpec, InputSpec, ModelSpec, Recipe, Role
from repro.workspace import Workspace

VIT = ModelSpec(name="timm/test_vit.r160_in1k", family="vit")
CNN = ModelSpec(name="timm/test_resnet.r160_in1k", family="cnn")
WANTED = InputSpec(image_size=160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", source="a test")
RECIPE = (
    load_catalog()
    .recipes["finetune-short"]
    .model_copy(
        update={"image_size": 32, "steps": 6, "warmup_steps": 2, "batch_size": 8, "micro_batch": 4, "lr_grid": (), "lr": 0.01}
    )
)
NUM_TRAIN, NUM_TEST = 40, 20


def images(folder: Path, *, num_channels: int = 3) -> DatasetSpec:
    generator = np.random.default_rng(1)
    arrays = {}
    for part, number in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        labels = np.arange(number) % 2
        x = generator.integers(0, 100, (number, 16, 16, num_channels), dtype=np.uint8)
        x[labels == 1, :8] += 120
        arrays |= {f"x_{part}": x, f"y_{part}": labels}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "halves.npz", **arrays)
    return DatasetSpec(name="halves", source=DatasetSource.NPZ, path=folder / "halves.npz")


def job_of(
    folder: Path,
    *,
    model: ModelSpec = VIT,
    recipe: Recipe = RECIPE,
    role: Role = Role.STUDY,
    num_channels: int = 3,
    keeps_weights: bool = False,
) -> Job:
    """A cell on images of two halves that starts from made-up weights, in a fresh home with its data."""
    workspace = Workspace(home=folder / "home")
    dataset = images(folder / "data", num_channels=num_channels)
    prepare(workspace, dataset, force=False, log=lambda line: None, progress=lambda *_: None)
    path = folder / "weights.safetensors"
    save_file(mirror.weights_of(model.name, model.family), path)
    cell = Cell(
        dataset=dataset,
        num_train_images=NUM_TRAIN,
        model=model,
        upstream=None,
        upstream_recipe=None,
        weights=CheckpointSpec(name=model.name, family=model.family),
        recipe=recipe,
        seed=1,
        role=role,
    )
    return Job(
        cell=cell,
        fingerprint="f" * 64,
        upstream_fingerprint=None,
        upstream_id=None,
        weights=Weights(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), input=WANTED),
        lr=recipe.lr,
        keeps_weights=keeps_weights,
        home=workspace.home,
        device="cpu",
        device_name="cpu",
        driver=None,
        bfloat16=False,
        channels_last=True,
        device_shared=False,
        choices=(),
        command="vitrepro run",
        commit=None,
    )


def run(job: Job) -> Record:
    return run_cell(job, progress=lambda step: None)


def folder_of(job: Job) -> Path:
    return Workspace(home=job.home).run_dir(job.cell.id, job.fingerprint)


def choice(record: Record, what: str) -> str:
    [found] = [one for one in record.choices if one.what == what]
    return f"{found.value}: {found.reason}"


@pytest.mark.parametrize("model", [VIT, CNN], ids=["vit", "cnn"])
def test_fine_tuning_starts_from_equal_probabilities_and_tells_what_it_chose(model: ModelSpec, tmp_path: Path) -> None:
    job = job_of(tmp_path, model=model)
    record = run(job)
    [first, *_] = read_epochs(folder_of(job))
    assert record.test_accuracy is not None
    assert record.weights_sha256 == job.weights.sha256 if job.weights else False
    assert record.lr == 0.01
    assert first.train_loss < 2 * math.log(2)
    assert "mean 0.5 0.5 0.5, deviation 0.5 0.5 0.5: the weights' own (a test)" in choice(record, "normalisation")
    assert "here 32 px, bicubic" in choice(record, "normalisation")
    batch = choice(record, "micro-batch")
    assert batch.startswith("4 of 8: the recipe's: BatchNorm" if model is CNN else "8 of 8: no BatchNorm")


def test_the_head_is_zero_and_the_backbone_the_files(tmp_path: Path) -> None:
    # A rate of nearly nothing leaves the weights as they came.
    job = job_of(tmp_path, recipe=RECIPE.model_copy(update={"lr": 1e-30}), keeps_weights=True)
    run(job)
    from safetensors.torch import load_file

    assert job.weights
    ended, came = load_file(folder_of(job) / WEIGHTS), load_file(job.weights.path)
    assert ended["head.weight"].abs().max() < 1e-28
    assert ended["head.bias"].abs().max() < 1e-28
    assert ended["head.weight"].shape[0] == 2
    same = [name for name in came if not name.startswith("head.") and came[name].shape == ended[name].shape]
    assert len(same) > 10
    assert all(torch.equal(came[name], ended[name]) for name in same)


def test_grey_images_are_repeated(tmp_path: Path) -> None:
    record = run(job_of(tmp_path, num_channels=1))
    assert record.test_accuracy is not None


def test_a_search_never_sees_the_test_set(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.1})
    job = job_of(tmp_path, recipe=recipe, role=Role.LR_SEARCH)
    record = run(job)
    assert (record.test_accuracy, record.test_loss, record.train_accuracy, record.diverged) == (None, None, None, "")
    assert record.dev_accuracy is not None
    assert not (folder_of(job) / PREDICTIONS).exists()


def test_a_search_that_diverges_is_a_result_and_no_failure(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.1, "lr": 1e30, "clip_norm": None, "warmup_steps": 0})
    record = run(job_of(tmp_path, recipe=recipe, role=Role.LR_SEARCH))
    assert record.dev_accuracy is None
    assert "loss" in record.diverged


@pytest.mark.parametrize("change", ["another byte", "gone"])
def test_weights_that_changed_since_they_were_fetched_are_refused(change: str, tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert job.weights
    if change == "gone":
        job.weights.path.unlink()
    else:
        content = bytearray(job.weights.path.read_bytes())
        content[-1] ^= 1
        job.weights.path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        run(job)
    assert str(job.weights.path) in caught.value.message
    assert "vitrepro fetch --force" in caught.value.remedy
    assert not (folder_of(job) / "record.json").exists()


@pytest.mark.parametrize("name", ["few-shot", "linear-probe"])
def test_a_probe_leaves_the_backbone_alone(name: str, tmp_path: Path) -> None:
    changes = {"image_size": 32, "batch_size": 8, "lr_grid": ()}
    if name == "linear-probe":
        changes |= {"steps": 40, "warmup_steps": 4}
    recipe = load_catalog().recipes[name].model_copy(update=changes)
    job = job_of(tmp_path, model=CNN, recipe=recipe, keeps_weights=True)
    record = run(job)
    from safetensors.torch import load_file

    assert job.weights
    ended, came = load_file(folder_of(job) / WEIGHTS), load_file(job.weights.path)
    assert all(torch.equal(came[name], ended[name]) for name in came if not name.startswith("fc."))
    assert ended["fc.weight"].any(), "the head is fitted"
    assert record.train_accuracy is not None
    assert record.train_accuracy > 0.8, "halves of two brightnesses can be told apart from random features"
    assert record.train_flops == 2 * record.forward_macs * (NUM_TRAIN if name == "few-shot" else 40 * 8)


def test_normalising_is_what_torchvision_does() -> None:
    wanted = InputSpec(image_size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="x", source="x")
    x_BCHW = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(1)).float()
    expected = (x_BCHW / 255 - torch.tensor(wanted.mean).view(3, 1, 1)) / torch.tensor(wanted.std).view(3, 1, 1)
    torch.testing.assert_close(normaliser(wanted, device="cpu")(x_BCHW), expected)


@pytest.mark.parametrize(
    ("limit_bytes", "clock", "expected"),
    [
        (0, [0.0, 30.0, 70.0, 71.0, 100.0, 131.0, 132.0], [2, 4]),
        # A write takes 10 ms, so that the next one is due after 4 s; then one takes a second, and a minute is enough.
        (10**9, [0.0, 1.0, 1.01, 5.0, 5.02, 6.02, 66.1, 66.2], [1, 3, 4]),
    ],
    ids=["large", "small"],
)
def test_states_take_little_of_the_time_and_are_a_minute_old_at_most(
    limit_bytes: int, clock: list[float], expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.cell.files.time.monotonic", lambda: clock.pop(0))
    monkeypatch.setattr("repro.cell.files.LARGE_WEIGHTS_BYTES", limit_bytes)
    kept: list[int] = []
    monkeypatch.setattr("repro.cell.files.save_state", lambda path, state, fingerprint: kept.append(state["step"]))
    keep = StateKeeper(tmp_path / "last.pt", "f", torch.nn.Linear(2, 1))
    made: list[int] = []

    def make(step: int) -> dict[str, int]:
        made.append(step)
        return {"step": step}

    for step in (1, 2, 3, 4):
        keep(partial(make, step))
    assert kept == made == expected, "what is left is not made either"
    assert clock == []


def test_a_fine_tuned_library_vit_is_looked_into_and_its_numbers_stay(tmp_path: Path) -> None:
    records = [
        run(job_of(tmp_path / name, num_channels=1).model_copy(update={"looks_inside": name == "with"}))
        for name in ("without", "with")
    ]
    assert records[0].test_accuracy == records[1].test_accuracy and records[0].test_loss == records[1].test_loss
    assert records[0].files_sha256[PREDICTIONS] == records[1].files_sha256[PREDICTIONS]
    inside = read_inside(folder_of(job_of(tmp_path / "with", num_channels=1)))
    # Its images are enlarged to 32 px and given in colour; what is shown is the data set's own, 16 px and grey.
    assert (inside.patch_size, inside.images_IHWC.shape[1:]) == (16, (16, 16, 1))
    assert inside.filters_FHWC.shape[1:] == (16, 16, 3)
    assert inside.rollouts_IGG.shape[1:] == (2, 2)
