"""How many cells of each kind run at once on one device, and why: decided by what was measured.

Several small cells fill a GPU that one leaves mostly idle. Pure: nothing is measured here. Must not know torch. Read `decide`,
then `Sharing`.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from repro.choices import Choice, chosen
from repro.messages import Block
from repro.records import Record
from repro.spec import Cell
from repro.timing.kinds import step_key

GAIN = 1.15
"""Twice as many cells at once must be so many times as fast: less is not worth that their seconds and joules are mixed."""
CONTEXT_BYTES = 2**29
"""GPU memory that CUDA itself takes for each process, roughly."""
FILLED = 0.85
"""Part of the free GPU memory that cells may fill together; the rest is for what a probe does not see."""
CELLS_AT_ONCE = "cells at once"
"""What a record calls the choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """How many cells of a kind run at once."""

    number: int
    """1 or more."""
    reason: str
    """Why so many, in words."""
    holds: bool = True
    """Whether later runs on the same device take it over; else it was so for this run only."""

    def choice(self) -> Choice:
        """For the record; `recorded` reads it."""
        return Choice(what=CELLS_AT_ONCE, value=str(self.number), reason=self.reason, holds=self.holds)


def recorded(record: Record) -> AtOnce:
    """What a finished cell's record tells; it ran alone where that tells nothing."""
    if (choice := chosen(record.choices, CELLS_AT_ONCE)) is None:
        return AtOnce(number=1, reason="", holds=False)
    return AtOnce(number=int(choice.value), reason=choice.reason, holds=choice.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on the cells at once."""

    number: int
    """1 or more."""
    reason: str
    """What bounds them, in words."""
    holds: bool = True
    """Whether later runs will find the same."""


def memory_limit(*, peak_bytes: int, image_bytes: int, free_bytes: int) -> Limit:
    """How many cells fit the GPU's free memory, where one step needs `peak_bytes` and the images lie on the GPU as well."""
    # Images that do not fit are streamed: `hardware.image_budget_bytes`.
    each_bytes = peak_bytes + min(image_bytes, free_bytes // 2) + CONTEXT_BYTES
    reason = f"each needs {each_bytes / 2**30:.1f} of the {free_bytes / 2**30:.1f} GiB that are free"
    return Limit(number=max(1, int(FILLED * free_bytes) // each_bytes), reason=reason)


def next_number(rates: Mapping[int, float], limit: Limit) -> int | None:
    """How many at once to measure next, twice as many as last; None when it is settled. `rates` as in `decide`."""
    if not rates:
        return 1
    *before, last = sorted(rates)
    is_worth_it = not before or rates[last] >= GAIN * rates[before[-1]]
    return 2 * last if is_worth_it and 2 * last <= limit.number else None


def decide(rates: Mapping[int, float], limit: Limit) -> AtOnce:
    """The most at once that were worth it. `rates` are steps a second of all together, by number at once: 1, 2, 4 …"""
    chosen, words = 1, list[str]()
    for before, number in pairwise(sorted(rates)):
        gain = rates[number] / rates[before]
        if gain < GAIN:
            slow = "no faster" if gain < 1.005 else f"only {gain:.2f} times as fast"
            words.append(f"{number} would be {slow}")
            return AtOnce(number=chosen, reason=", ".join(words))
        at_once, than = (" at once", "one") if before == 1 else ("", before)
        words.append(f"{number}{at_once} are {gain:.1f} times as fast as {than}")
        chosen = number
    words.append(f"no more, for {limit.reason}" if chosen > 1 else f"one at a time, for {limit.reason}")
    return AtOnce(number=chosen, reason=", ".join(words), holds=limit.holds)


def rate_together(blocks: Sequence[Sequence[Block]]) -> float:
    """Steps a second of several processes while all of them were taking steps; 0 where they never did. `blocks`: of each."""
    if not all(blocks):
        return 0.0
    began_s = max(min(block.began_s for block in own) for own in blocks)
    ended_s = min(max(block.ended_s for block in own) for own in blocks)
    if ended_s <= began_s:
        return 0.0
    num_steps = 0.0
    for block in (block for own in blocks for block in own if block.ended_s > block.began_s):
        inside_s = min(block.ended_s, ended_s) - max(block.began_s, began_s)
        num_steps += block.num_steps * max(0.0, inside_s) / (block.ended_s - block.began_s)
    return num_steps / (ended_s - began_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What part of the device each cell takes: running cells never take more than the whole of it."""

    otherwise: AtOnce
    """Of kinds that are not in `kinds`."""
    kinds: Mapping[str, AtOnce] = field(default_factory=dict)
    """By `step_key`."""
    on_gpu: bool = False
    """Whether cells share a GPU; on a CPU each has a core of its own."""
    alone: tuple[str, ...] = ()
    """Ids of cells that ran out of memory when they shared the GPU."""

    @property
    def num_workers(self) -> int:
        """Worker processes that this takes."""
        return max([self.otherwise.number, *(at_once.number for at_once in self.kinds.values())])

    def of(self, cell: Cell) -> AtOnce:
        """How many cells like this one run at once."""
        if cell.id in self.alone:
            return AtOnce(number=1, reason="it ran out of memory when it shared the GPU", holds=False)
        return self.kinds.get(step_key(cell), self.otherwise)

    def share(self, cell: Cell) -> Fraction:
        """The part of the device that the cell takes."""
        return Fraction(1, self.of(cell).number)


def by_cores(num_workers: int) -> Sharing:
    """As many cells as there are worker processes, whatever their kind."""
    return Sharing(otherwise=AtOnce(number=num_workers, reason="one per usable core", holds=False))


def seconds_together(cells: Iterable[tuple[float, Fraction]]) -> float:
    """How long cells take that start in order, each as soon as there is room; of each: seconds, and its part of the device."""
    running: list[tuple[float, int, Fraction]] = []
    now_s = end_s = 0.0
    taken = Fraction(0)
    for number, (seconds, share) in enumerate(cells):
        while taken + share > 1:
            now_s, _, freed = heapq.heappop(running)
            taken -= freed
        heapq.heappush(running, (now_s + seconds, number, share))
        taken += share
        end_s = max(end_s, now_s + seconds)
    return end_s
