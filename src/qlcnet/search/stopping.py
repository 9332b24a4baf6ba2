"""When a search stops before its trials are done, if that was asked for.

Optuna's terminator is no way: its module is deprecated since 4.9 and goes with 6.0, its regret bound compares with an
error of cross-validation that it takes from each trial's folds as if they were independent, and pruned trials are left
out. The rule here compares what more trials still bring with the noise of the folds, both from the trials themselves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

LEAST = 15  # settled trials before the rule may say anything
SHARE = 1 / 3  # of the settled trials: so many of the last ones must have brought nothing beyond noise


def is_flat(complete: Sequence[tuple[int, Sequence[float]]], settled: int) -> bool:
    """Whether the last third of the trials raised the best value by less than the noise of its folds.

    complete: (number, values of all folds) of complete trials. The noise: standard error, paired by fold, of the best
    trial now minus the best one then; and where they are the same trial nothing was gained. The gain that as many
    trials more could bring is no larger than the one that the last brought: the best of n settings rises with log n.
    """
    if settled < LEAST:
        return False
    last = max(LEAST // 2, int(settled * SHARE))
    before = [values for number, values in complete if number < settled - last]
    if not before:
        return False
    then, now = (max(group, key=lambda values: float(np.mean(values))) for group in (before, [v for _, v in complete]))
    differences = np.asarray(now) - np.asarray(then)
    gain = float(differences.mean())
    if gain <= 0:
        return True
    return gain < float(differences.std(ddof=1)) / np.sqrt(len(differences))


class Clock:
    """Whether the minutes that were given have passed; no trial begins then, and those that run come to their end."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self.minutes = minutes

    @property
    def is_over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end
