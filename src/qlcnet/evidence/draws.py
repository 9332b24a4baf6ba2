"""Spread over draws: models that are one but for the seed of a random circuit, or of a control of it.

A circuit fixed over all fits is a part of its model, and a verdict is about this circuit. About circuits of the kind
speaks the spread over seeds: each seed's mean over fits is one observation, for they share folds and images, and at
least 5 are needed (a circuit drawn once for a study errs in 0.03 to 0.34 of such claims: docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.statistics import Interval

FEWEST = 5  # seeds


@dataclass(frozen=True)
class Draws:
    """Of models that differ in a drawn seed, at one backbone: each one's mean over fits, their mean and sd (ddof 1).

    lead: of their mean over the reference's, with a t interval over seeds at 1 - alpha; TooFew below 5 seeds, None
    without a reference.
    """

    backbone: str
    models: tuple[str, ...]
    values: tuple[float, ...]
    reference: str | None
    lead: Interval | TooFew | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        return float(np.std(self.values, ddof=1))


def draws(
    backbone: str, models: Sequence[str], means: Mapping[str, float], reference: str | None, alpha: float
) -> Draws:
    """`means`: mean over fits of each model and of the reference, in one metric."""
    values = np.array([means[name] for name in models])
    lead: Interval | TooFew | None = None
    if reference is not None:
        lead = TooFew(f"{len(values)} seeds; a claim about circuits of the kind takes {FEWEST}")
        if len(values) >= FEWEST:
            spread = stats.t.ppf(1 - alpha / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            ahead = float(values.mean()) - means[reference]
            lead = Interval(ahead - float(spread), ahead + float(spread))
    return Draws(backbone, tuple(models), tuple(values.tolist()), reference, lead)
