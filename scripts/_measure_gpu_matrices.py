"""The matrices that `_measure_gpu.py` runs, as the blocks of profiles. Data only.

`published` pre-trains timm's ViT and BiT classes on Tiny ImageNet and fine-tunes them by the paper's recipe; `speed224` times
the published architectures with random weights, since the hosts may be out of reach: seconds and memory are
the same.
"""

DATASETS = {
    "cifar10-45k5k": """
[[dataset]]
name = "cifar10-45k5k"
path = "{out}/cifar10-45k5k.npz"
""",
    "tinyimagenet32-local": """
[[dataset]]
name = "tinyimagenet32-local"
path = "{out}/tinyimagenet32.npz"
""",
}
"""The data sets by the name by which a matrix knows them."""

BLOCKS = {
    "quick": """
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1, 1.0]
model = ["vit_cifar", "resnet18_cifar"]
recipe = "cifar-quick"
convergence_check_at = [0.1]
""",
    "plain": """
[[cells]]
dataset = ["cifar10-45k5k"]
size = [1.0]
model = ["resnet18_cifar", "vit_cifar"]
recipe = "cifar-plain"
""",
    "strong": """
[[cells]]
dataset = ["cifar10-45k5k"]
size = [1.0]
model = ["vit_cifar", "resnet18_cifar"]
recipe = "cifar-strong"
""",
    "upstream": """
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["vit_cifar", "resnet18_cifar"]
recipe = "cifar-plain"
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["vit_cifar", "resnet18_cifar"]
init = ["upstream:tinyimagenet32-local@90000"]
recipe = "cifar-finetune"
upstream_recipe = "tiny-upstream"
""",
    "published": """
[[model]]
name = "timm-vit"
architecture = "timm/vit_tiny_patch16_224"
family = "vit"
patch_size = 8
[[model]]
name = "timm-bit"
architecture = "timm/resnetv2_50x1_bit"
family = "cnn"
[recipe.up64]
base = "tiny-upstream"
image_size = 64
[recipe.tune64]
base = "finetune-short"
image_size = 64
crop_min_area = 0.25
[recipe.scratch64]
base = "cifar-plain"
image_size = 64
steps = 3000
warmup_steps = 150
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["timm-vit", "timm-bit"]
init = ["upstream:tinyimagenet32-local@90000"]
recipe = "tune64"
upstream_recipe = "up64"
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["timm-vit", "timm-bit"]
recipe = "scratch64"
""",
    "speed224": """
[recipe.speed]
base = "finetune-short"
lr = 0.01
steps = 40
warmup_steps = 4
divergence_factor = 1e6
[recipe.speed384]
base = "speed"
image_size = 384
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["timm/deit_tiny_patch16_224.fb_in1k", "torchvision/resnet18.IMAGENET1K_V1", "torchvision/resnet50.IMAGENET1K_V1",
  "torchvision/resnet152.IMAGENET1K_V2", "torchvision/vit_b_16.IMAGENET1K_V1", "timm/vit_base_patch16_224.orig_in21k",
  "timm/vit_base_patch32_224.orig_in21k", "timm/resnetv2_50x1_bit.goog_in21k"]
recipe = "speed"
seeds = 1
[[cells]]
dataset = ["cifar10-45k5k"]
size = [0.1]
model = ["timm/vit_base_patch16_224.orig_in21k", "timm/vit_large_patch16_224.orig_in21k", "timm/resnetv2_101x3_bit.goog_in21k"]
recipe = "speed384"
seeds = 1
""",
}
"""The matrices by name; each is one profile with three seeds."""
