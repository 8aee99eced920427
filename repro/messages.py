"""What a worker process is told and what it answers: one JSON object a line.

Must not know torch: the parent reads these without it. Read `Job`, then `Answer`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from repro.benchmarks import Speed, WaySpeed
from repro.choices import Choice, StepWay
from repro.records import Environment
from repro.spec import Cell, InputSpec, ModelSpec, Recipe, Spec


class Weights(Spec):
    """A file of weights that is there."""

    path: Path
    """Where it lies."""
    sha256: str
    """What it must be."""
    input: InputSpec | None
    """How the weights want their images; None: as the data set's own statistics say."""


class Job(Spec):
    """All that a worker needs to run one cell."""

    kind: Literal["cell"] = "cell"
    cell: Cell
    """What to run."""
    fingerprint: str
    """Of the cell."""
    upstream_fingerprint: str | None
    """Of the upstream cell, whose weights lie in its folder."""
    upstream_id: str | None
    """Id of the upstream cell."""
    weights: Weights | None
    """The published weights that it starts from, if it does."""
    lr: float
    """Peak learning rate: the recipe's, or the one that the search has found."""
    keeps_weights: bool
    """Whether to keep the final weights, for cells that start from them."""
    looks_inside: bool = False
    """Whether to leave pictures and numbers of the trained model's filters, positions and attention."""
    home: Path
    """Root of the workspace."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    """`cpu` or the GPU's name."""
    driver: str | None
    """NVIDIA driver."""
    bfloat16: bool
    """Whether to run under bfloat16 autocast."""
    channels_last: bool
    """Whether images lie channels-last."""
    device_shared: bool
    """Whether other cells run on the same device meanwhile."""
    at_once: int = 1
    """So many cells share a GPU: each may fill no more than its part of the memory."""
    way: StepWay = StepWay.PLAIN
    """How training steps are to be taken; where that fails they are plain, and the record says so."""
    choices: tuple[Choice, ...]
    """Automatic choices made so far, to be recorded."""
    command: str
    """Command line of the run."""
    commit: str | None
    """Commit of the source tree."""


class Probe(Spec):
    """What to time, and where."""

    kind: Literal["probe"] = "probe"
    model: ModelSpec
    """Architecture."""
    recipe: Recipe
    """Recipe, one family's."""
    image_size: int
    """Side of the data set's images in pixels."""
    num_channels: int
    """1 or 3."""
    num_classes: int
    """Number of classes."""
    device: str
    """`cpu` or `cuda`."""
    bfloat16: bool
    """Whether to run under bfloat16 autocast."""
    channels_last: bool
    """Whether images lie channels-last."""
    num_steps: int
    """Steps to time."""
    until_enough: bool = False
    """Whether to go on with blocks of steps until told that it is enough, as several workers must that are timed together."""
    at_once: int = 1
    """So many workers share a GPU: each may fill no more than its part of the memory."""
    way: StepWay = StepWay.PLAIN
    """How the steps to be timed are taken."""
    cache: Path | None = None
    """Folder for compiled code, where steps are compiled."""


class Enough(Spec):
    """An open-ended probe may end; the answer to this itself is that the worker is ready again."""

    kind: Literal["enough"] = "enough"


class Trial(Spec):
    """What to measure for `vitrepro bench`, and where."""

    kind: Literal["trial"] = "trial"
    model: ModelSpec
    """Architecture."""
    recipe: Recipe
    """Recipe, one family's, settled for the size."""
    image_size: int
    """Side of the data set's images in pixels."""
    num_channels: int
    """1 or 3."""
    num_classes: int
    """Number of classes."""
    flip_keeps_label: bool
    """Whether mirroring is allowed."""
    num_images: int
    """Images of the data set's training part."""
    num_train_images: int
    """Images of the subset that is trained on."""
    seconds: float
    """How long each of the three measurements may take, about."""
    folder: Path
    """Where log and state may be written; emptied afterwards by whoever asks."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    """`cpu` or the GPU's name."""
    driver: str | None
    """NVIDIA driver."""
    bfloat16: bool
    """Whether to run under bfloat16 autocast."""
    channels_last: bool
    """Whether images lie channels-last."""
    way: StepWay = StepWay.PLAIN
    """Where not plain, only the bare step taken in this way is to be measured."""
    cache: Path | None = None
    """Folder for compiled code, where steps are compiled."""
    command: str
    """Command line of the benchmark."""
    commit: str | None
    """Commit of the source tree."""


class Ready(Spec):
    """The worker has started and takes orders."""

    kind: Literal["ready"] = "ready"


class Steady(Spec):
    """An open-ended probe has warmed up and takes steps from now on."""

    kind: Literal["steady"] = "steady"


class Progress(Spec):
    """A logging interval of the running cell has ended."""

    kind: Literal["progress"] = "progress"
    step: int
    """Optimizer steps done."""


class Done(Spec):
    """The cell is finished and its record written."""

    kind: Literal["done"] = "done"
    worker_is_spoilt: bool = False
    """Whether the process should not be given another cell all the same."""
    test_accuracy: float | None
    """As in the record."""
    dev_accuracy: float | None
    """As in the record."""
    total_s: float
    """As in the record."""


class Block(Spec):
    """Steps that were timed in one go; the device had done them all when it ended."""

    began_s: float
    """On the machine's monotonic clock, which all processes share."""
    ended_s: float
    """Likewise."""
    num_steps: float
    """Steps of the whole batch; not a whole number where fewer images than a batch were taken."""


class Measured(Spec):
    """The answer to a probe."""

    kind: Literal["measured"] = "measured"
    step_s: float
    """Seconds of one step."""
    ready_s: float = 0.0
    """Seconds that it took to compile the steps or to record them as graphs; 0 for plain ones."""
    image_s: float = 0.0
    """Seconds of one image's evaluation; 0 where it is not known and small."""
    num_parameters: int
    """Trainable parameters of the model."""
    blocks: tuple[Block, ...] = ()
    """The timed steps."""
    peak_bytes: int = 0
    """GPU memory that the process needed at its peak, without CUDA's own."""
    free_bytes: int = 0
    """GPU memory that was free before."""


class Tried(Spec):
    """The answer to a trial."""

    kind: Literal["tried"] = "tried"
    speed: Speed
    """What was measured."""
    environment: Environment
    """Versions and hardware."""


class TriedWay(Spec):
    """The answer to a trial of steps that are not plain."""

    kind: Literal["tried_way"] = "tried_way"
    speed: WaySpeed
    """What was measured."""


class Failed(Spec):
    """The order could not be carried out."""

    kind: Literal["failed"] = "failed"
    error: str
    """Name of the exception."""
    message: str
    """What went wrong."""
    remedy: str
    """What to do next."""
    traceback: str
    """Empty for expected problems."""
    stops_the_run: bool
    """Whether every other cell would meet the same problem (a full disk)."""
    worker_is_spoilt: bool
    """Whether the process must be replaced (after a CUDA fault or running out of memory)."""


Answer = Annotated[Ready | Steady | Progress | Done | Measured | Tried | TriedWay | Failed, Field(discriminator="kind")]
"""Everything a worker says."""
ANSWERS: TypeAdapter[Ready | Steady | Progress | Done | Measured | Tried | TriedWay | Failed] = TypeAdapter(Answer)
"""Reads an answer from JSON."""

ORDERS: TypeAdapter[Job | Probe | Trial | Enough] = TypeAdapter(
    Annotated[Job | Probe | Trial | Enough, Field(discriminator="kind")]
)
"""Reads an order from JSON."""
