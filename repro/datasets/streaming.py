"""A part of a data set that does not fit on the device: batches are read from its mapped file while the step before computes.

One background thread gathers the batch asked for next into one of two host buffers and starts its copy to the device, on a
stream of its own. The batches are bitwise those of `DeviceImages`. Must not know recipes, models or augmentation. Read
`StreamedImages.batch` first, then `place_images`.

Shape letters: N images of the part, B images of a batch, C channels, H height, W width.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.datasets.arrays import Images
from repro.datasets.device import DeviceImages, PartImages, PartName, arrays_of
from repro.datasets.pack import Pack

BYTES_PER_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The images of one batch on their way to the device."""

    x_BHWC: Tensor
    """uint8 (B, H, W, C) on the device, in ascending order of their positions; on a CPU the host buffer itself."""
    rank_B: npt.NDArray[np.int64]
    """Place in `x_BHWC` of each image of the batch."""
    copied: "torch.cuda.Event | None"
    """Passed once the copy is complete; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A batch that was asked for beforehand."""

    positions_B: Tensor
    """The positions asked for."""
    result: "Future[Gathered]"
    """What the thread makes of them."""
    buffer: "HostBuffer"
    """Where it does."""


class StreamedImages(PartImages):
    """One part of a data set, left on the disk, in the pack's order. Ends its thread when closed."""

    def __init__(
        self,
        pack: Pack,
        *,
        part: PartName,
        device: str | torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """Take room for nothing yet but the labels. Raises OutOfMemory when these do not fit."""
        super().__init__(pack, part=part, device=device, memory_format=memory_format)
        self._stream = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._buffers = (HostBuffer(self._images_NHWC, self._stream), HostBuffer(self._images_NHWC, self._stream))
        self._pending: Pending | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")

    def batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `PartImages.batch`, for positions on the CPU; those of the last `prefetch` cost the least.

        Raises what reading the file raised, in whichever thread.
        """
        pending = self._pending
        if pending is not None and torch.equal(pending.positions_B, positions_B):
            self._pending = None
            gathered = pending.result.result()
        else:
            gathered = self._buffer_beside(pending).gather(positions_B)
        x_BHWC = gathered.x_BHWC
        if gathered.copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(gathered.copied)
            # The allocator must not give the memory away while this stream still reads it.
            x_BHWC.record_stream(current)
        rank_B = torch.from_numpy(gathered.rank_B).to(self._device, non_blocking=True)
        positions_B = positions_B.to(self._device, non_blocking=True)
        return self._as_grey_values(x_BHWC[rank_B]), self._labels_N[positions_B]

    def prefetch(self, positions_B: Tensor) -> None:
        """Start to read these positions; an earlier request that nobody has asked for is dropped."""
        buffer = self._buffer_beside(None) if self._pending is None else self._pending.buffer
        # One thread: a dropped request is finished with its buffer before the next one starts.
        result = self._thread.submit(buffer.gather, positions_B)
        self._pending = Pending(positions_B=positions_B, result=result, buffer=buffer)

    def close(self) -> None:
        """Wait for the thread and end it."""
        self._pending = None
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _buffer_beside(self, pending: Pending | None) -> "HostBuffer":
        """The buffer that no pending request writes to, and the less recently used one where both are free."""
        first, second = self._buffers
        if pending is not None:
            return second if pending.buffer is first else first
        self._buffers = (second, first)
        return first


class HostBuffer:
    """Room for the images of one batch in host memory, pinned where a stream copies them to a GPU. Grows as needed."""

    def __init__(self, images_NHWC: Images, stream: "torch.cuda.Stream | None") -> None:
        self._images_NHWC = images_NHWC
        self._stream = stream
        self._values = self._room_for(0)
        self._copied: torch.cuda.Event | None = None

    def gather(self, positions_B: Tensor) -> Gathered:
        """Read the images at these positions, and start their copy. Waits until the copy before has left the buffer.

        Raises IndexError for a position outside the part, and what reading the file raises.
        """
        positions = positions_B.numpy()
        order = np.argsort(positions, kind="stable")
        ascending = positions[order]
        if len(ascending) and not 0 <= ascending[0] <= ascending[-1] < len(self._images_NHWC):
            raise IndexError(f"positions {ascending[0]} … {ascending[-1]} of {len(self._images_NHWC)} images")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        if self._copied is not None:
            self._copied.synchronize()
        if len(self._values) < len(positions):
            self._values = self._room_for(len(positions))
        x_BHWC = self._values[: len(positions)]
        # The file is read in ascending order; the batch's own order is restored on the device. The mode only spares numpy a
        # buffer of its own: nothing is clipped.
        np.take(self._images_NHWC, ascending, axis=0, out=x_BHWC.numpy(), mode="clip")
        if self._stream is None:
            return Gathered(x_BHWC=x_BHWC, rank_B=rank, copied=None)
        with torch.cuda.stream(self._stream):
            on_device_BHWC = x_BHWC.to(self._stream.device, non_blocking=True)
            self._copied = self._stream.record_event()
        return Gathered(x_BHWC=on_device_BHWC, rank_B=rank, copied=self._copied)

    def _room_for(self, num_images: int) -> Tensor:
        shape = (num_images, *self._images_NHWC.shape[1:])
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self._stream is not None)


def place_images(
    pack: Pack,
    *,
    part: PartName,
    device: str | torch.device,
    memory_format: torch.memory_format,
    budget_bytes: int,
) -> tuple[DeviceImages | StreamedImages, str]:
    """Images that lie on the device if the part's bytes fit into the budget, else streamed ones, and why in one sentence.

    Raises OutOfMemory when the device cannot hold what the budget allows.
    """
    size_bytes = arrays_of(pack, part)[0].nbytes
    is_resident = size_bytes <= budget_bytes
    kind = DeviceImages if is_resident else StreamedImages
    images = kind(pack, part=part, device=device, memory_format=memory_format)
    relation = "fit into" if is_resident else "exceed"
    return images, (
        f"{size_bytes / BYTES_PER_GIB:.3g} GiB of {part} images {relation} "
        f"the {max(0, budget_bytes) / BYTES_PER_GIB:.3g} GiB left for them"
    )
