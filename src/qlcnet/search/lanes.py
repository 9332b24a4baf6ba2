"""Fits of trials on the grid's engines: one worker a lane, kept from fit to fit, and what it fits kept in the store.

A lane runs one fit at a time with the grid's own `run_grid`, so that a worker that is killed is replaced and its fit
done again, and one that dies each time (out of memory) fails that trial alone: other lanes have workers of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from qlcnet import machine
from qlcnet.config import Params
from qlcnet.cost.calibration import calibrated_on, finished_fits, probed_here
from qlcnet.cost.cost_model import CostModel
from qlcnet.fit.fold_folder import PREDICTIONS, VALIDATION, read_config, read_provenance
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.grid.counting import count_in_a_worker
from qlcnet.grid.engine import Engine, EngineError, Event, OnEvent
from qlcnet.grid.engines import engine_for
from qlcnet.grid.grid import Grid, channels_of
from qlcnet.grid.keeper import Expected, Keeper
from qlcnet.grid.run import GridError, Listener, run_grid
from qlcnet.search.cluster_lanes import SharedEngines
from qlcnet.search.trial_store import TrialStore


class FitFailedError(RuntimeError):
    """A fit of a trial raised, or its worker died again and again; the message says why. It ends that trial alone."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a fit predicted of its validation part, by ascending image. target (N,), probabilities (N, K)."""

    index: np.ndarray
    target: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class DoneFit:
    """A fit of a trial. was_there: it was in a store, and cost nothing. seconds: of the fit, whenever it ran."""

    fingerprint: str
    folder: Path
    was_there: bool
    seconds: float

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says of it."""
        return read_config(self.folder)

    def predictions(self) -> Predictions:
        """Of the validation part."""
        return read_predictions(self.folder)


def read_predictions(folder: Path, part: int = VALIDATION) -> Predictions:
    """What a stored fit predicted of a part of its images."""
    arrays = load_file(folder / PREDICTIONS)
    rows = np.flatnonzero(arrays["part"] == part)
    rows = rows[np.argsort(arrays["index"][rows], kind="stable")]
    return Predictions(*(arrays[name][rows] for name in ("index", "target", "probabilities")))


class Lane:
    """One fit at a time on an engine that stays open: a worker here, or what all lanes share of a cluster.

    scheduler, shared: of the cluster; None: a worker of this machine.
    """

    def __init__(
        self,
        trials: TrialStore,
        provenance: Mapping[str, Any],
        costs: Costs,
        scheduler: str | None,
        shared: SharedEngines | None = None,
    ) -> None:
        self._trials, self._provenance, self._costs, self._scheduler = trials, provenance, costs, scheduler
        self._shared = shared
        self._engine: Engine | None = None
        self._of: object = None  # the data that the engine has open
        self._on_event: OnEvent = lambda event: None
        self._stopped = False
        self._waits_for: Future[FitResult] = Future()  # the fit that runs on a cluster

    def fit(
        self, grid: Grid, params: Params, root: Path, fold: int, whole: bool, listeners: Sequence[Listener]
    ) -> DoneFit:
        """Fold `fold` of a grid of one model, from a store or fitted now. whole: with weights, in the project's store.

        root: the folder of the grid's images and folds. Raises FitFailedError.
        """
        (spec,) = (spec for spec in grid.specs if spec.repeat == 0 and spec.fold == fold)
        with self._trials.alone_with(spec.fingerprint):
            store: FoldStore = self._trials.whole if whole else self._trials
            there = self._trials.kept_at(spec.fingerprint)
            if there is not None and (not whole or there.parent == store.root):
                return DoneFit(spec.fingerprint, there, True, float(read_provenance(there).get("seconds", 0.0)))
            self._run(spec, grid, params, root, store, listeners)
        folder = store.path(spec.fingerprint)
        return DoneFit(spec.fingerprint, folder, False, float(read_provenance(folder).get("seconds", 0.0)))

    def _run(
        self, spec: FitSpec, grid: Grid, params: Params, root: Path, store: FoldStore, listeners: Sequence[Listener]
    ) -> None:
        grid = Grid(grid.task, [spec], grid.configs, [spec], grid.shape, grid.stored, grid.facts)
        expected = self._costs.expected(grid)
        keeper = Keeper(store, grid.configs, self._provenance, expected)
        if fault := keeper.fault(spec):
            raise FitFailedError(fault)
        opens = engine_for(params, grid, root, keeper, 1, self._scheduler)
        try:
            run_grid(
                [spec],
                lambda on_event: self._opened(opens, (root, channels_of(params), spec.device), spec, on_event),
                keeper,
                listeners,
            )
        except GridError as error:
            raise FitFailedError(next(iter(error.failures.values()), str(error))) from error

    def close(self) -> None:
        """Free the worker."""
        if self._shared is not None:
            self._shared.leave(self)
        elif self._engine is not None:
            self._engine.close()
        self._engine = None

    def stop(self) -> None:
        """End the fit that runs, from another thread; the lane takes no other."""
        self._stopped = True
        if self._shared is not None:
            self._shared.abort()
            _settle(self._waits_for, EngineError("the search was stopped"))  # a cluster that was left answers no more
        elif (engine := self._engine) is not None:
            engine.close(abort=True)

    def _opened(self, opens: Callable[[OnEvent], Engine], of: object, spec: FitSpec, on_event: OnEvent) -> Engine:
        """The engine that is open, if it has this data; else another."""
        if self._stopped:
            raise EngineError("the search was stopped")
        if self._shared is not None:
            self._engine = self._shared.opened(self, opens, of, spec.fingerprint, on_event)
            return _Kept(self, self._engine)
        self._on_event = on_event
        if self._engine is not None and self._of != of:
            self.close()
        if self._engine is None:
            self._engine, self._of = opens(self._relay), of
        return _Kept(self, self._engine)

    def _relay(self, event: Event) -> None:
        self._on_event(event)

    def _submitted(self, answer: Future[FitResult]) -> Future[FitResult]:
        """What the lane waits for: of a cluster's answer one that `stop` can end."""
        if self._shared is None:
            return answer
        waits: Future[FitResult] = Future()
        self._waits_for = waits
        answer.add_done_callback(lambda done: _settle(waits, done.exception() or done.result()))
        if self._stopped:
            _settle(waits, EngineError("the search was stopped"))
        return waits

    def _ended(self, abort: bool) -> None:
        if not abort or self._engine is None:
            return
        if self._shared is not None:  # it is lost, to all lanes
            self._shared.abort()
        else:
            self._engine.close(abort=True)
        self._engine = None


