"""Which engine a grid runs on: this machine's worker processes, as many as it carries, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qlcnet import machine
from qlcnet.config import Params
from qlcnet.cost.room import auto_workers, deal
from qlcnet.fit.spec import DataPaths
from qlcnet.grid.engine import Engine, OnEvent
from qlcnet.grid.grid import Grid, channels_of
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.local import LocalEngine
from qlcnet.paths import Project


def engine_for(
    params: Params, grid: Grid, root: Path, keeper: Keeper, workers: int | None, scheduler: str | None = None
) -> Callable[[OnEvent], Engine]:
    """What opens the engine when the first fit is to run, and again after its workers died.

    `root` holds the task's images, folds and channels. `workers` None: as many as this machine's cores and memory
    carry.
    """
    paths, channels, device = DataPaths.of(root, grid.task), channels_of(params), grid.specs[0].device
    if scheduler:
        from qlcnet.grid.cluster.engine import DaskEngine

        weights = dict.fromkeys(w for spec in grid.todo if isinstance(w := spec.backbone.pretrained, str))
        numerics = params.training.numerics
        return lambda on_event: DaskEngine(scheduler, paths, channels, on_event, tuple(weights), device, numerics)

    def open_local(on_event: OnEvent) -> Engine:
        needs = grid.most_memory({name: expected.work for name, expected in keeper.expected.items()})
        copied = paths.size(channels) if device == "cuda" else 0
        todo = len(keeper.expected)
        count = min(workers or auto_workers(todo, device, needs, copied), todo)
        gpus = deal(machine.accelerators(), count, needs + copied) if device == "cuda" else []
        return LocalEngine(paths, channels, count, on_event, Project(root).scratch, gpus)

    return open_local
