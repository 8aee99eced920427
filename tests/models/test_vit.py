"""The Vision Transformer computes what timm's does, and starts as documented."""

import pytest
import torch

from repro.models.libraries import import_timm
from repro.models.vit import VisionTransformer, initialise_vit


def make_vit(*, image_size: int = 8, patch_size: int = 2) -> VisionTransformer:
    return VisionTransformer(
        image_size=image_size, patch_size=patch_size, num_channels=3, num_classes=7, width=24, depth=3, num_heads=4
    )


def test_equals_timm_when_the_weights_are_copied_over() -> None:
    ours = make_vit()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.2, generator=generator)
    theirs = import_timm().models.VisionTransformer(
        img_size=8, patch_size=2, in_chans=3, num_classes=7, embed_dim=24, depth=3, num_heads=4
    )
    theirs.load_state_dict(ours.state_dict())
    x_BCHW = torch.randn(5, 3, 8, 8, generator=generator)
    with torch.inference_mode():
        expected, got = theirs.eval()(x_BCHW), ours.eval()(x_BCHW)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected)


def test_gradients_equal_timms() -> None:
    ours = make_vit()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.2, generator=generator)
    theirs = import_timm().models.VisionTransformer(
        img_size=8, patch_size=2, in_chans=3, num_classes=7, embed_dim=24, depth=3, num_heads=4
    )
    theirs.load_state_dict(ours.state_dict())
    x_BCHW = torch.randn(2, 3, 8, 8, generator=generator)
    for model in (ours, theirs):
        model(x_BCHW).square().sum().backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad, msg=name)


def test_initial_weights_depend_on_the_generator_alone() -> None:
    first, second, other = make_vit(), make_vit(), make_vit()
    initialise_vit(first, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(99)
    initialise_vit(second, generator=torch.Generator().manual_seed(1))
    initialise_vit(other, generator=torch.Generator().manual_seed(2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not torch.equal(first.pos_embed, other.pos_embed)


def test_training_starts_from_equal_probabilities() -> None:
    model = make_vit()
    initialise_vit(model, generator=torch.Generator().manual_seed(1))
    logits = model(torch.randn(4, 3, 8, 8))
    assert torch.equal(logits, torch.zeros(4, 7))
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_size 3 does not divide image_size 8"):
        make_vit(patch_size=3)
