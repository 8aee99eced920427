"""vitrepro: re-test, with one command, whether a Vision Transformer loses to a ResNet on small data and wins at scale."""

__version__ = "0.1.0"
