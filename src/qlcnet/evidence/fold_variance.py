"""Is one model steadier over folds than another? Variances of paired fits, compared without an F test.

Var A < Var B exactly where A + B and A - B are negatively correlated: cov(A + B, A - B) = Var A - Var B
(test_the_correlation_has_the_sign_of_the_difference_of_variances). With one repeat the test of that correlation is
Pitman's and Morgan's (1939), with k - 2 degrees of freedom: right for paired values where an F test errs in up to 0.37
of studies. With R repeats of k folds, which share every image, atanh(r) / sqrt((1/R + n_test/n_train) / (k - 2)) is
taken for normal: calibrated by simulation (benchmarks/statistics.py, part tests), not derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import NO_SPREAD
from qlcnet.evidence.statistics import Interval

LEAST_FOLDS = 4  # k - 2 degrees of freedom: with 3 folds there is one


@dataclass(frozen=True)
class VarianceComparison:
    """Of A and B over folds. sd_a, sd_b: within repeats, mean over widths of the variances. ratio: sd_a / sd_b.

    r: correlation of A + B with A - B, negative where A is steadier; over several widths tanh of the mean atanh, with
    the standard error of one width, since widths share folds. p_steadier, p_wilder: one-sided, of A.
    """

    sd_a: float
    sd_b: float
    r: float
    interval: Interval  # of the ratio, at 0.95
    p_steadier: float
    p_wilder: float

    @property
    def ratio(self) -> float:
        return self.sd_a / self.sd_b


def compare_variances(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], test_share: float, level: float = 0.95
) -> VarianceComparison | TooFew:
    """pairs: for each width the fits of A and of B, (repeats, folds) each."""
    repeats, folds = pairs[0][0].shape
    if folds < LEAST_FOLDS:
        return TooFew(f"{folds} folds; a comparison of variances over folds takes at least {LEAST_FOLDS}")
    if not np.isfinite(pairs).all():
        return TooFew("the metric is undefined in some fits")
    centred = [(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)) for a, b in pairs]
    if any(np.abs(a + b).max() <= NO_SPREAD or np.abs(a - b).max() <= NO_SPREAD for a, b in centred):
        return TooFew("the two vary as one over folds")
    df = repeats * (folds - 1)
    var_a, var_b = (float(np.mean([(of[i] ** 2).sum() / df for of in centred])) for i in (0, 1))
    with np.errstate(divide="ignore"):
        each = np.arctanh([_correlation(a + b, a - b) for a, b in centred])
    r = float(np.tanh(each.mean()))
    p = float(_p_below(r, repeats, folds, test_share))
    limit = _critical(level, repeats, folds, test_share)
    between = float(np.mean([_correlation(a, b) for a, b in centred]))
    interval = _ratio_interval(np.sqrt(var_a / var_b) if var_b > 0 else np.inf, between, limit)
    return VarianceComparison(float(np.sqrt(var_a)), float(np.sqrt(var_b)), r, interval, p, 1 - p)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def _se(repeats: int, folds: int, test_share: float) -> float:
    """Of atanh(r), with several repeats."""
    return float(np.sqrt((1 / repeats + test_share) / (folds - 2)))


def _p_below(r: float, repeats: int, folds: int, test_share: float) -> float:
    """Chance of a correlation of r or less where the variances are equal."""
    if repeats == 1:
        with np.errstate(divide="ignore"):
            return float(stats.t.cdf(r * np.sqrt((folds - 2) / (1 - r**2)), folds - 2))
    return float(stats.norm.cdf(np.arctanh(r) / _se(repeats, folds, test_share)))


def _critical(level: float, repeats: int, folds: int, test_share: float) -> float:
    """The correlation at which a two-sided test at 1 - level decides."""
    if repeats == 1:
        t = float(stats.t.ppf(0.5 + level / 2, folds - 2))
        return t / float(np.sqrt(folds - 2 + t**2))
    return float(np.tanh(stats.norm.ppf(0.5 + level / 2) * _se(repeats, folds, test_share)))


def _ratio_interval(ratio: float, between: float, critical: float) -> Interval:
    """Ratios of sd which the test would not reject: F = ratio^2 times K -+ sqrt(K^2 - 1), between = corr(A, B).

    K = 1 + 2 (1 - between^2) c^2 / (1 - c^2) for the critical correlation c: that of A + rho B and A - rho B is
    (F - rho^2) / sqrt((F + rho^2)^2 - 4 between^2 rho^2 F) (test_the_ratio_interval_ends_where_the_test_decides).
    """
    k = 1 + 2 * (1 - between**2) * critical**2 / (1 - critical**2)
    factor = np.sqrt(k + np.sqrt(k**2 - 1))
    return Interval(float(ratio / factor), float(ratio * factor))
