"""Streamed batches are bitwise those of images that lie on the device, whatever was asked for beforehand."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_toy import CPU, RECIPE

from repro.datasets import Pack, load_pack, prepare
from repro.datasets.device import DeviceImages, PartImages
from repro.datasets.streaming import HostBuffer, StreamedImages, place_images
from repro.models.build import build_model
from repro.spec import DatasetSpec, ModelSpec
from repro.training.data import TrainingData
from repro.training.evaluation import Evaluation, evaluate
from repro.training.loop import Training, train
from repro.workspace import Workspace

CNN = ModelSpec(name="toy_cnn", family="cnn", stage_widths=(4,), stage_depths=(1,))


@pytest.fixture
def pack(workspace: Workspace, tmp_path: Path) -> Pack:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = rng.integers(0, 156, (60, 6, 6, 3), dtype=np.uint8) + 100 * labels[:, None, None, None].astype(np.uint8)
    np.savez(tmp_path / "own.npz", x_train=images[:40], y_train=labels[:40], x_test=images[40:], y_test=labels[40:])
    spec = DatasetSpec(name="own", path=tmp_path / "own.npz")
    prepare(workspace, spec, log=print)
    return load_pack(workspace, spec)


@pytest.fixture
def streamed(pack: Pack) -> Iterator[StreamedImages]:
    with StreamedImages(pack, part="train", device="cpu") as images:
        yield images


def resident(pack: Pack) -> DeviceImages:
    return DeviceImages(pack, part="train", device="cpu")


def assert_same(got: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    assert got[0].dtype == torch.float32
    assert got[0].stride() == wanted[0].stride()
    assert torch.equal(got[0], wanted[0])
    assert torch.equal(got[1], wanted[1])


def count_gathers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that read the file from now on, in order."""
    threads: list[str] = []
    gather = HostBuffer.gather

    def counted(self: HostBuffer, positions_B: Tensor) -> object:
        threads.append(threading.current_thread().name.partition("_")[0])
        return gather(self, positions_B)

    monkeypatch.setattr(HostBuffer, "gather", counted)
    return threads


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batches_are_those_of_resident_images(pack: Pack, memory_format: torch.memory_format) -> None:
    wanted = DeviceImages(pack, part="test", device="cpu", memory_format=memory_format)
    with StreamedImages(pack, part="test", device="cpu", memory_format=memory_format) as images:
        assert len(images) == len(wanted) == 20
        # Of other sizes than the one before, larger and smaller, with repetitions, and empty.
        for positions in ([7, 0, 19, 7], list(range(19, -1, -1)), [3], [], [5] * 50):
            positions_B = torch.tensor(positions, dtype=torch.int64)
            assert_same(images.batch(positions_B), wanted.batch(positions_B))
            assert_same(images.normalised_batch(positions_B), wanted.normalised_batch(positions_B))


