"""ResNet with basic blocks and a small-image stem (He et al. 2016, sections 3.3 and 4.2).

The stem is one 3x3 convolution of stride 1 without pooling: the ImageNet stem throws most of an 8 or 32 px image away
(weiaicunzai/pytorch-cifar100#17). Parameter names are torchvision's. Shape letters: B batch, C channels, H, W, K classes.
Must not know data, recipes or devices. Read `ResNet.forward` first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: x_BCHW → (B, C', H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out))
        out = self.relu(out + self.downsample(x_BCHW))
        return out


class ResNet(nn.Module):
    """Images float (B, C, H, W) → logits (B, K). Every stage after the first halves the resolution."""

    def __init__(
        self, *, num_channels: int, num_classes: int, stage_widths: Sequence[int], stage_depths: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_channels, stage_widths[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stage_widths[0])
        self.relu = nn.ReLU(inplace=True)
        stages = []
        channels_in = stage_widths[0]
        for index, (channels, depth) in enumerate(zip(stage_widths, stage_depths, strict=True)):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(BasicBlock(channels_in, channels, stride))
                channels_in = channels
            stages.append(nn.Sequential(*blocks))
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(channels_in, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.relu(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = self.layers(x_BCHW)
        logits_BK: Tensor = self.fc(x_BCHW.mean(dim=(2, 3)))
        return logits_BK


@torch.no_grad()
def initialise_resnet(model: ResNet, *, generator: torch.Generator) -> None:
    """Initial weights; every draw comes from `generator`.

    1. Convolutions: He normal over the fan-out (He et al. 2015).
    2. BatchNorm: scale 1 and shift 0, except scale 0 at the end of each block, so that blocks start as identities
       (Goyal et al. 2017, section 5.1).
    3. Head: 0, as in the ViT.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, BasicBlock):
            module.bn2.weight.zero_()
    model.fc.weight.zero_()
    model.fc.bias.zero_()
