"""What one fit is asked to do, where its arrays are, what it gives. Imports no torch: the parent process needs none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import Backbone, Model, Training
from qlcnet.paths import Project


@dataclass(frozen=True)
class FitSpec:
    """All that determines one fit, but for the arrays: names, sections of params.yaml, seed, device."""

    task: str
    backbone_name: str
    model_name: str
    repeat: int
    fold: int
    seed: int
    backbone: Backbone
    model: Model
    training: Training
    device: str  # "cpu" or "cuda"; `auto` is resolved before
    fingerprint: str = ""
    code: str = ""  # digest of the code that it was planned for
    words: frozenset[str] = frozenset()  # of its settings, by which fit.code finds it

    @property
    def name(self) -> str:
        """Readable and unique within a grid, for example `digits/lcnet_050/hybrid/repeat-0/fold-2`."""
        return f"{self.task}/{self.backbone_name}/{self.model_name}/repeat-{self.repeat}/fold-{self.fold}"


@dataclass(frozen=True)
class DataPaths:
    """Where the stages before `train` left a task."""

    raw: Path
    folds: Path
    quanvolved: Path

    @classmethod
    def of(cls, root: Path, task: str) -> DataPaths:
        """The project's usual places."""
        project = Project(root)
        return cls(project.raw(task), project.folds(task), project.channels(task))

    def size(self, channels: Iterable[str]) -> int:
        """Bytes of the large arrays: images, and stored channels of these names."""
        arrays = (self.raw / "images.npy", *(self.quanvolved / name / "channels.npy" for name in channels))
        return sum(path.stat().st_size for path in arrays if path.is_file())


@dataclass
class FitResult:
    """What a fit leaves: predictions, history (one dict an epoch), weights, facts for config.json, provenance.

    All arrays are numpy's: a tensor would make the process that receives the result import torch, for 10 s.
    """

    predictions: dict[str, np.ndarray]
    history: list[dict[str, float]]
    weights: dict[str, np.ndarray]
    facts: dict[str, Any]
    seconds: float
    host: str = ""  # where it ran, if the engine says so
    computed_on: dict[str, Any] = field(default_factory=dict)  # see fit.computed_on

    def save(self, path: Path) -> None:
        """Write all of it to an .npz file, without pickle."""
        rest = json.dumps([self.history, self.facts, self.seconds, self.host, self.computed_on])
        predictions = {f"predictions/{name}": array for name, array in self.predictions.items()}
        weights = {f"weights/{name}": array for name, array in self.weights.items()}
        np.savez(path, rest=np.array(rest), **predictions, **weights)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> FitResult:
        """What `save` wrote: the same arrays, and the same numbers to the last bit."""
        groups: dict[str, dict[str, np.ndarray]] = {"predictions": {}, "weights": {}}
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                group, _, key = name.partition("/")
                if key:
                    groups[group][key] = arrays[name]
            history, facts, seconds, host, on = json.loads(str(arrays["rest"]))
        return cls(groups["predictions"], history, groups["weights"], facts, seconds, host, on)
