"""The train stage of one task: plan the grid, fit what is missing, link the results, bring the tracking up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from qlcnet import git, machine
from qlcnet.config import Params
from qlcnet.cost.room import auto_workers, deal
from qlcnet.fit.spec import DataPaths
from qlcnet.fit.store import FoldStore
from qlcnet.grid.engine import Engine, OnEvent
from qlcnet.grid.grid import DECIDING, Grid, channels_of, link_results, plan_grid
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.local import LocalEngine
from qlcnet.grid.progress import ProgressBar
from qlcnet.grid.run import GridError, run_grid
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")


def train_task(params: Params, task: str, root: Path, workers: int | None, scheduler: str | None) -> None:
    """Fit every fold of `task` that the store lacks; leaves `results/folds/<task>` and the tracking store complete.

    `workers` None: as many as this machine's cores and memory carry. `scheduler`: address of a Dask scheduler.
    """
    from qlcnet.tracking import GridTracker

    started = time.perf_counter()
    store = FoldStore(Project(root).store)
    grid = plan_sound_grid(params, task, root, store)
    log.info(
        "%s: %d fits, %d in the store, %d to do",
        task,
        len(grid.specs),
        len(grid.specs) - len(grid.todo),
        len(grid.todo),
    )
    commit, dirty = git.head(root), git.differs(root, DECIDING)
    bar = ProgressBar(task, grid.todo, len(grid.specs) - len(grid.todo))
    tracker = GridTracker(grid, root, store)
    try:
        keeper = Keeper.of(grid, store, {"commit": commit, "dirty": dirty}, workers)
        try:
            run_grid(grid.todo, _engine_for(params, grid, root, keeper, workers, scheduler), keeper, [bar, tracker])
        except GridError as error:
            if error.failures:  # the report can show the models that are whole, and name the others
                link_results(grid, store, Project(root).fits, error.failures)
                tracker.complete(seconds=time.perf_counter() - started)
            raise
        link_results(grid, store, Project(root).fits)
        tracker.complete(seconds=time.perf_counter() - started)
    finally:
        bar.close()
        tracker.close()


def plan_sound_grid(params: Params, task: str, root: Path, store: FoldStore) -> Grid:
    """The grid of a task; stored fits whose files are not what was written are set aside, and are to do again."""
    grid = plan_grid(params, task, root, store)
    stored = {spec.fingerprint for spec in grid.specs} - {spec.fingerprint for spec in grid.todo}
    damaged = {fingerprint: problem for fingerprint in sorted(stored) if (problem := store.problem(fingerprint))}
    for fingerprint, problem in damaged.items():
        store.set_aside(fingerprint, problem)
    return plan_grid(params, task, root, store) if damaged else grid


def _engine_for(
    params: Params, grid: Grid, root: Path, keeper: Keeper, workers: int | None, scheduler: str | None
) -> Callable[[OnEvent], Engine]:
    """What opens the engine when the first fit is to run, and again after its workers died."""
    paths, channels, device = DataPaths.of(root, grid.task), channels_of(params), grid.specs[0].device
    if scheduler:
        from qlcnet.grid.cluster.engine import DaskEngine

        weights = dict.fromkeys(w for spec in grid.todo if isinstance(w := spec.backbone.pretrained, str))
        return lambda on_event: DaskEngine(scheduler, paths, channels, on_event, tuple(weights), device)

    def open_local(on_event: OnEvent) -> Engine:
        needs = grid.most_memory({name: expected.work for name, expected in keeper.expected.items()})
        copied = paths.size(channels) if device == "cuda" else 0
        todo = len(keeper.expected)
        count = min(workers or auto_workers(todo, device, needs, copied), todo)
        gpus = deal(machine.accelerators(), count, needs + copied) if device == "cuda" else []
        return LocalEngine(paths, channels, count, on_event, gpus)

    return open_local
