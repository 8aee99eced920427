"""The models: the in-house ViT and ResNet, and the only place that imports timm and torchvision."""
