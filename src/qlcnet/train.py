"""The train stage of one task: plan the grid, fit what is missing, link the results, bring the tracking up to date."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from qlcnet import git
from qlcnet.config import Params
from qlcnet.fit.store import FoldStore
from qlcnet.grid.engines import engine_for
from qlcnet.grid.grid import DECIDING, Grid, link_results, plan_grid
from qlcnet.grid.keeper import Keeper
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
            run_grid(grid.todo, engine_for(params, grid, root, keeper, workers, scheduler), keeper, [bar, tracker])
        except GridError as error:
            if error.failures:  # the report can show the models that are whole, and name the others
                link_results(grid, store, Project(root).fits, error.failures)
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
