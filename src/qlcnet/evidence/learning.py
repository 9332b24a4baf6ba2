"""How fits learned: columns of their histories over epochs, mean and spread over fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """A history column by epoch, (epochs,) each: mean and sd over fits (ddof 1, 0 for one fit)."""

    epoch: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def learning_curve(histories: Sequence[Mapping[str, np.ndarray]], column: str) -> LearningCurve:
    """The curve of `column` from the histories of the fits, columns (epochs,) by name each."""
    rows = np.stack([history[column] for history in histories])
    sd = rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    return LearningCurve(histories[0]["epoch"], rows.mean(0), sd)
