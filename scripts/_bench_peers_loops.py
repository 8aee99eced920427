"""Our loop on the clock, and what the loops of other libraries have in common.

All train a copy of the same model on the same images, labels, batch, micro-batch, precision and layout, with the recipe's
optimizer, rates, schedule, clipping and loss. Losses stay on the device until a lap is over, as in our loop. Our loop also
counts correct answers and checks for divergence; the peers do neither. Must not know which libraries there are, nor how laps
are compared. Read `Contender` first, then `train_ours`.
"""

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from _bench_peers_cases import NUM_CLASSES, Setting
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from repro.datasets.arrays import Images, Labels
from repro.datasets.device import DeviceImages
from repro.training.data import TrainingData
from repro.training.loop import train

PREFETCHED = 2
"""Batches that each process of a loader holds ready: torch's default, which timm leaves as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """Some steps on the clock."""

    wall_s: float
    """Seconds that the timed steps took, the device's work included."""
    loss: float
    """Mean training loss in nats of these steps; of ours of the untimed ones too."""


class Stopwatch:
    """Seconds between two moments at which the device has nothing left to do."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = 0.0

    def start(self) -> None:
        self._wait()
        self._started = time.perf_counter()

    def stop(self) -> float:
        self._wait()
        return time.perf_counter() - self._started

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


class Contender(ABC):
    """A way to train, that can be stopped after any step and goes on later."""

    name: str
    feed: "Feed | None" = None
    """Where a peer's batches come from; shared by its variants."""

    @abstractmethod
    def lap(self, *, untimed: int, timed: int) -> Lap:
        """Make `untimed` steps, then `timed` steps on the clock."""


class OurLoop(Contender):
    """The kit's own loop, with resident images."""

    name = "ours"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._model = copy.deepcopy(setting.start.model)
        layout = setting.precision.memory_format
        self._images = DeviceImages(setting.pack, part="train", device=setting.device, memory_format=layout)
        self._laps = count()

    def lap(self, *, untimed: int, timed: int) -> Lap:
        return train_ours(self._model, self._images, self._setting, untimed=untimed, timed=timed, seed=next(self._laps))


def train_ours(model: nn.Module, images: DeviceImages, setting: Setting, *, untimed: int, timed: int, seed: int) -> Lap:
    """One call of the loop; the clock starts when it asks for the first batch after `untimed` ones, and ends with the call."""
    stopwatch, asked, steps = Stopwatch(setting.device), count(), untimed + timed
    # A lap is a short run: it warms up in its first half, so that no lap begins at the full rate.
    recipe = setting.case.recipe.model_copy(update={"steps": steps, "warmup_steps": steps // 2})

    def batch(positions_B: Tensor) -> tuple[Tensor, Tensor]:
        if next(asked) == untimed:
            stopwatch.start()
        return images.batch(positions_B)

    data = TrainingData(
        batch=batch,
        normalise=images.normalise,
        train_positions=torch.arange(len(images)),
        dev_positions=torch.empty(0, dtype=torch.int64),
        num_classes=NUM_CLASSES,
        flip_keeps_label=True,
        prefetch=images.prefetch,
        image_size=recipe.image_size,
    )
    training = train(
        model,
        data,
        recipe,
        precision=setting.precision,
        order_seed=seed,
        augmentation_seed=seed,
        state=None,
        save=lambda _: None,
        progress=lambda _, __: None,
        micro_batch=setting.micro_batch,
    )
    return Lap(wall_s=stopwatch.stop(), loss=training.rows[-1].train_loss)


class MemoryImages(Dataset[tuple[Any, int]]):
    """Images in memory, given one by one through Pillow, as torchvision's CIFAR10 does; `transform` is set from outside."""

    def __init__(self, images_NHWC: Images, labels_N: Labels) -> None:
        self.data = images_NHWC
        self.targets: list[int] = labels_N.tolist()
        self.transform: Callable[[Image.Image], Any] = lambda image: image

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def endless(loader: Iterable[Any], finish: Callable[[Any, Any], tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pass after pass. No method of `Feed`: in a cycle of references, processes would be ended by seconds of waiting."""
    while True:
        for images, targets in loader:
            yield finish(images, targets)


class Feed:
    """Batches of a peer's loader on the device, pass after pass without end."""

    def __init__(self, loader: Iterable[Any], finish: Callable[[Any, Any], tuple[Tensor, Tensor]], setting: Setting) -> None:
        """`finish` brings images and targets of a batch to the device, where the loader does not."""
        self._num_ready = PREFETCHED * setting.num_workers
        self._stopwatch = Stopwatch(setting.device)
        self._batches = endless(loader, finish)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._batches

    def discard_ready(self) -> None:
        """Throw away what the processes have made while somebody else was on the clock: it would be had for nothing."""
        for _ in range(self._num_ready):
            next(self._batches)

    def load(self, num_batches: int) -> float:
        """Seconds of so many batches when nothing is trained."""
        self.discard_ready()
        self._stopwatch.start()
        for _ in range(num_batches):
            next(self._batches)
        return self._stopwatch.stop()


class Peer(Contender):
    """What the peers have in common: a feed, a model, eager or compiled, and the order of a step."""

    library: str
    optimizer: torch.optim.Optimizer
    loss: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, setting: Setting, feed: Feed, *, compiles: bool) -> None:
        self.name = f"{self.library}, compiled" if compiles else self.library
        self.feed = feed
        self.setting = setting
        self.recipe = setting.case.recipe
        self.model = copy.deepcopy(setting.start.model).train()
        self.forward = torch.compile(self.model) if compiles else self.model
        self.num_updates = 0

    def lap(self, *, untimed: int, timed: int) -> Lap:
        assert self.feed is not None
        self.feed.discard_ready()
        batches = iter(self.feed)
        for _ in range(untimed):
            self.step(*next(batches))
        stopwatch = Stopwatch(self.setting.device)
        stopwatch.start()
        losses = [self.step(*next(batches)) for _ in range(timed)]
        wall_s = stopwatch.stop()
        return Lap(wall_s=wall_s, loss=float(torch.stack(losses).mean()))

    def step(self, x_BCHW: Tensor, targets: Tensor) -> Tensor:
        """One update; the mean loss of the batch, on the device."""
        part = self.setting.micro_batch
        total = torch.zeros((), device=x_BCHW.device)
        for x_bCHW, targets_b in zip(x_BCHW.split(part), targets.split(part), strict=True):
            with self.setting.precision.autocast():
                loss = self.loss(self.forward(x_bCHW), targets_b) * (len(x_bCHW) / len(x_BCHW))
            loss.backward()
            total += loss.detach()
        self.clip_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.num_updates += 1
        self.follow_schedule()
        return total

    @abstractmethod
    def clip_gradients(self) -> None:
        """As the recipe says, by the library's own function."""

    @abstractmethod
    def follow_schedule(self) -> None:
        """Set the rate of the next update."""
