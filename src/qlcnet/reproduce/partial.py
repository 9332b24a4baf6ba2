"""Fits of which a source keeps a part: rounded predictions in docs/results, predictions and histories in MLflow.

A part is laid out as a fold folder that lacks files, in one form that both sides are brought into: what was recorded
when it is read, and what was recomputed when the two are compared. So equal fits have equal bytes in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from qlcnet.fit.fold_folder import CONFIG, HISTORY, PREDICTIONS, config_text, files_of, read_config, read_history
from qlcnet.fit.spec import FitResult
from qlcnet.publish.rounding import pack, unpack

History = list[dict[str, float]]


@dataclass(frozen=True)
class Partial:
    """origin: which source. steps: of each part of the predictions that it keeps, those of rounding.py; None: exact.

    single: the history is in float32. compared: keys of config.json that the source has; None: all.
    """

    origin: str
    steps: Mapping[int, int | None]
    single: bool = False
    compared: tuple[str, ...] | None = None

    def write(
        self, target: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], history: History
    ) -> None:
        """A fold folder of what is kept of a fit; arrays as in predictions.safetensors, float32 (N, K) among them."""
        result = FitResult(self._predictions(arrays), self._rows(history), {}, {}, 0.0)
        files = files_of({}, result)
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG).write_text(config_text(config), encoding="utf-8")
        for name in (HISTORY, PREDICTIONS):
            (target / name).write_bytes(files[name])

    def reduce(self, folder: Path, target: Path) -> Path:
        """The same of a whole fit, with its config.json as it is; returns `target`."""
        self.write(target, read_config(folder), load_file(folder / PREDICTIONS), read_history(folder))
        return target

    def comparable(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """What of a config.json the source has too."""
        return config if self.compared is None else {key: config.get(key) for key in self.compared}

    def _predictions(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept: list[dict[str, np.ndarray]] = []
        for part, steps in sorted(self.steps.items()):
            rows = np.flatnonzero(arrays["part"] == part)
            rows = rows[np.argsort(arrays["index"][rows], kind="stable")]
            probabilities = arrays["probabilities"][rows].astype(np.float32)
            kept.append(
                {
                    "index": arrays["index"][rows].astype(np.int64),
                    "part": np.full(len(rows), part, np.uint8),
                    "probabilities": probabilities if steps is None else unpack(pack(probabilities, steps), steps),
                    "target": arrays["target"][rows].astype(np.int64),
                }
            )
        return {name: np.concatenate([one[name] for one in kept]) for name in kept[0]}

    def _rows(self, history: History) -> History:
        """Columns in the order of their names; without those that are never a number, which MLflow cannot hold."""
        names = sorted({name for row in history for name, value in row.items() if np.isfinite(value)} - {"epoch"})
        values = ({"epoch": row["epoch"], **{name: row.get(name, np.nan) for name in names}} for row in history)
        if not self.single:
            return list(values)
        return [{name: float(np.float32(value)) for name, value in row.items()} for row in values]
