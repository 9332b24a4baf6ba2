"""What a fit predicted, and the metrics of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from qlcnet.evidence.metrics import METRICS, metrics_of
from qlcnet.fit.fold_folder import PREDICTIONS, TEST, VALIDATION

PREFIXES = {VALIDATION: "", TEST: "test_"}  # of metrics


@dataclass(frozen=True)
class Predictions:
    """index, target, part: int (N,). probabilities: float32 (N, K)."""

    index: np.ndarray
    target: np.ndarray
    part: np.ndarray
    probabilities: np.ndarray
    scores: dict[str, float] = field(default_factory=dict)  # once they were asked for

    @classmethod
    def read_folder(cls, folder: Path) -> Predictions:
        """Of a fold folder, ordered by part and index. Raises OSError, or what a damaged file raises."""
        arrays = load_file(folder / PREDICTIONS)
        order = np.lexsort((arrays["index"], arrays["part"]))
        index, target, part, probabilities = (
            arrays[name][order] for name in ("index", "target", "part", "probabilities")
        )
        return cls(index, target, part, probabilities)

    def metrics(self) -> dict[str, float]:
        """Every metric on the validation part, and on the test part where there is one (`test_<metric>`)."""
        for part, prefix in PREFIXES.items() if not self.scores else ():
            rows = self.part == part
            if rows.any():
                of_part = metrics_of(self.target[rows], self.probabilities[rows])
                self.scores.update({f"{prefix}{metric}": of_part[metric] for metric in METRICS})
        return self.scores
