"""What results/folds/<task>/ says of a task beside its fits: names and settings, which are no part of a fit's identity.

A fit may stand under several names; whoever shows it (report, tracking) needs them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from qlcnet.stored import read_object
from qlcnet.whole import write_whole

FILE = "task.json"


@dataclass(frozen=True)
class TaskFacts:
    """Of one task, as JSON values.

    settings: for each backbone and model the whole sections `backbone`, `model` and `training` that its fits had,
    defaults too. shown: SHA-256 of the files that the report shows besides the fits, by path below data/: DVC cannot
    make the report depend on a list of folders, so its dependency, the fits, says when these have changed.
    """

    task: str
    seed: int
    class_names: tuple[str, ...]
    protocol: dict[str, Any]
    data: dict[str, Any]  # digests: images, folds, channels
    settings: dict[str, dict[str, dict[str, Any]]]  # backbone -> model -> sections
    shown: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)  # fits that raised, by name: why

    def write(self, folder: Path) -> None:
        """Write it into `results/folds/<task>`."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> TaskFacts:
        """What `write` wrote. Raises FileNotFoundError, DamagedError."""
        names = [field.name for field in fields(cls) if field.name != "failed"]
        known = read_object(folder / FILE, f"run `qlcnet train {folder.name}`", names)
        return cls(**{**known, "class_names": tuple(known["class_names"])})

    def failures_of(self, backbone: str, model: str) -> list[str]:
        """What the fits of a model raised, each with its name."""
        prefix = f"{self.task}/{backbone}/{model}/"
        return [f"{name.removeprefix(prefix)}: {why}" for name, why in self.failed.items() if name.startswith(prefix)]

    def describe(self, backbone: str, model: str, repeat: int, fold: int, config: dict[str, Any]) -> dict[str, Any]:
        """config.json of a fit with the names under which it stands here and all of its settings."""
        names = {"task": self.task, "backbone": backbone, "model": model, "repeat": repeat, "fold": fold}
        params = {**self.settings[backbone][model], "protocol": self.protocol}
        about = {"seed": self.seed, "class_names": list(self.class_names), "data": self.data, "params": params}
        return {**config, **names, **about}
