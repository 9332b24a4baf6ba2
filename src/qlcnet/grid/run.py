"""Runs a grid on an engine: longest first, each fit kept as it ends, dead workers replaced, listeners told in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Protocol

from qlcnet.cost.schedule import longest_first
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.grid.engine import Engine, EngineError, Event, OnEvent
from qlcnet.grid.keeper import Keeper

log = logging.getLogger("qlcnet")
RESTARTS = 2  # of a worker pool that broke before a fit ended: a kill should cost the running folds, not the grid
NAMED = 3  # fits of one failure: one cause often strikes a whole grid


class GridError(RuntimeError):
    """Some fits failed; the message states each cause, and whom it struck. Those that finished are in the store.

    `failures`: why, by the fit's name; empty where workers died and fits are left that nobody tried to the end.
    """

    def __init__(self, message: str, failures: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.failures = dict(failures or {})


class UnfitError(ValueError):
    """A network that cannot take images of the size that it is to be trained on."""


class Listener(Protocol):
    """Follows a grid: the progress bar, and the tracker."""

    def planned(self, seconds: Mapping[str, float]) -> None:
        """What each fit should take, by its name. Comes once, before the first begins."""

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began on a worker; again, with its epochs from the first, after its worker died."""

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch. Each epoch comes once and in order."""

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store. Nothing of this fit comes after it."""

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised. Nothing of this fit comes after it."""


class _Relay:
    """Brings events, which come late and from other threads, into the order that Listener promises."""

    def __init__(self, specs: Mapping[str, FitSpec], listeners: Sequence[Listener]) -> None:
        self._specs, self._listeners = specs, list(listeners)
        self._epochs: dict[str, int] = {}  # of the fits that run, epochs told
        self._closed: set[str] = set()
        self._lock = threading.Lock()
        self.first_start: float | None = None

    def planned(self, seconds: Mapping[str, float]) -> None:
        """Before the first fit."""
        self._tell(lambda listener: listener.planned(seconds))

    def event(self, event: Event) -> None:
        """From a worker."""
        kind, key, payload = event
        with self._lock:
            if key in self._closed or key not in self._specs:
                return
            if kind == "start":
                self.first_start = self.first_start or time.perf_counter()
                self._start(key, payload)
            elif self._epochs.get(key) == int(payload["epoch"]):
                self._epoch(key, payload)

    def finished(self, key: str, folder: Path, history: Sequence[dict[str, float]]) -> None:
        """The result of a fit is kept; its last epochs may not have been told yet."""
        with self._lock:
            if key not in self._epochs:
                self._start(key, "")
            for row in history[self._epochs[key] :]:
                self._epoch(key, row)
            self._closed.add(key)
            self._tell(lambda listener: listener.finished(self._specs[key], folder))

    def failed(self, key: str, error: BaseException) -> None:
        """A fit raised."""
        with self._lock:
            self._closed.add(key)
            self._tell(lambda listener: listener.failed(self._specs[key], error))

    def _start(self, key: str, worker: str) -> None:
        self._epochs[key] = 0
        self._tell(lambda listener: listener.started(self._specs[key], worker))

    def _epoch(self, key: str, metrics: dict[str, float]) -> None:
        self._epochs[key] += 1
        self._tell(lambda listener: listener.epoch(self._specs[key], metrics))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception as error:  # who only watches must not stop a grid, nor the thread that reads events
                self._listeners.remove(listener)
                log.warning("%s stopped following the grid: %r", type(listener).__name__, error)


def run_grid(
    specs: Sequence[FitSpec],
    open_engine: Callable[[OnEvent], Engine],
    keeper: Keeper,
    listeners: Sequence[Listener] = (),
) -> None:
    """Fit `specs`, longest first, and keep each. Raises GridError after all others are done if some fits failed."""
    if not specs:
        return
    relay = _Relay({spec.fingerprint: spec for spec in specs}, listeners)
    relay.planned(keeper.seconds)
    running = _Running(specs, keeper, relay)
    try:
        running.leave_out_faults()
        if running.remaining:
            running.run_to_the_end(open_engine)
    except (EngineError, GridError) as error:
        if running.failures:
            error.args = (f"{error}\n{running.failed()}",)
        raise
    except BaseException:  # Ctrl-C, a full disk: its message is not ours to extend
        if running.failures:
            log.warning("%s", running.failed())
        raise
    if running.failures:
        reasons = {name: f"{type(error).__name__}: {error}" for name, error in running.failures.items()}
        raise GridError(running.failed(), reasons)


class _Deaths:
    """Worker pools that broke in a row, no fit having ended between: fewer fits then run at a time, at last none."""

    def __init__(self) -> None:
        self.count = 0
        self.limit: int | None = None  # fits at a time; None: the engine decides

    def allowed(self, engine: Engine) -> int:
        """Fits that run at a time."""
        return min(engine.workers, self.limit or engine.workers)

    def another(self, has_progress: bool, workers: int, left: int) -> None:
        """A pool broke with `workers` fits at a time, `left` are left. Raises GridError where it is one too many."""
        self.count = 1 if has_progress else self.count + 1
        if self.count > RESTARTS:
            raise GridError(
                f"worker processes died {self.count} times before a fit ended, at last with {workers} at a time; "
                f"{left} fits are left. "
                "If memory is short, use fewer workers: execution.workers in params.yaml, or --workers 1"
            )
        died = "a worker process died (out of memory?)"
        if has_progress or workers == 1:
            log.warning("%s; %d fits go on in new workers", died, left)
        else:
            self.limit = max(1, workers // 2)
            log.warning(
                "%s before a fit ended; %d fits go on, %d at a time instead of %d, as memory may be short",
                died, left, self.limit, workers,
            )  # fmt: skip


class _Running:
    """The fits of a grid that are left, and what became of the others."""

    def __init__(self, specs: Sequence[FitSpec], keeper: Keeper, relay: _Relay) -> None:
        self.specs, self.keeper, self.relay = specs, keeper, relay
        self.remaining = {spec.fingerprint: spec for spec in specs}
        self.failures: dict[str, BaseException] = {}  # by the fit's name
        self.deaths = _Deaths()
        self.opened = 0.0  # when the first engine was: not before, a cluster's queue may have taken hours

    def run_to_the_end(self, open_engine: Callable[[OnEvent], Engine]) -> None:
        """Run on one engine after the other, as their workers die."""
        while True:
            left = len(self.remaining)
            engine = open_engine(self.relay.event)
            self.opened = self.opened or time.perf_counter()
            try:
                self.run_on(engine)
            except BrokenProcessPool:
                engine.close(abort=True)
            except BaseException:
                engine.close(abort=True)
                raise
            else:
                engine.close()
                return
            workers = min(self.deaths.allowed(engine), left)
            self.deaths.another(len(self.remaining) < left, workers, len(self.remaining))

    def leave_out_faults(self) -> None:
        """Fits whose network cannot take its images fail before the first begins."""
        for spec in self.specs:
            if fault := self.keeper.fault(spec):
                error = UnfitError(fault)
                self.failures[self.remaining.pop(spec.fingerprint).name] = error
                self.relay.failed(spec.fingerprint, error)

    def failed(self) -> str:
        """The fits that failed for a reason of their own: each reason once, with whom it struck."""
        struck: dict[str, list[str]] = {}
        for spec in self.specs:  # not as they ended: the same failures give the same message
            if error := self.failures.get(spec.name):
                struck.setdefault(f"{type(error).__name__}: {error}", []).append(spec.name)
        lines = [f"{len(self.failures)} of {len(self.specs)} fits failed, those that finished are kept"]
        for reason, names in struck.items():
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"{', '.join(names[:NAMED])}{more}: {reason}")
        return "\n  ".join(lines)

    def run_on(self, engine: Engine) -> None:
        """Submit, keep each as it ends; what ended leaves `remaining`. Raises BrokenProcessPool, EngineError."""
        left = list(self.remaining)
        seconds = self.keeper.seconds
        order = (left[i] for i in longest_first(seconds[spec.name] for spec in self.remaining.values()))
        together = self.deaths.limit or len(left)
        pending: dict[Future[FitResult], str] = {}
        while True:
            pending |= {engine.submit(self.remaining[key]): key for key in islice(order, together - len(pending))}
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            broken = None
            for future in done:
                key, error = pending.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool | EngineError):
                    broken = error  # raised after what ended well beside it is kept
                elif error is None:
                    self._keep(key, future.result(), self.deaths.allowed(engine))
                else:
                    self.failures[self.remaining.pop(key).name] = error
                    self.relay.failed(key, error)
            if broken:
                raise broken

    def _keep(self, key: str, result: FitResult, workers: int) -> None:
        startup = (self.relay.first_start or self.opened) - self.opened
        folder = self.keeper.keep(self.remaining[key], result, workers, startup)
        del self.remaining[key]
        self.relay.finished(key, folder, result.history)
