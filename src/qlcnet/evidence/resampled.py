"""The t test of paired fits: what J differences of two models' folds say about training both again on other data.

Fits of one cross-validation share most of their training images, and fits of different repeats share every image: J
differences are no sample of J. Nadeau and Bengio (2003, Machine Learning 52, equation 4) give their mean the variance
s^2 (1/J + n_test/n_train) in place of s^2/J. The degrees of freedom are min(J - 1, 2(k - 1)) for k folds: J - 1 is too
many with several repeats (simulated in benchmarks/statistics.py, part tests).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import special  # a tenth of the time of scipy.stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.statistics import Interval

Scope = Literal["this way of training", "on these images"]
NO_SPREAD = 1e-12  # an sd below is rounding: all differences are equal, and say nothing of how they would vary
LEAST_SEEDS = 3  # means of repeats under which no spread is spoken of


@dataclass(frozen=True)
class Design:
    """How paired differences came about. test_share: n_test / n_train of a fit; 0 where images are held fixed."""

    repeats: int
    folds: int
    test_share: float
    scope: Scope = "this way of training"

    @property
    def units(self) -> int:
        """Numbers whose spread is taken: fits, or, on these images, means of repeats (other seeds, other folds)."""
        return self.repeats * self.folds if self.scope == "this way of training" else self.repeats

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        if self.scope == "on these images":
            return self.repeats - 1
        return min(self.units - 1, 2 * (self.folds - 1))

    @property
    def factor(self) -> float:
        """Variance of the mean difference over the variance of one."""
        return 1 / self.units + self.test_share

    def with_repeats(self, repeats: int) -> Design:
        """The same study with other repeats."""
        return replace(self, repeats=repeats)


@dataclass(frozen=True)
class Probabilities:
    """Bayesian reading: that A is worse than B by more than the margin, within the margin of it, better by more."""

    worse: float
    same: float
    better: float


@dataclass(frozen=True)
class Effect:
    """How often a fit of A beats the paired fit of B: Phi(d/s), with limits Phi((d +- t se)/s)."""

    share: float
    interval: Interval


@dataclass(frozen=True)
class PairedT:
    """A mean difference (A minus B, in the metric's unit), the sd of its units, and the design that they come from."""

    mean: float
    sd: float
    design: Design

    @cached_property
    def se(self) -> float:
        """Standard error of the mean difference."""
        return self.sd * float(np.sqrt(self.design.factor))

    @property
    def has_spread(self) -> bool:
        """False where all differences are equal: p-values are 1 then, and intervals undefined."""
        return self.sd > NO_SPREAD

    def interval(self, level: float = 0.95) -> Interval:
        """Two-sided interval of the difference; NaN without spread."""
        half = self.quantile(0.5 + level / 2) * self.se if self.has_spread else float("nan")
        return Interval(self.mean - half, self.mean + half)

    def quantile(self, probability: float) -> float:
        """Of Student's t with the design's degrees of freedom."""
        return float(special.stdtrit(self.design.df, probability))

    @property
    def p(self) -> float:
        """Two-sided, of no difference."""
        return min(1.0, 2 * min(self.p_above(0), self.p_below(0)))

    def p_above(self, value: float) -> float:
        """One-sided, of a difference of `value` or less: small where A is ahead by more than `value`."""
        return self._lower_tail(value - self.mean)

    def p_below(self, value: float) -> float:
        """One-sided, of a difference of `value` or more."""
        return self._lower_tail(self.mean - value)

    def _lower_tail(self, distance: float) -> float:
        return float(special.stdtr(self.design.df, distance / self.se)) if self.has_spread else 1.0

    def p_equivalent(self, margin: float) -> float:
        """Of a difference of `margin` or more in either direction (two one-sided tests, Schuirmann 1987)."""
        return max(self.p_above(-margin), self.p_below(margin))

    def within(self, alpha: float = 0.05) -> float:
        """The least margin for which p_equivalent is alpha: by how much, at most, the two differ."""
        return abs(self.mean) + self.least_margin(alpha)

    def least_margin(self, alpha: float = 0.05) -> float:
        """The least margin for which any data of this spread could show equivalence: that of no difference at all."""
        return self.quantile(1 - alpha) * self.se if self.has_spread else float("nan")

    def probabilities(self, margin: float) -> Probabilities | None:
        """Posterior of the difference, t around its mean with the same se and df (Corani and Benavoli 2015, section 3).

        Theirs has J - 1 degrees of freedom; these are capped as the test's. The tails are the one-sided p-values
        (test_the_bayesian_tails_are_the_one_sided_p): a description that decides nothing. None without spread.
        """
        if not self.has_spread:
            return None
        worse, better = self.p_above(-margin), self.p_below(margin)
        return Probabilities(worse, max(0.0, 1 - worse - better), better)

    def effect(self, level: float = 0.95) -> Effect | None:
        """How often a fit of A beats the paired fit of B; None without spread."""
        if not self.has_spread:
            return None
        shown = self.interval(level)
        low, share, high = special.ndtr(np.array([shown.low, self.mean, shown.high]) / self.sd).tolist()
        return Effect(share, Interval(low, high))


def resampled_t(differences: np.ndarray, test_share: float) -> PairedT | TooFew:
    """The test over paired differences (repeats, folds) of cross-validation, folds >= 2."""
    repeats, folds = differences.shape
    if folds < 2:
        return TooFew("one split says nothing about other images: it takes at least 2 folds")
    if not np.isfinite(differences).all():
        gone = int((~np.isfinite(differences)).sum())
        return TooFew(f"the metric is undefined in {gone} of {differences.size} fits (a class is absent from a fold)")
    design = Design(repeats, folds, test_share)
    return PairedT(float(differences.mean()), float(differences.std(ddof=1)), design)


def seeds_t(differences: np.ndarray) -> PairedT | TooFew:
    """The t test over means of repeats, (repeats, folds), of images that stay the same: `official`, a test part.

    It is right for these images with other folds and seeds (size 0.044 to 0.060) and wrong for new images (to 0.87).
    """
    repeats, folds = differences.shape
    if repeats < LEAST_SEEDS:
        return TooFew(f"{repeats} repeat{'s' * (repeats != 1)}; over seeds it takes at least {LEAST_SEEDS}")
    if not np.isfinite(differences).all():
        return TooFew("the metric is undefined in some fits")
    means = differences.mean(1)
    return PairedT(float(means.mean()), float(means.std(ddof=1)), Design(repeats, folds, 0.0, "on these images"))
