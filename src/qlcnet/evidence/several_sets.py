"""What several data sets say together: a mean difference over data sets of the kind, and, from five on, ranks.

The sample is of data sets, never of their cells: each gives one difference (mean over widths within each fold) with its
standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import PairedT
from qlcnet.evidence.statistics import Interval

LEAST_FOR_RANKS = 5


@dataclass(frozen=True)
class RandomEffects:
    """Mean difference over a population of data sets (DerSimonian and Laird 1986).

    interval: Hartung and Knapp (2001), t with sets - 1 df, never narrower than with known weights (Roever, Knapp and
    Friede 2015), since two sets that agree by chance would say more than they know. between: sd of the true differences
    over data sets (tau). i_squared: share of the spread that sampling does not explain. next_set: interval for the true
    difference in another data set (Higgins, Thompson and Spiegelhalter 2009); None for fewer than 3.
    """

    sets: int
    mean: float
    interval: Interval
    p: float
    between: float
    i_squared: float
    weights: tuple[float, ...]
    next_set: Interval | None


def random_effects(tests: Sequence[PairedT], level: float = 0.95) -> RandomEffects | TooFew:
    """The summary of the differences of one pair in several data sets, each from its own test."""
    if len(tests) < 2:
        return TooFew(f"{len(tests)} data set; a summary over data sets takes at least 2")
    if not all(test.has_spread for test in tests):
        return TooFew("a data set in which the differences of all fits are equal has no standard error")
    return pooled(np.array([test.mean for test in tests]), np.array([test.se for test in tests]), level)


def pooled(difference: np.ndarray, se: np.ndarray, level: float = 0.95) -> RandomEffects:
    """The summary of `difference` (S,) with standard errors `se` (S,), S >= 2."""
    sets, fixed = len(difference), se**-2.0
    around = difference - fixed @ difference / fixed.sum()
    heterogeneity = float(fixed @ around**2)  # Cochran's Q
    tau2 = max(0.0, (heterogeneity - (sets - 1)) / float(fixed.sum() - (fixed**2).sum() / fixed.sum()))
    weights = 1 / (se**2 + tau2)
    mean = float(weights @ difference / weights.sum())
    scale = max(1.0, float(weights @ (difference - mean) ** 2) / (sets - 1))
    error = float(np.sqrt(scale / weights.sum()))
    half = float(special.stdtrit(sets - 1, 0.5 + level / 2)) * error
    wide = float(special.stdtrit(sets - 2, 0.5 + level / 2) * np.sqrt(tau2 + error**2)) if sets > 2 else 0.0
    return RandomEffects(
        sets,
        mean,
        Interval(mean - half, mean + half),
        2 * float(special.stdtr(sets - 1, -abs(mean) / error)),
        float(np.sqrt(tau2)),
        max(0.0, 1 - (sets - 1) / heterogeneity) if heterogeneity > 0 else 0.0,
        tuple((weights / weights.sum()).tolist()),
        Interval(mean - wide, mean + wide) if sets > 2 else None,
    )


@dataclass(frozen=True)
class Ranks:
    """Mean rank of each model over data sets, 1 the best, and what tells them apart (Demsar 2006).

    p: of no difference at all (Friedman's test in Iman and Davenport's form). critical_difference: of two mean ranks
    (Nemenyi), which says nothing unless p is small. One more model changes all of it.
    """

    models: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    sets: int
    p: float
    critical_difference: float


def ranks(models: Sequence[str], values: np.ndarray, alpha: float = 0.05) -> Ranks | TooFew:
    """Ranks of models by `values` (data sets, models), greater is better; equal ones share the mean rank."""
    sets, count = values.shape
    if sets < LEAST_FOR_RANKS or count < 2:
        return TooFew(f"{sets} data sets and {count} models; ranks take {LEAST_FOR_RANKS} data sets and 2 models")
    each = stats.rankdata(-values, axis=1)
    mean = each.mean(0)
    within = float(
        ((each - (count + 1) / 2) ** 2).sum() / (sets * (count - 1))
    )  # less than count (count + 1)/12 by ties
    chi2 = sets * float(((mean - (count + 1) / 2) ** 2).sum()) / within if within > 0 else 0.0
    most = sets * (count - 1)
    f = (sets - 1) * chi2 / (most - chi2) if chi2 < most - 1e-9 else np.inf
    least = float(special.factorial(count)) ** (1 - sets)  # of sets that all agree; F would say 0
    studentised = float(stats.studentized_range.ppf(1 - alpha, count, np.inf))
    return Ranks(
        tuple(models),
        tuple(mean.tolist()),
        sets,
        max(least, float(stats.f.sf(f, count - 1, most - (count - 1)))),
        studentised / float(np.sqrt(2)) * float(np.sqrt(count * (count + 1) / (6 * sets))),
    )
