"""The train stage of one task: plan the grid, fit what is missing, link the results, bring the tracking up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qlcnet import git
from qlcnet.config import Params
from qlcnet.declarations import declare
from qlcnet.fit.fold_folder import read_history
from qlcnet.fit.store import FoldStore
from qlcnet.grid.engines import engine_for
from qlcnet.grid.grid import DECIDING, Grid, link_results, only, plan_grid
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.progress import ProgressBar
from qlcnet.grid.run import GridError, run_grid
from qlcnet.grid.text import table
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
    there, commit = len(grid.specs) - len(grid.todo), git.head(root) or "none"
    if declare(Project(root).declarations, task, params.evidence, commit, there):
        log.info(
            "%s: the section `evidence` is declared, with %d of its fits there: commit declarations.csv", task, there
        )
    Project(root).reproductions.mkdir(exist_ok=True)  # which the report stage depends on
    bar = ProgressBar(task, grid.todo, len(grid.specs) - len(grid.todo))
    tracker = GridTracker(grid, root, store)
    try:
        keeper = Keeper.of(grid, store, _provenance(root), workers)
        try:
            run_grid(grid.todo, engine_for(params, grid, root, keeper, workers, scheduler), keeper, [bar, tracker])
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


def train_only(
    params: Params, task: str, root: Path, patterns: Sequence[str], workers: int | None, scheduler: str | None
) -> str:
    """Fit those folds of `task` alone that some pattern names (grid.only) and the store lacks; returns a table of them.

    They are kept in the store, where the whole stage finds them; `results/` and the tracking store wait for that.
    """
    store = FoldStore(Project(root).store)
    grid = only(plan_sound_grid(params, task, root, store), patterns)
    log.info("%s: %d of the fits, %d to do", task, len(grid.specs), len(grid.todo))
    keeper = Keeper.of(grid, store, _provenance(root), workers)
    bar = ProgressBar(task, grid.todo, len(grid.specs) - len(grid.todo))
    try:
        run_grid(grid.todo, engine_for(params, grid, root, keeper, workers, scheduler), keeper, [bar])
    finally:
        bar.close()
    rows = [["fit", "val accuracy", "val macro AUC", "folder"]]
    for spec in grid.specs:
        folder = store.path(spec.fingerprint)
        last = read_history(folder)[-1]
        rows.append([spec.name, f"{last['val_accuracy']:.3f}", f"{last['val_auc_macro']:.3f}", str(folder)])
    return table(rows)


def _provenance(root: Path) -> dict[str, Any]:
    return {"commit": git.head(root), "dirty": git.differs(root, DECIDING)}


def plan_sound_grid(params: Params, task: str, root: Path, store: FoldStore) -> Grid:
    """The grid of a task; stored fits whose files are not what was written are set aside, and are to do again."""
    grid = plan_grid(params, task, root, store)
    stored = {spec.fingerprint for spec in grid.specs} - {spec.fingerprint for spec in grid.todo}
    damaged = {fingerprint: problem for fingerprint in sorted(stored) if (problem := store.problem(fingerprint))}
    for fingerprint, problem in damaged.items():
        store.set_aside(fingerprint, problem)
    return plan_grid(params, task, root, store) if damaged else grid
