"""How a model is trained and evaluated. Start at `loop.train`."""
