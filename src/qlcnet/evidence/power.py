"""What a design can see, and what would decide an undecided comparison: more repeats, or only more images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from qlcnet.evidence.resampled import Design, PairedT

POWER = 0.8
MOST_REPEATS = 50  # with 5 folds more of them bring less than 1 %


@lru_cache(maxsize=4096)
def noncentrality(df: int, alpha: float, power: float = POWER) -> float:
    """Mean of t, in standard errors, at which a two-sided test at `alpha` finds a difference with `power`.

    The chance of Z + shift > critical sqrt(chi2/df), averaged over quantiles of chi2; the other tail is left out (below
    1e-4 for a power of 0.8). scipy's noncentral t agrees where it converges, which it does not for few df
    (test_noncentrality_is_that_of_the_noncentral_t).
    """
    critical = float(stats.t.ppf(1 - alpha / 2, df))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    limits = critical * np.sqrt(stats.chi2.ppf((nodes + 1) / 2, df) / df)

    def missing(shift: float) -> float:
        return float(weights @ special.ndtr(shift - limits)) / 2 - power

    return float(optimize.brentq(missing, 0.0, limits.max() + 10, xtol=1e-9))


def detectable(design: Design, alpha: float, power: float = POWER) -> float:
    """The difference, in sd of the paired differences, that `design` finds with `power` at two-sided `alpha`.

    At 5 folds and alpha 0.05: 2.52, 1.80, 1.72, 1.66 with 1, 3, 5, 10 repeats (test_what_a_design_sees).
    """
    return noncentrality(design.df, alpha, power) * float(np.sqrt(design.factor))


def detectable_for_ever(design: Design, alpha: float, power: float = POWER) -> float:
    """The limit of `detectable` as repeats grow: repeats share the images, whose number they do not change."""
    df = design.with_repeats(10**6).df
    return noncentrality(df, alpha, power) * float(np.sqrt(design.test_share))


@dataclass(frozen=True)
class Outlook:
    """What it would take to see a difference of `target`, were the spread of paired differences to stay.

    detectable: the least difference that is seen with 80 % power now; detectable_for_ever: with repeats without end.
    repeats: the fewest that see `target`; None where MOST_REPEATS do not: it takes more images. images: how many times
    as many would see it with the repeats of now, from a spread that falls as 1/sqrt(images), as the sampling error of a
    metric does: an order of magnitude.
    """

    target: float
    detectable: float
    detectable_for_ever: float
    repeats: int | None
    images: float

    @property
    def seen_now(self) -> bool:
        """Whether the design sees `target` as it is."""
        return self.detectable <= self.target


def outlook(test: PairedT, target: float, alpha: float, power: float = POWER) -> Outlook:
    """What would see a difference of `target` > 0 (the margin, or the difference found) at two-sided `alpha`."""
    now = detectable(test.design, alpha, power) * test.sd
    for_ever = detectable_for_ever(test.design, alpha, power) * test.sd
    return Outlook(target, now, for_ever, _repeats(test, target, alpha, power), (now / target) ** 2)


def _repeats(test: PairedT, target: float, alpha: float, power: float) -> int | None:
    """The fewest repeats with which `target` is seen, by bisection: more repeats never see less."""

    def sees(repeats: int) -> bool:
        return detectable(test.design.with_repeats(repeats), alpha, power) * test.sd <= target

    low, high = 1 if test.design.scope == "this way of training" else 2, MOST_REPEATS
    if not sees(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if sees(middle) else (middle + 1, high)
    return low