def _settle(waits: Future[FitResult], with_what: FitResult | BaseException) -> None:
    """Unless it is settled: a search can be stopped in the moment in which its fit ends."""
    try:
        if isinstance(with_what, BaseException):
            waits.set_exception(with_what)
        else:
            waits.set_result(with_what)
    except InvalidStateError:
        pass


@dataclass(frozen=True)
class _Kept:
    """An engine that `run_grid` may close: only a broken one is."""

    lane: Lane
    engine: Engine

    @property
    def workers(self) -> int:
        return self.engine.workers

    def submit(self, spec: FitSpec) -> Future[FitResult]:
        return self.lane._submitted(self.engine.submit(spec))

    def close(self, abort: bool = False) -> None:
        self.lane._ended(abort)


class Costs:
    """What fits are expected to take. Networks are counted one at a time, and the machine is probed once."""

    def __init__(self, store: FoldStore, workers: int | None) -> None:
        self._store, self._workers = store, workers or machine.cores()
        self._model: CostModel | None = None
        self._lock = threading.Lock()

    def expected(self, grid: Grid) -> dict[str, Expected]:
        """Work and seconds of each fit to do."""
        with self._lock:
            if self._model is None:
                self._model = calibrated_on(finished_fits(self._store), probed_here(self._store, self._workers))
            work = grid.work(self._store, count_in_a_worker)
            return {name: Expected(one, self._model.seconds(one)) for name, one in work.items()}
