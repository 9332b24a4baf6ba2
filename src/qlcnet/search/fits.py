"""The objective of a search: fits on the inner folds of one outer training part."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from qlcnet.config import Params
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.streams import stream
from qlcnet.evidence.metrics import metrics_of
from qlcnet.grid.grid import Grid, plan_grid, with_whole_path
from qlcnet.grid.run import Listener
from qlcnet.paths import Project
from qlcnet.search.inner import InnerProject
from qlcnet.search.lanes import DoneFit, Lane, Predictions, read_predictions
from qlcnet.search.space import Setting, Space
from qlcnet.search.trial_store import TrialStore
from qlcnet.search.trials import FoldValue

FACTS = ("parameters", "multiply_adds")  # of config.json: by them a network is simple


@dataclass(frozen=True)
class Bench:
    """What the lanes of one search share: its space, its inner folds, the stores, and the list of fits that it uses."""

    space: Space
    inner: InnerProject
    trials: TrialStore
    used: Path  # a line a fit: `qlcnet store prune` keeps these
    metric: str
    folds: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The group of each image of the image set, where the task is grouped or knows groups."""
        table = FoldTable.read(Project(self.inner.root).folds(self.inner.task))
        if table.group is None:
            return None
        groups = np.arange(int(table.index.max()) + 1) + int(table.group.max()) + 1
        groups[table.index] = table.group
        return groups

    def params_of(self, setting: Setting, replicate: int = 0) -> Params:
        """params.yaml with a setting, the inner folds' own channels, and other weight seeds for a replicate."""
        params = self.space.with_setting(setting)
        root, name = self.inner.project.root, self.space.backbone
        backbone = with_whole_path(params.backbones[name], root)
        params = params.model_copy(update={"backbones": {name: backbone}})
        if replicate:
            params = params.model_copy(update={"seed": stream(params.seed, "replicate", replicate)})
        with self._lock:
            return self.inner.with_channels(params, self.space.model)

    def uses(self, fingerprint: str) -> None:
        """Note a fit before it is begun, so that nobody prunes it."""
        with self._lock, self.used.open("a", encoding="ascii") as file:
            file.write(f"{fingerprint}\n")

    def predictions(self, fingerprint: str) -> Predictions | None:
        """Of a fit that is on this machine."""
        folder = self.trials.kept_at(fingerprint)
        return None if folder is None else read_predictions(folder)


@dataclass
class TrialFits:
    """The objective in one lane."""

    bench: Bench
    lane: Lane
    listeners: Sequence[Listener] = ()
    _planned: tuple[object, Params, Grid] | None = None

    @property
    def folds(self) -> int:
        return self.bench.folds

    def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
        """The metric of one inner fold of a setting: from a store, or fitted now. Raises FitFailedError."""
        params, grid = self._plan(setting, replicate)
        done = self.fit(params, grid, fold)
        predictions = done.predictions()
        value = metrics_of(predictions.target, predictions.probabilities)[self.bench.metric]
        config = done.config
        facts = {name: config[name] for name in FACTS if name in config}
        return FoldValue(value, done.fingerprint, done.was_there, done.seconds, facts)

    def fit(self, params: Params, grid: Grid, fold: int) -> DoneFit:
        """One fit of the inner folds."""
        (spec,) = (one for one in grid.specs if one.fold == fold)
        self.bench.uses(spec.fingerprint)
        return self.lane.fit(grid, params, self.bench.inner.root, fold, whole=False, listeners=self.listeners)

    def _plan(self, setting: Setting, replicate: int) -> tuple[Params, Grid]:
        """The fits of a setting; kept for its other folds."""
        key = (dict(setting), replicate)
        if self._planned is None or self._planned[0] != key:
            params = self.bench.params_of(setting, replicate)
            grid = plan_grid(params, self.bench.inner.task, self.bench.inner.root, self.bench.trials)
            self._planned = (key, params, grid)
        return self._planned[1], self._planned[2]
