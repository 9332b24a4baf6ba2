"""What a list of fits takes on W workers: longest first, each to the worker that is free first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple


class Slot(NamedTuple):
    """When and where a fit runs, in seconds from the start of the grid."""

    fit: int  # position in the list of durations
    worker: int
    start: float
    end: float


def longest_first(costs: Iterable[float]) -> list[int]:
    """Positions in the order in which fits are handed out: no long fit is left alone at the end. Ties keep order."""
    values = list(costs)
    return sorted(range(len(values)), key=lambda i: -values[i])


def simulate(
    seconds: list[float], workers: int, costs: list[float] | None = None, startup: float = 0.0, handover: float = 0.0
) -> list[Slot]:
    """The schedule of fits that take `seconds`, handed out by `costs` (default: by `seconds`).

    `startup` passes once a worker before its first fit (imports); `handover` before every fit (its data and result on
    their way), during which the worker idles. Graham's bound holds: at most 4/3 - 1/(3 workers) of the best schedule.
    """
    free = [(startup, worker) for worker in range(workers)]
    slots = []
    for fit in longest_first(seconds if costs is None else costs):
        start, worker = heapq.heappop(free)
        end = start + handover + seconds[fit]
        slots.append(Slot(fit, worker, start + handover, end))
        heapq.heappush(free, (end, worker))
    return slots


def makespan(slots: list[Slot]) -> float:
    """When the last fit ends."""
    return max((slot.end for slot in slots), default=0.0)
