"""What a study will take before it runs: the fits to do, their predicted times, the memory and disk they need."""

from __future__ import annotations

import logging
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from threading import BrokenBarrierError

from qlcnet.config import Params
from qlcnet.cost.calibration import FinishedFit, calibrated_on, finished_fits, probed_here, startup_of
from qlcnet.cost.cost_model import CostModel, Timed
from qlcnet.cost.room import IMPORTS, auto_workers, data_disk, fit_disk
from qlcnet.cost.schedule import makespan, simulate
from qlcnet.cost.workload import NetworkKind, NetworkSize, Work
from qlcnet.data.imageset import DataError
from qlcnet.fit.spec import FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.fit.task_data import NotPreparedError
from qlcnet.grid.counting import count_in_a_worker
from qlcnet.grid.grid import Grid, channels_of, expected_grid, plan_grid
from qlcnet.grid.probe import probe
from qlcnet.grid.progress import said_while
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")


@dataclass
class TaskForecast:
    """One task: its grid, the work and predicted seconds of each fit to do, its finished fits."""

    grid: Grid
    is_split: bool  # its folds are on disk; else planned from what is known of the source
    work: dict[str, Work] = field(default_factory=dict)  # of fits to do, by name
    seconds: dict[str, float] = field(default_factory=dict)
    finished: list[tuple[FitSpec, FinishedFit]] = field(default_factory=list)
    workers: int = 1


@dataclass
class Forecast:
    """All tasks of params.yaml. `unknown`: tasks of which nothing is known before `fetch`."""

    params: Params
    tasks: list[TaskForecast]
    unknown: list[str]
    model: CostModel
    startup: float

    def makespan(self, task: TaskForecast) -> float:
        """Seconds of a task's grid, the start of its workers included; 0 when nothing is to do."""
        return makespan(simulate(list(task.seconds.values()), task.workers, startup=self.startup))

    @property
    def workers(self) -> int:
        """Fits at a time, of the task that can use most."""
        return max((task.workers for task in self.tasks), default=1)

    @property
    def memory(self) -> float:
        """Bytes for all workers at the most demanding task: each one's own, and once the imports and the images."""
        needs = [0.0]
        for task in self.tasks:
            if task.work and (private := task.grid.most_memory(task.work)):
                needs.append(IMPORTS + task.workers * private + self.data(task))
        return max(needs)

    @property
    def disk(self) -> tuple[float, float]:
        """Bytes that the fits to do add to the store, and that data not there yet will take."""
        fits = data = 0.0
        for task in self.tasks:
            assert task.grid.shape is not None
            epochs = {spec.name: spec.training.epochs for spec in task.grid.todo}
            fits += sum(fit_disk(work, task.grid.shape, epochs[name]) for name, work in task.work.items())
            data += 0.0 if task.is_split else self.data(task)
        return fits, data

    def data(self, task: TaskForecast) -> float:
        """Bytes of a task's images and channels."""
        return data_bytes(self.params, task.grid)


def data_bytes(params: Params, grid: Grid) -> float:
    """Bytes of a task's images and of the stored channels that models read."""
    assert grid.shape is not None
    per_position = {}
    for name in channels_of(params):
        if circuit := params.circuits.get(name):
            size = 2 if circuit.storage == "float16" else 1
            per_position[name] = circuit.channels(grid.shape.channels) * size / circuit.stride**2
        else:  # at most: float32 in the image's size
            per_position[name] = 4.0 * grid.stored[name]
    return data_disk(grid.shape, per_position)


def make_forecast(params: Params, root: Path, workers: int | None) -> Forecast:
    """Forecast all tasks; `workers` None: as many as this machine carries."""
    store = FoldStore(Project(root).store)
    fits = finished_fits(store)
    by_fingerprint = {fit.fingerprint: fit for fit in fits}
    forecast = Forecast(params, [], [], CostModel(), startup_of(fits))
    for name in params.datasets:
        task = _forecast_task(params, name, root, store)
        if task is None:
            forecast.unknown.append(name)
            continue
        task.finished = [(s, by_fingerprint[s.fingerprint]) for s in task.grid.specs if s.fingerprint in by_fingerprint]
        forecast.tasks.append(task)
    carried = 1  # fits at a time that this machine carries
    for task in forecast.tasks:
        task.work = task.grid.work(store, _count)
        if not (todo := task.grid.todo):
            continue
        needs = task.grid.most_memory(task.work)
        automatic = auto_workers(len(todo), todo[0].device, needs, forecast.data(task))  # as `train` does
        task.workers = min(workers or automatic, len(todo))
        carried = max(carried, min(automatic, task.workers))
    unknown = {w.device for task in forecast.tasks for w in task.work.values()} - {fit.work.device for fit in fits}
    forecast.model = calibrated_on(fits, probed_here(store, carried, _probe if "cpu" in unknown else None))
    for task in forecast.tasks:
        task.seconds = {name: forecast.model.seconds(work) for name, work in task.work.items()}
    return forecast


def _forecast_task(params: Params, name: str, root: Path, store: FoldStore) -> TaskForecast | None:
    try:
        grid = plan_grid(params, name, root, store)
        protocol = params.datasets[name].protocol
        assert grid.shape is not None
        if (grid.shape.folds, grid.shape.repeats) == (
            1 if protocol.kind == "official" else protocol.folds,
            protocol.repeats,
        ):
            return TaskForecast(grid, True)
        log.debug("%s: the fold table is of other params", name)
    except (NotPreparedError, DataError) as error:
        log.debug("%s: %s", name, error)
    expected = expected_grid(params, name)
    return TaskForecast(expected, False) if expected else None


def _count(kinds: list[NetworkKind]) -> list[NetworkSize]:
    with said_while(f"counting the sizes of {len(kinds)} networks, for time and memory (once; about 10 s)"):
        return count_in_a_worker(kinds)


def _probe(workers: int) -> list[Timed]:
    what = f"timing short fits of noise, {workers} at a time, as none has finished on this machine yet"
    try:
        with said_while(f"{what} (once; about 10 s)"):
            return probe(workers)
    except (BrokenProcessPool, BrokenBarrierError, OSError) as error:
        log.warning("the short fits did not end (%r): times are those of another machine", error)
        return []
