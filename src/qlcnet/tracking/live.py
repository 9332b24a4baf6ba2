"""Follows a grid and writes its runs from a thread of its own: a slow or absent tracking store never holds a fit."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qlcnet.fit.fold_folder import read_provenance
from qlcnet.grid.grid import DECIDING
from qlcnet.paths import Project
from qlcnet.tracking.backend import brief
from qlcnet.tracking.content import Config
from qlcnet.tracking.patch import uncommitted
from qlcnet.tracking.place import TrackingError
from qlcnet.tracking.projection import FAILED, KILLED, Projection, Run

if TYPE_CHECKING:
    from qlcnet.fit.spec import FitSpec
    from qlcnet.fit.store import FoldStore
    from qlcnet.grid.grid import Grid

log = logging.getLogger("qlcnet")

LATEST = 180  # seconds that `close` waits for what is left to write
FAILURES = 3  # in a row; a store that fails so often is given up
REPAIR = "fits and results are not affected; `qlcnet track sync` adds what is missing once that is mended"

Key = tuple[str, str]  # backbone, model


@dataclass(eq=False)
class _Fit:
    """A fit that is followed. `epochs` is filled by the grid and emptied by the writing thread."""

    config: Config
    key: Key
    epochs: deque[tuple[dict[str, float], int]] = field(default_factory=deque)
    run: Run | None = None  # None until it is made, and again when writing to it failed


class GridTracker:
    """A listener of the grid: every event is queued and returns at once. The store is opened by the first one."""

    def __init__(self, grid: Grid, root: Path, store: FoldStore) -> None:
        self._grid, self._root, self._store = grid, root, store
        self._patch = uncommitted(root, DECIDING)  # now: who waits for hours edits on
        self._models = {key: [grid.describe(s) for s in specs] for key, specs in grid.by_model().items()}
        self._fits: dict[str, _Fit] = {}
        self._queue: SimpleQueue[tuple[str, Callable[[], None]] | None] = SimpleQueue()
        # daemon: a process that must go, goes; `close` waits for the thread where there is time
        self._thread = threading.Thread(target=self._write_all, name="tracking", daemon=True)
        # below: only the writing thread
        self._projection: Projection | None = None
        self._parents: dict[Key, Run] = {}
        self._failed: dict[str, str] = {}  # fingerprint -> what the fit raised
        self._failures = 0
        self._lost = False
        self._thread.start()

    # --- events, from any thread --------------------------------------------------------------------------------

    def planned(self, seconds: Mapping[str, float]) -> None:
        """Nothing of it is tracked."""

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began on a worker, perhaps for the second time after a worker died."""
        fit = _Fit(self._grid.describe(spec), (spec.backbone_name, spec.model_name))
        self._fits[spec.fingerprint] = fit
        self._put(spec.name, lambda: self._start(fit))

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch."""
        if fit := self._fits.get(spec.fingerprint):
            fit.epochs.append((dict(metrics), int(time.time() * 1000)))
            self._put(spec.name, lambda: self._flush(fit))

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store, at `folder`."""
        if fit := self._fits.get(spec.fingerprint):
            self._put(spec.name, lambda: self._finish(fit, folder))

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised."""
        reason = brief(error)
        self._put(spec.name, lambda: self._fail(spec, reason))

    def complete(self, seconds: float) -> None:
        """The fits are linked into results/: finish the parents of which none failed, and add folds fitted earlier."""
        for backbone, model in self._models:
            self._put(f"{backbone} {model}", lambda key=(backbone, model): self._complete(key, seconds))  # type: ignore[misc]

    def close(self) -> None:
        """Write what is queued, mark runs that are still open as KILLED (or FAILED), and end the thread."""
        self._put("open runs", self._stop_open_runs)
        self._queue.put(None)
        self._thread.join(LATEST)
        if self._thread.is_alive():
            log.warning("tracking: still writing after %d s, given up; %s", LATEST, REPAIR)

    # --- the writing thread -------------------------------------------------------------------------------------

    def _put(self, what: str, write: Callable[[], None]) -> None:
        self._queue.put((what, write))

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            what, write = item
            if self._lost:
                continue
            try:
                write()
                self._failures = 0
            except TrackingError as error:
                self._lost = True
                log.warning("tracking is off: %s; %s", error, REPAIR)
            except Exception as error:
                self._failures += 1
                self._lost = self._failures >= FAILURES or _is_unreachable(error)
                log.warning("tracking%s: %s: %s; %s", " is off" if self._lost else "", what, brief(error), REPAIR)

    def _opened(self) -> Projection:
        if self._projection is None:
            self._projection = Projection.open(self._root)
            self._projection.end_orphans()
        return self._projection

    def _parent(self, key: Key) -> Run:
        if key not in self._parents:
            parent = self._parents[key] = self._opened().parent(self._models[key])
            if parent.foreign:
                log.info("tracking: another process is writing the runs of %s", parent.name)
        return self._parents[key]

    def _start(self, fit: _Fit) -> None:
        fit.run = self._opened().start_fold(self._parent(fit.key), fit.config)

    def _flush(self, fit: _Fit) -> None:
        # all that has piled up in one batch: where the store is slow, later calls find nothing left to do
        rows = []
        while fit.epochs:
            rows.append(fit.epochs.popleft())
        if fit.run and rows:
            run, fit.run = fit.run, None  # stays None if writing fails
            self._opened().log_epochs(run, rows)
            fit.run = run

    def _finish(self, fit: _Fit, folder: Path) -> None:
        if fit.run:
            self._opened().finish_fold(fit.run, folder, read_provenance(folder))

    def _fail(self, spec: FitSpec, reason: str) -> None:
        self._failed[spec.fingerprint] = reason
        if (fit := self._fits.get(spec.fingerprint)) and fit.run:
            self._opened().stop(fit.run, FAILED, reason)

    def _complete(self, key: Key, seconds: float) -> None:
        projection, parent, configs = self._opened(), self._parent(key), self._models[key]
        if parent.foreign or self._failures_of(key):
            return
        provenances: list[dict[str, Any]] = []
        with projection.failing_with(parent):
            for config in configs:
                folder = self._store.path(config["fingerprint"])
                provenances.append(read_provenance(folder))
                fit = self._fits.get(config["fingerprint"])
                if fit is None or fit.key != key or fit.run is None or fit.run.is_open:
                    projection.add_fold(parent, config, folder, provenances[-1])
            backbone, model = key
            folder = Project(self._root).fits / self._grid.task / backbone / model
            projection.finish_parent(parent, folder, provenances, seconds, self._patch)

    def _stop_open_runs(self) -> None:
        for fit in self._fits.values():
            if fit.run:
                self._opened().stop(fit.run, KILLED)
        for key, parent in self._parents.items():
            if reasons := self._failures_of(key):
                self._opened().stop(parent, FAILED, f"{len(reasons)} of {len(self._models[key])} fits: {reasons[0]}")
            else:
                self._opened().stop(parent, KILLED)

    def _failures_of(self, key: Key) -> list[str]:
        """What the fits of a model raised, also those that ran under the name of an equal one."""
        return [self._failed[f] for config in self._models[key] if (f := config["fingerprint"]) in self._failed]


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether a connection failed somewhere below: MLflow wraps what requests raises."""
    from requests.exceptions import ConnectionError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False
