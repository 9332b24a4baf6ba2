"""An interval, and the spread of a metric over fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """Limits, in the unit of what they are of."""

    low: float
    high: float


def fold_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof=1) over fits, leaving out undefined ones; sd NaN for one fit."""
    defined = np.array([v for v in values if not np.isnan(v)])
    mean = float(defined.mean()) if len(defined) else float("nan")
    return mean, float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
