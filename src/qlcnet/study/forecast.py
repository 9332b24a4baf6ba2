"""Plans a study before it runs: the fits to do, their predicted times, the memory and disk they need."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from qlcnet.config import Params
from qlcnet.data.imageset import DataError
from qlcnet.paths import fold_store
from qlcnet.study.calibration import FinishedFit, calibrated_on, finished_fits, startup_of
from qlcnet.study.cost_model import CostModel
from qlcnet.study.executors import auto_workers, count_networks
from qlcnet.study.grid import Grid, NotPreparedError, circuits_of, expected_grid, plan_grid
from qlcnet.study.room import IMPORTS, data_disk, fit_disk, worker_memory
from qlcnet.study.schedule import makespan, simulate
from qlcnet.study.spec import FitSpec
from qlcnet.study.store import FoldStore
from qlcnet.study.workload import NetworkKind, NetworkSize, Work, count_sizes

log = logging.getLogger("qlcnet")


@dataclass
class TaskPlan:
    """One task: its grid, the work and predicted seconds of each fit to do, its finished fits."""

    grid: Grid
    is_split: bool  # its folds are on disk; else planned from what is known of the source
    work: dict[str, Work] = field(default_factory=dict)  # of fits to do, by name
    seconds: dict[str, float] = field(default_factory=dict)
    finished: list[tuple[FitSpec, FinishedFit]] = field(default_factory=list)


@dataclass
class Plan:
    """All tasks of params.yaml on `workers` workers. `unknown`: tasks of which nothing is known before `fetch`."""

    params: Params
    tasks: list[TaskPlan]
    unknown: list[str]
    workers: int
    model: CostModel
    startup: float

    def makespan(self, task: TaskPlan) -> float:
        """Seconds of a task's grid, the start of its workers included; 0 when nothing is to do."""
        return makespan(simulate(list(task.seconds.values()), self.workers, startup=self.startup))

    @property
    def memory(self) -> float:
        """Bytes for all workers at the most demanding task: each one's own, and once the imports and the images."""
        needs = [0.0]
        for task in self.tasks:
            batch = self.params.training.batch_size
            private = max((worker_memory(work, batch) for work in task.work.values()), default=0.0)
            if private:
                needs.append(IMPORTS + self.workers * private + self._data(task))
        return max(needs)

    @property
    def disk(self) -> tuple[float, float]:
        """Bytes that the fits to do add to the store, and that data not there yet will take."""
        fits = data = 0.0
        for task in self.tasks:
            assert task.grid.shape is not None
            epochs = self.params.training.epochs
            fits += sum(fit_disk(work, task.grid.shape, epochs) for work in task.work.values())
            data += 0.0 if task.is_split else self._data(task)
        return fits, data

    def _data(self, task: TaskPlan) -> float:
        assert task.grid.shape is not None
        per_position = {}
        for name in circuits_of(self.params):
            circuit = self.params.circuits[name]
            channels = 4 * (task.grid.shape.channels if circuit.colour == "channels" else 1)
            per_position[name] = channels * (2 if circuit.storage == "float16" else 1) / circuit.stride**2
        return data_disk(task.grid.shape, per_position)


def make_plan(params: Params, root: Path, workers: int | None) -> Plan:
    """Plan all tasks; `workers` None: as many as this machine carries."""
    store = FoldStore(fold_store(root))
    fits = finished_fits(store)
    by_fingerprint = {fit.fingerprint: fit for fit in fits}
    plan = Plan(params, [], [], workers or 1, calibrated_on(fits), startup_of(fits))
    for name in params.datasets:
        task = _task_plan(params, name, root, store)
        if task is None:
            plan.unknown.append(name)
            continue
        task.finished = [(s, by_fingerprint[s.fingerprint]) for s in task.grid.specs if s.fingerprint in by_fingerprint]
        plan.tasks.append(task)
    _predict(plan, store.root.parent / "network_sizes.json")
    if workers is None:
        todo = [spec for task in plan.tasks for spec in task.grid.todo]
        work = [w for task in plan.tasks for w in task.work.values()]
        needs = max((worker_memory(w, params.training.batch_size) for w in work), default=0.0)
        data = max((plan._data(task) for task in plan.tasks), default=0.0)
        plan.workers = auto_workers(len(todo), todo[0].device, needs, data) if todo else 1
    return plan


def _task_plan(params: Params, name: str, root: Path, store: FoldStore) -> TaskPlan | None:
    try:
        grid = plan_grid(params, name, root, store)
        protocol = params.datasets[name].protocol
        assert grid.shape is not None
        if (grid.shape.folds, grid.shape.repeats) == (
            1 if protocol.kind == "official" else protocol.folds,
            protocol.repeats,
        ):
            return TaskPlan(grid, True)
        log.debug("%s: the fold table is of other params", name)
    except (NotPreparedError, DataError) as error:
        log.debug("%s: %s", name, error)
    expected = expected_grid(params, name)
    return TaskPlan(expected, False) if expected else None


def _predict(plan: Plan, cache: Path) -> None:
    kinds = {id(spec): task.grid.kind(spec) for task in plan.tasks for spec in task.grid.todo}
    sizes = count_sizes(kinds.values(), cache, _count)
    for task in plan.tasks:
        assert task.grid.shape is not None
        for spec in task.grid.todo:
            kind = kinds[id(spec)]
            task.work[spec.name] = work = Work.of(spec, task.grid.shape, kind, sizes[kind.key])
            task.seconds[spec.name] = plan.model.seconds(work)


def _count(kinds: list[NetworkKind]) -> list[NetworkSize]:
    log.info("counting %d networks (imports torch, once)", len(kinds))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return count_networks(kinds)
