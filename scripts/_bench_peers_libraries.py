"""What people would use instead: a torch and torchvision loop, and a timm loop, with what their users are told to do for speed.

What each follows, and where the work is done:

- `TorchPeer`, by the Performance Tuning Guide (https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide): loader
  processes, pinned memory, copies that do not block, bfloat16 autocast, channels-last, cuDNN's benchmark, `set_to_none`, and by
  https://docs.pytorch.org/docs/stable/optim.html a fused optimizer. Images come from memory as Pillow images, as torchvision's
  CIFAR10 gives them, and are changed one by one in the processes; CutMix and MixUp are made on the device, after the loader
  (https://docs.pytorch.org/vision/stable/auto_examples/transforms/plot_cutmix_mixup.html).
- `TimmPeer`, by timm's own script (https://github.com/huggingface/pytorch-image-models/blob/main/train.py) with `--amp
  --amp-dtype bfloat16 --channels-last --pin-mem --opt-kwargs fused=True --clip-grad --mixup --cutmix --reprob --remode pixel`:
  `create_loader` with its prefetcher, which copies, normalises and erases on the device on a stream of its own, uint8 batches,
  mixing while they are collated, timm's optimizer, schedule, losses and clipping. At 32 px the first transform is a padded
  crop, as in DeiT's script for CIFAR (https://github.com/facebookresearch/deit/blob/main/datasets.py).

Where a library lacks what the recipe says, the nearest that costs it less or the same is taken: crops pad with black, not by
reflection; mixing draws one share a batch, not one an image; timm's TrivialAugment is its RandAugment of one operation, always
applied, of even strength.

Must not know our loop. Read `TorchPeer` first.
"""

import importlib
import random
from typing import Any

import torch
from _bench_peers_cases import NUM_CHANNELS, NUM_CLASSES, Setting
from _bench_peers_loops import Feed, MemoryImages, Peer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from repro.models.libraries import import_timm, import_torchvision

RESIZED_SIDES = (3 / 4, 4 / 3)
"""Sides of an Inception crop, in both libraries and in ours."""
ONE_RANDOM_CHANGE = "rand-n1-p1.0-m10-mstd101-inc1"
"""TrivialAugment in timm's words: one operation, always, of a strength drawn evenly (`mstd` above 100); `inc1` as in DeiT."""


class TorchPeer(Peer):
    """torch's loader, optimizers and schedules, torchvision's transforms."""

    library = "torch + torchvision"

    def __init__(self, setting: Setting, feed: Feed, *, compiles: bool) -> None:
        super().__init__(setting, feed, compiles=compiles)
        recipe, weights = self.recipe, self.model.parameters()
        common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
        if recipe.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(weights, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
        else:
            self.optimizer = torch.optim.AdamW(weights, betas=(recipe.momentum, recipe.adam_beta2), **common)
        schedules = torch.optim.lr_scheduler
        warmup = max(1, recipe.warmup_steps)
        rising = schedules.LinearLR(self.optimizer, start_factor=1 / warmup, total_iters=warmup)
        falling = schedules.CosineAnnealingLR(self.optimizer, T_max=max(1, recipe.steps - warmup))
        self.schedule = schedules.SequentialLR(self.optimizer, [rising, falling], milestones=[warmup])
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def clip_gradients(self) -> None:
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)

    def follow_schedule(self) -> None:
        self.schedule.step()


