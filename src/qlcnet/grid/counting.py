"""Counts networks in a process of its own: this one need not import torch."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from qlcnet.grid.engine import EngineError
from qlcnet.grid.worker_process import end_with_the_parent, worker_context

if TYPE_CHECKING:
    from qlcnet.cost.workload import NetworkKind, NetworkSize


def count_in_a_worker(kinds: list[NetworkKind]) -> list[NetworkSize]:
    """Count networks; this process need not import torch, and what the worker imports those of a grid share."""
    with ProcessPoolExecutor(1, worker_context(), end_with_the_parent) as pool:
        try:
            return pool.submit(_count_networks, kinds).result()
        except BrokenProcessPool:
            raise EngineError("the process that counted the networks died (out of memory?)") from None


def _count_networks(kinds: list[NetworkKind]) -> list[NetworkSize]:
    from qlcnet.cost.network_size import network_sizes

    return network_sizes(kinds)
