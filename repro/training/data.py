"""What a training sees of a data set.

Must not know where the images lie or how they are augmented. Read `TrainingData` first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from repro.training.enlargement import enlarge
from repro.training.evaluation import EVALUATION_BATCH, Batches, Prefetch, no_prefetch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a training sees of a data set."""

    batch: Batches
    """Positions int64 (B,) → grey values 0 … 255, float (B, C, H, W) on the device, and labels int64 (B,)."""
    normalise: Callable[[Tensor], Tensor]
    """Grey values → what the model takes, float (B, C, H, W)."""
    train_positions: Tensor
    """Positions of the images that are trained on, int64 (N,)."""
    dev_positions: Tensor
    """Positions of the dev split, int64, empty where none is held out."""
    num_classes: int
    """Number of classes."""
    flip_keeps_label: bool
    """Whether mirroring is allowed."""
    prefetch: Prefetch = no_prefetch
    """A hint: these positions, int64 (B,), will be asked for next."""
    image_size: int | None = None
    """Side in pixels to which whole images are brought for evaluation, the recipe's; None leaves them as they are."""
    repeat_grey: bool = False
    """Whether the one channel of `batch` is given to the model three times."""
    evaluation_batch: int = EVALUATION_BATCH
    """Images that are evaluated at once."""

    def model_batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `batch`, with the channels that the model takes: what is augmented."""
        x_BCHW, labels_B = self.batch(positions_B)
        return x_BCHW.repeat(1, 3, 1, 1) if self.repeat_grey else x_BCHW, labels_B

    def normalised_batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `model_batch`, whole images of the model's size, normalised: what is evaluated."""
        x_BCHW, labels_B = self.model_batch(positions_B)
        if self.image_size is not None:
            x_BCHW = enlarge(x_BCHW, self.image_size)
        return self.normalise(x_BCHW), labels_B