def torch_feed(setting: Setting) -> Feed:
    """A DataLoader whose processes change the images; the copy to the device, and mixing there, come after it."""
    import_torchvision()
    transforms = importlib.import_module("torchvision.transforms")
    mixing = importlib.import_module("torchvision.transforms.v2")
    recipe, manifest, device = setting.case.recipe, setting.pack.manifest, setting.device
    dataset = MemoryImages(setting.pack.x_train, setting.pack.y_train)
    dataset.transform = transforms.Compose(torch_transforms(transforms, setting, manifest.mean, manifest.std))
    loader = torch_loader(dataset, setting)
    ways = [
        kind(alpha=alpha, num_classes=NUM_CLASSES)
        for kind, alpha in ((mixing.MixUp, recipe.mixup_alpha), (mixing.CutMix, recipe.cutmix_alpha))
        if alpha > 0
    ]

    def finish(x_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        # Laid out anew on the device: the host would have to wait for its own copy.
        x_BCHW = x_BCHW.to(device, non_blocking=True).contiguous(memory_format=setting.precision.memory_format)
        labels_B = labels_B.to(device, non_blocking=True)
        if ways and random.random() < recipe.mix_probability:  # noqa: S311 - no secret
            x_BCHW, labels_B = random.choice(ways)(x_BCHW, labels_B)  # noqa: S311 - no secret
        return x_BCHW, labels_B

    return Feed(loader, finish, setting)


def torch_loader(dataset: MemoryImages, setting: Setting) -> "DataLoader[tuple[Any, int]]":
    """As the tuning guide says: processes that stay, pinned memory where there is a GPU."""
    assert len(dataset) >= setting.case.recipe.batch_size, "a pass has a full batch"
    return DataLoader(
        dataset,
        batch_size=setting.case.recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.num_workers,
        persistent_workers=setting.num_workers > 0,
        pin_memory=setting.device.type == "cuda",
    )


def torch_transforms(transforms: Any, setting: Setting, mean: tuple[float, ...], std: tuple[float, ...]) -> list[Any]:
    """The recipe's changes of one Pillow image, in the order of torchvision's own training reference."""
    recipe, size = setting.case.recipe, setting.case.image_size
    chosen: list[Any] = []
    bicubic = transforms.InterpolationMode.BICUBIC
    if recipe.crop_padding:
        chosen.append(transforms.RandomCrop(setting.case.source_size, padding=recipe.crop_padding))
    if recipe.crop_min_area < 1:
        scale = (recipe.crop_min_area, 1.0)
        chosen.append(transforms.RandomResizedCrop(size, scale=scale, ratio=RESIZED_SIDES, interpolation=bicubic))
    elif size != setting.case.source_size:
        chosen.append(transforms.Resize(size, interpolation=bicubic))
    if recipe.flip:
        chosen.append(transforms.RandomHorizontalFlip())
    if recipe.trivial_augment:
        chosen.append(transforms.TrivialAugmentWide())
    chosen += [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if recipe.erase_probability:
        chosen.append(transforms.RandomErasing(p=recipe.erase_probability, value="random"))
    return chosen


class TimmPeer(Peer):
    """timm's loader with its prefetcher, optimizer and schedule factories, losses and clipping."""

    library = "timm"

    def __init__(self, setting: Setting, feed: Feed, *, compiles: bool) -> None:
        super().__init__(setting, feed, compiles=compiles)
        import_timm()
        recipe = self.recipe
        # In timm's words `momentum` is SGD without, `sgd` SGD with Nesterov's.
        plain = {"adamw": "adamw", "sgd": "sgd" if recipe.nesterov else "momentum"}[recipe.optimizer]
        betas = {"betas": (recipe.momentum, recipe.adam_beta2)} if recipe.optimizer == "adamw" else {}
        self.optimizer = importlib.import_module("timm.optim").create_optimizer_v2(
            self.model,
            opt=plain,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            fused=True,
            **betas,
        )
        updates = max(1, setting.case.num_images // recipe.batch_size)
        self.schedule, _ = importlib.import_module("timm.scheduler").create_scheduler_v2(
            self.optimizer,
            sched="cosine",
            num_epochs=max(1, -(-recipe.steps // updates)),
            warmup_epochs=round(recipe.warmup_steps / updates),
            step_on_epochs=False,
            updates_per_epoch=updates,
        )
        losses = importlib.import_module("timm.loss")
        smoothing = recipe.label_smoothing
        plain_loss = losses.LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
        self.loss = losses.SoftTargetCrossEntropy() if recipe.mixes else plain_loss
        self.clip = importlib.import_module("timm.utils").dispatch_clip_grad
        self.parameters_of = importlib.import_module("timm.models").model_parameters

    def step(self, x_BCHW: Tensor, targets: Tensor) -> Tensor:
        return super().step(x_BCHW.contiguous(memory_format=self.setting.precision.memory_format), targets)

    def clip_gradients(self) -> None:
        if self.recipe.clip_norm is not None:
            self.clip(self.parameters_of(self.model), value=self.recipe.clip_norm, mode="norm")

    def follow_schedule(self) -> None:
        self.schedule.step_update(num_updates=self.num_updates)


def timm_feed(setting: Setting) -> Feed:
    """The loader of timm: uint8 batches from the processes, mixed as they are collated, normalised and erased on the device."""
    import_timm()
    data = importlib.import_module("timm.data")
    transforms = importlib.import_module("torchvision.transforms")
    recipe, manifest, size = setting.case.recipe, setting.pack.manifest, setting.case.image_size
    collate = data.FastCollateMixup(
        mixup_alpha=recipe.mixup_alpha,
        cutmix_alpha=recipe.cutmix_alpha,
        prob=recipe.mix_probability,
        label_smoothing=recipe.label_smoothing,
        num_classes=NUM_CLASSES,
    )
    dataset = MemoryImages(setting.pack.x_train, setting.pack.y_train)
    loader = data.create_loader(
        dataset,
        input_size=(NUM_CHANNELS, size, size),
        batch_size=recipe.batch_size,
        is_training=True,
        re_prob=recipe.erase_probability,
        re_mode="pixel",
        scale=(recipe.crop_min_area, 1.0),
        ratio=RESIZED_SIDES,
        hflip=0.5 if recipe.flip else 0.0,
        color_jitter=None,
        auto_augment=ONE_RANDOM_CHANGE if recipe.trivial_augment else None,
        interpolation="bicubic",
        mean=manifest.mean,
        std=manifest.std,
        num_workers=setting.num_workers,
        collate_fn=collate if recipe.mixes else None,
        pin_memory=setting.device.type == "cuda",
        device=setting.device,
    )
    if recipe.crop_min_area == 1:
        whole = transforms.RandomCrop if recipe.crop_padding else transforms.Resize
        options = {"padding": recipe.crop_padding} if recipe.crop_padding else {}
        dataset.transform.transforms[0] = whole(size, **options)
    assert len(loader), "a pass has a full batch"
    return Feed(loader, lambda x_BCHW, targets: (x_BCHW, targets), setting)
