"""Checkpoint files made here, in the formats of the hosts, and a profile that fetches them from a local server. Not a test."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from unruly_server import UnrulyServer

from repro.models.build import build_model
from repro.spec import Family, ModelSpec

VIT, OLD_CNN, NEW_CNN = "served/vit", "served/resnet", "served/resnet-new"
"""Names of the models: a ViT from the hub, a CNN from torchvision's host, another CNN from the hub."""
ARCHITECTURES: dict[str, tuple[str, Family]] = {
    VIT: ("timm/test_vit.r160_in1k", "vit"),
    OLD_CNN: ("torchvision/resnet18.IMAGENET1K_V1", "cnn"),
    NEW_CNN: ("timm/test_resnet.r160_in1k", "cnn"),
}
HUB = "huggingface/timm"


def weights_of(architecture: str, family: Family, *, image_size: int = 160, seed: int = 1) -> dict[str, torch.Tensor]:
    """Weights as if trained: random, the head of 1,000 classes too, BatchNorm's running figures as they are."""
    generator = torch.Generator().manual_seed(seed)
    spec = ModelSpec(name=architecture, family=family)
    model = build_model(spec, image_size=image_size, num_channels=3, num_classes=1000, generator=generator)
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith(("head.weight", "fc.weight")):
            state[name] = torch.randn(tensor.shape, generator=generator) / 100
    return state


def as_safetensors(state: dict[str, torch.Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in state.items()})


def as_pth(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def with_digits(name: str, content: bytes) -> str:
    """`resnet18` → `resnet18-0123abcd.pth`, as torchvision names its files."""
    return f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def hub_config(architecture: str, *, mean: float = 0.5, image_size: int = 160) -> bytes:
    """A config.json as the hub serves it."""
    cfg = {"mean": [mean] * 3, "std": [0.5] * 3, "input_size": [3, image_size, image_size], "interpolation": "bicubic"}
    name = architecture.removeprefix("timm/").partition(".")[0]
    return json.dumps({"architecture": name, "num_classes": 1000, "pretrained_cfg": cfg}).encode()


def serve_all(server: UnrulyServer) -> dict[str, bytes]:
    """Serve every model's weights as its host would; path → content."""
    served = {}
    vit = as_safetensors(weights_of(*ARCHITECTURES[VIT]))
    served["timm/test_vit.r160_in1k/resolve/abc/model.safetensors"] = vit
    served["timm/test_vit.r160_in1k/resolve/abc/config.json"] = hub_config(ARCHITECTURES[VIT][0])
    old = as_pth(weights_of(*ARCHITECTURES[OLD_CNN], image_size=64))
    served[with_digits("resnet18", old)] = old
    new = as_safetensors(weights_of(*ARCHITECTURES[NEW_CNN]))
    served["timm/test_resnet.r160_in1k/resolve/main/model.safetensors"] = new
    served["timm/test_resnet.r160_in1k/resolve/main/config.json"] = hub_config(ARCHITECTURES[NEW_CNN][0])
    for path, content in served.items():
        server.serve(path, content)
    return served


def checkpoint_text(name: str, host: str, path: str, content: bytes | None) -> str:
    """A [[checkpoint]] of a profile; with `content` its digest is stated."""
    architecture, family = ARCHITECTURES[name]
    text = f"""
[[checkpoint]]
name = "{name}"
architecture = "{architecture}"
family = "{family}"
upstream = "ImageNet-1k"
num_upstream_images = 1_281_167
[[checkpoint.file]]
host = "{host}"
path = "{path}"
"""
    if content is not None:
        text += f'size_bytes = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    return text


STUDY = """
name = "served"
seeds = 3
claims = ["pretrained-vit-ahead"]
[[dataset]]
name = "shapes"
path = "shapes.npz"
[recipe.short]
base = "finetune-short"
image_size = 32
steps = 4
warmup_steps = 1
batch_size = 16
micro_batch = 8
lr_grid = [0.003, 0.03]
[[pair]]
name = "served"
title = "A served ViT against two served ResNets"
vit = ["served/vit"]
cnn = ["served/resnet", "served/resnet-new"]
[[cells]]
dataset = ["shapes"]
size = [1.0]
model = ["served/vit", "served/resnet", "served/resnet-new"]
init = ["pretrained"]
recipe = "short"
"""
NUM_CELLS = 3 * (2 + 3)
"""Two rates of a search and three seeds for each model."""


def write_study(folder: Path, served: dict[str, bytes], text: str = STUDY) -> Path:
    """The profile and its data (squares at the top or the bottom of coloured noise) in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    arrays = {}
    for part, num_images in (("train", 60), ("test", 40)):
        labels = np.arange(num_images) % 2
        images = generator.integers(0, 80, (num_images, 16, 16, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[slice(0, 6) if label else slice(10, 16)] += 150
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(folder / "shapes.npz", **arrays)
    paths = {Path(path).name if "/" not in path else path: content for path, content in served.items()}
    vit = "timm/test_vit.r160_in1k/resolve/abc/model.safetensors"
    new = "timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    old = next(path for path in paths if path.startswith("resnet18-"))
    text += checkpoint_text(VIT, "huggingface", vit, served[vit])
    text += checkpoint_text(OLD_CNN, "pytorch", old, None)
    text += checkpoint_text(NEW_CNN, "huggingface", new, None)
    profile = folder / "served.toml"
    profile.write_text(text, encoding="utf-8")
    return profile


def environment(server: UnrulyServer) -> dict[str, str]:
    """Every host of weights is this server."""
    address = server.url("").rstrip("/")
    variables = ("VITREPRO_HUGGINGFACE_URL", "VITREPRO_PYTORCH_URL", "VITREPRO_FBAIPUBLIC_URL")
    return dict.fromkeys(variables, address) | {"VITREPRO_NETWORK_TIMEOUT_S": "5"}
