"""The train stage of one task: plan the grid, fit what is missing, link the results, bring the tracking up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from qlcnet.config import Params
from qlcnet.paths import fold_store
from qlcnet.study import machine
from qlcnet.study.executors import WORKER_MEMORY, Engine, LocalEngine, OnEvent, auto_workers
from qlcnet.study.grid import Grid, circuits_of, git_state, link_results, note_inputs, plan_grid
from qlcnet.study.progress import ProgressBar
from qlcnet.study.room import most_memory
from qlcnet.study.run import run_grid
from qlcnet.study.spec import DataPaths
from qlcnet.study.store import FoldStore

log = logging.getLogger("qlcnet")


def train_task(params: Params, task: str, root: Path, workers: int | None, scheduler: str | None) -> None:
    """Fit every fold of `task` that the store lacks; leaves `results/folds/<task>` and the tracking store complete.

    `workers` None: as many as this machine's cores and memory carry. `scheduler`: address of a Dask scheduler.
    """
    from qlcnet.tracking import GridTracker

    started = time.perf_counter()
    store = FoldStore(fold_store(root))
    grid = plan_grid(params, task, root, store)
    log.info(
        "%s: %d fits, %d in the store, %d to do",
        task,
        len(grid.specs),
        len(grid.specs) - len(grid.todo),
        len(grid.todo),
    )
    commit, dirty = git_state(root)
    bar = ProgressBar(task, grid.todo, len(grid.specs) - len(grid.todo))
    tracker = GridTracker(grid, root, store)
    try:
        run_grid(
            grid,
            store,
            _engine_for(params, grid, root, workers, scheduler),
            [bar, tracker],
            {"commit": commit, "dirty": dirty},
        )
        link_results(grid, store, root / "results" / "folds")
        note_inputs(root, task, root / "results" / "folds")
        tracker.complete(seconds=time.perf_counter() - started)
    finally:
        bar.close()
        tracker.close()


def _engine_for(
    params: Params, grid: Grid, root: Path, workers: int | None, scheduler: str | None
) -> Callable[[OnEvent], Engine]:
    """What opens the engine when the first fit is to run, and again after its workers died."""
    paths, circuits, device = DataPaths.of(root, grid.task), circuits_of(params), grid.specs[0].device
    if scheduler:
        from qlcnet.study.cluster import DaskEngine

        weights = dict.fromkeys(w for spec in grid.todo if isinstance(w := spec.backbone.pretrained, str))
        return lambda on_event: DaskEngine(scheduler, paths, circuits, on_event, tuple(weights), device)
    gpus = machine.accelerators() if device == "cuda" else ()
    count = workers or _as_many_as_fit(params, grid, paths.size(circuits) if device == "cuda" else 0)
    return lambda on_event: LocalEngine(paths, circuits, min(count, len(grid.todo)), on_event, gpus)


def _as_many_as_fit(params: Params, grid: Grid, data: int) -> int:
    """Fits at a time on this machine."""
    assert grid.shape is not None
    side = params.training.input_size
    height, width = (side, side) if side else (grid.shape.height, grid.shape.width)
    memory = max(WORKER_MEMORY, most_memory(height, width, params.training.batch_size))
    return auto_workers(len(grid.todo), grid.specs[0].device, memory, data)