def test_what_was_asked_for_beforehand_is_read_once_and_in_the_thread(
    pack: Pack, streamed: StreamedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = count_gathers(monkeypatch)
    first, second = torch.tensor([3, 1, 2]), torch.tensor([30, 39])
    streamed.prefetch(first)
    got = streamed.batch(first.clone())
    streamed.prefetch(second)
    assert_same(got, resident(pack).batch(first))
    assert_same(streamed.batch(second), resident(pack).batch(second))
    assert threads == ["images", "images"]


def test_something_else_than_was_asked_for_beforehand_is_read_on_the_spot(
    pack: Pack, streamed: StreamedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = count_gathers(monkeypatch)
    announced, other = torch.tensor([3, 1, 2]), torch.tensor([1, 3, 2])
    streamed.prefetch(announced)
    assert_same(streamed.batch(other), resident(pack).batch(other))
    assert_same(streamed.batch(announced), resident(pack).batch(announced))
    assert sorted(threads) == ["MainThread", "images"]


def test_a_request_that_nobody_asked_for_is_dropped(pack: Pack, streamed: StreamedImages) -> None:
    for start in range(10):
        streamed.prefetch(torch.arange(start, start + 20))
    for positions_B in (torch.arange(9, 29), torch.arange(3, 23), torch.arange(9, 29)):
        assert_same(streamed.batch(positions_B), resident(pack).batch(positions_B))


def test_a_batch_stays_as_it_is_while_others_are_read(pack: Pack, streamed: StreamedImages) -> None:
    batches = []
    for start in range(30):
        batches.append(streamed.batch(torch.arange(start, start + 5)))
        streamed.prefetch(torch.arange(start + 1, start + 6))
    for start, batch in enumerate(batches):
        assert_same(batch, resident(pack).batch(torch.arange(start, start + 5)))


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for(
    streamed: StreamedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    positions_B = torch.arange(4)
    with monkeypatch.context() as patch:
        patch.setattr(np, "take", fail)
        streamed.prefetch(positions_B)
        with pytest.raises(OSError, match="Input/output error"):
            streamed.batch(positions_B)
    assert len(streamed.batch(positions_B)[0]) == 4, "the next reading may succeed"


@pytest.mark.parametrize("position", [-1, 40])
def test_a_position_outside_the_part_is_an_error_and_not_another_image(streamed: StreamedImages, position: int) -> None:
    with pytest.raises(IndexError, match=f"{position}.* of 40 images"):
        streamed.batch(torch.tensor([3, position]))


def test_closing_ends_the_thread(pack: Pack) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("images")]

    with StreamedImages(pack, part="train", device="cpu") as images:
        images.prefetch(torch.arange(4))
        assert len(names()) == 1
    assert names() == []


def run(images: PartImages) -> tuple[Training, Evaluation, nn.Module]:
    model = build_model(CNN, image_size=6, num_channels=3, num_classes=2, generator=torch.Generator().manual_seed(0))
    recipe = RECIPE.model_copy(
        update={"flip": True, "trivial_augment": True, "mixup_alpha": 0.8, "dev_fraction": 0.2, "select": "best_dev"}
    )
    training = train(
        model,
        TrainingData(
            batch=images.batch,
            normalise=images.normalise,
            train_positions=torch.arange(8, 40),
            dev_positions=torch.arange(8),
            num_classes=2,
            flip_keeps_label=True,
            prefetch=images.prefetch,
        ),
        recipe,
        precision=CPU,
        order_seed=1,
        augmentation_seed=2,
        state=None,
        save=lambda state: None,
        progress=lambda step, row: None,
    )
    evaluation = evaluate(model, images.normalised_batch, positions_N=torch.arange(40), precision=CPU, prefetch=images.prefetch)
    return training, evaluation, model


def test_a_whole_training_is_bitwise_the_same(pack: Pack, streamed: StreamedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.training.evaluation.EVALUATION_BATCH", 3)
    on_device, from_disk = run(resident(pack)), run(streamed)
    assert [row.train_loss for row in on_device[0].rows] == [row.train_loss for row in from_disk[0].rows]
    assert [row.dev_loss for row in on_device[0].rows] == [row.dev_loss for row in from_disk[0].rows]
    assert on_device[1].loss == from_disk[1].loss
    assert torch.equal(on_device[1].predicted_N, from_disk[1].predicted_N)
    for name, tensor in on_device[2].state_dict().items():
        assert torch.equal(tensor, from_disk[2].state_dict()[name]), name


@pytest.mark.parametrize(
    ("part", "budget_bytes", "expected", "reason"),
    [
        ("train", 40 * 108, DeviceImages, r"GiB of train images fit into the .* GiB left for them"),
        ("train", 40 * 108 - 1, StreamedImages, r"GiB of train images exceed the .* GiB left for them"),
        ("test", 20 * 108, DeviceImages, "test images fit"),
        ("test", -5, StreamedImages, "test images exceed the 0 GiB"),
    ],
)
def test_a_part_lies_on_the_device_if_it_fits_into_the_budget(
    pack: Pack, part: Literal["train", "test"], budget_bytes: int, expected: type, reason: str
) -> None:
    images, why = place_images(pack, part=part, device="cpu", memory_format=torch.channels_last, budget_bytes=budget_bytes)
    with images:
        assert type(images) is expected
        assert len(images) == {"train": 40, "test": 20}[part]
    assert re.search(reason, why), why


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches(pack: Pack) -> None:
    wanted = resident(pack)
    with StreamedImages(pack, part="train", device="cuda") as images:
        batches = []
        for start in range(30):
            batches.append(images.batch(torch.arange(start, start + 10)))
            images.prefetch(torch.arange(start + 1, start + 11))
        for start, (x_BCHW, labels_B) in enumerate(batches):
            assert x_BCHW.device.type == labels_B.device.type == "cuda"
            assert_same((x_BCHW.cpu(), labels_B.cpu()), wanted.batch(torch.arange(start, start + 10)))
