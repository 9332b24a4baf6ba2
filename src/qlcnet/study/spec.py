"""What one fit is asked to do, and where its arrays are. Imports no torch: the parent process plans with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlcnet.config import Backbone, Model, Training


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
        data = root / "data"
        return cls(data / "raw" / task, data / "folds" / f"{task}.csv", data / "quanvolved" / task)
