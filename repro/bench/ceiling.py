"""What the device can do with a model: the bare optimizer step on images that lie there ready-made.

It is written out once more, as short as a step can be, and shares with the loop only what decides the operations: model,
precision, loss, optimizer and schedule. What the loop does beside that (data, augmentation, counting, logging) is thereby told
apart. Must not know data. Read `Ceiling.run` first.
"""

import torch
from torch import nn

from repro.bench.clock import now_s
from repro.bench.setting import Setting
from repro.training.freezing import enter_training_mode, only_training
from repro.training.loop import Forward
from repro.training.mixing import Mixed, Unmixed, mix
from repro.training.optimization import learning_rate, make_optimizer
from repro.training.seeds import generator_for


class Ceiling:
    """One batch of random normalised images on the device, and an optimizer of its own on the loop's model."""

    def __init__(self, setting: Setting, forward: Forward | None = None) -> None:
        """Make the batch, of the size that the model takes; mixed where the recipe mixes, so that targets are as soft.

        `forward` is called in the model's place, where steps are not plain.
        """
        self._forward = setting.start.model if forward is None else forward
        self._setting = setting
        start, recipe = setting.start, setting.recipe
        generator = generator_for(0)
        shape = (recipe.batch_size, start.num_channels, start.image_size, start.image_size)
        x_BCHW = torch.randn(shape, generator=generator).to(setting.device, memory_format=setting.precision.memory_format)
        labels_B = torch.randint(start.num_classes, shape[:1], generator=generator).to(setting.device)
        images: Mixed | Unmixed = Unmixed(x_BCHW=x_BCHW, labels_B=labels_B)
        if recipe.mixes:
            alphas = {"mixup_alpha": recipe.mixup_alpha, "cutmix_alpha": recipe.cutmix_alpha}
            images = mix(x_BCHW, labels_B, probability=recipe.mix_probability, seed=0, **alphas)
        self._parts = images.split(setting.micro_batch)
        with only_training(setting.head, start.model):
            self._optimizer = make_optimizer(start.model, recipe)
        self._step = 0

    def run(self, num_steps: int) -> float:
        """Seconds that so many steps take."""
        setting = self._setting
        model, recipe, optimizer = setting.start.model, setting.recipe, self._optimizer
        with only_training(setting.head, model):
            enter_training_mode(model, setting.head)
            started_s = now_s(setting.device)
            for step in range(self._step, self._step + num_steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step % recipe.steps, recipe)
                optimizer.zero_grad(set_to_none=True)
                for part in self._parts:
                    with setting.precision.autocast():
                        logits_BK = self._forward(part.x_BCHW)
                    loss = part.loss(logits_BK.float(), label_smoothing=recipe.label_smoothing)
                    if len(self._parts) > 1:
                        loss = len(part.labels_B) / recipe.batch_size * loss
                    torch.autograd.backward(loss)
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm, foreach=True)
                optimizer.step()
            self._step += num_steps
            return now_s(setting.device) - started_s
