"""The ResNet keeps the resolution that a small image needs, and starts as documented."""

import torch

from repro.models.libraries import import_torchvision
from repro.models.resnet import BasicBlock, ResNet, initialise_resnet


def make_resnet() -> ResNet:
    model = ResNet(num_channels=3, num_classes=5, stage_widths=(8, 16, 32), stage_depths=(1, 2, 1))
    initialise_resnet(model, generator=torch.Generator().manual_seed(0))
    return model


def test_stages_halve_the_resolution_and_the_stem_does_not() -> None:
    model = make_resnet().eval()
    x_BCHW = torch.randn(2, 3, 32, 32)
    assert model.conv1(x_BCHW).shape == (2, 8, 32, 32)
    assert model.layers(model.conv1(x_BCHW)).shape == (2, 32, 8, 8)
    assert model(x_BCHW).shape == (2, 5)


def test_blocks_start_as_identities() -> None:
    block = BasicBlock(8, 8, 1)
    model = make_resnet()
    same = next(module for module in model.modules() if isinstance(module, BasicBlock))
    x_BCHW = torch.rand(2, 8, 8, 8)
    assert torch.allclose(same.eval()(x_BCHW), x_BCHW)
    assert not torch.allclose(block.eval()(x_BCHW), x_BCHW)


def test_a_block_equals_torchvisions_when_the_weights_are_copied_over() -> None:
    ours = BasicBlock(8, 16, 2).eval()
    theirs = import_torchvision().models.resnet.BasicBlock(
        8, 16, stride=2, downsample=torch.nn.Sequential(torch.nn.Conv2d(8, 16, 1, 2, bias=False), torch.nn.BatchNorm2d(16))
    )
    theirs.load_state_dict(ours.state_dict())
    x_BCHW = torch.randn(3, 8, 8, 8)
    torch.testing.assert_close(ours(x_BCHW), theirs.eval()(x_BCHW))


def test_initial_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = make_resnet().state_dict()
    torch.manual_seed(2)
    second = make_resnet().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(make_resnet()(torch.randn(2, 3, 8, 8)), torch.zeros(2, 5))
