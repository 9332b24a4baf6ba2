"""These networks, as fitted: which classifies more images like these correctly? Paired by image.

It says nothing of training again: that is `comparison`. The difference of two metrics has the influence values psi_A -
psi_B; summed over groups of images, their squares are its variance (of an AUC: DeLong 1988, with groups Obuchowski
1997). Group sums are scaled by sqrt(G_c / (G_c - 1)) of the groups of each class where the metric is a mean over
classes, and the degrees of freedom are Satterthwaite's: a rare class decides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy import optimize, stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.statistics import Interval

Method = Literal["influence values", "Bonett and Price"]
LEAST_DISCORDANT = 10  # images that one of the two has right and the other wrong
LEAST_GROUPS = 10  # of a class, under which a macro AUC has its classes judged one by one
SMALLEST_P = 1e-12
OF_CLASSES = ("balanced_accuracy", "auc_macro")  # means over classes


@dataclass(frozen=True)
class ImageDifference:
    """A minus B of a metric on these images, with its interval. df: inf for a normal interval.

    discordant: images that A alone, and B alone, has right. mcnemar: mid-p of the two; None where it does not hold (two
    images of one group, several repeats).
    """

    metric: str
    difference: float
    interval: Interval
    method: Method
    df: float
    p: float | None
    discordant: tuple[int, int]
    mcnemar: float | None


def image_difference(
    metric: str,
    difference: float,
    psi: np.ndarray,
    right: tuple[np.ndarray, np.ndarray],
    targets: np.ndarray,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> ImageDifference | TooFew:
    """The difference of a metric between two networks, or two sets of networks, on the same N images.

    psi: influence values of A minus those of B, (N,), or of a mean over K classes (N, K), a column a class; with
    several repeats their mean over repeats, as `difference` is. right: for A and B boolean (N,), or (repeats, N):
    whether an image is classified correctly. groups: (N,) codes.
    """
    a, b = (np.atleast_2d(each) for each in right)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    single = groups is None or len(np.unique(groups)) == len(targets)
    alone = single and len(a) == 1
    mcnemar = mcnemar_mid_p(only_a, only_b) if alone else None
    if int((a != b).any(0).sum()) < LEAST_DISCORDANT:
        if metric != "accuracy" or not alone:
            return TooFew(f"{only_a + only_b} images on which they differ; it takes {LEAST_DISCORDANT}")
        interval = bonett_price(only_a, only_b, len(targets), level)
        return ImageDifference(
            metric, difference, interval, "Bonett and Price", np.inf, None, (only_a, only_b), mcnemar
        )
    code = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    spread = _spread(metric, psi, code, targets)
    if isinstance(spread, TooFew):
        return spread
    half, p = spread.half(level), spread.p(difference)
    interval = Interval(difference - half, difference + half)
    return ImageDifference(metric, difference, interval, "influence values", spread.df, p, (only_a, only_b), mcnemar)


def _spread(metric: str, psi: np.ndarray, code: np.ndarray, targets: np.ndarray) -> Spread | TooFew:
    if psi.ndim == 2:
        members = [len(np.unique(code[targets == k])) for k in range(psi.shape[1])]
        if metric == "auc_macro" and min(members) < LEAST_GROUPS:
            return of_rare_classes(psi, code, targets)
        psi = psi.mean(1)
    return clustered(psi, code, targets if metric in OF_CLASSES else np.zeros(len(targets), np.int64))


class Spread(Protocol):
    """How far a difference may be from the true one."""

    @property
    def df(self) -> float: ...

    def half(self, level: float) -> float:
        """Half the width of an interval."""
        ...

    def p(self, difference: float) -> float:
        """Two-sided p-value of no difference."""
        ...


@dataclass(frozen=True)
class Clustered:
    """Standard error from sums over groups, and its degrees of freedom."""

    se: float
    df: float

    def half(self, level: float) -> float:
        return float(stats.t.ppf(0.5 + level / 2, self.df)) * self.se

    def p(self, difference: float) -> float:
        return 2 * float(stats.t.sf(abs(difference) / self.se, self.df))


@dataclass(frozen=True, eq=False)
class OfRareClasses:
    """Mean over K classes, each with its own standard error and degrees of freedom (K,), correlated (K, K)."""

    se: np.ndarray
    dfs: np.ndarray
    correlation: np.ndarray

    @property
    def df(self) -> float:
        """The smallest."""
        return float(self.dfs.min())

    def half(self, level: float) -> float:
        each = stats.t.ppf(0.5 + level / 2, self.dfs) * self.se
        return float(np.sqrt(each @ self.correlation @ each)) / len(each)

    def p(self, difference: float) -> float:
        """The level at which the interval ends at 0."""
        if self.half(1 - SMALLEST_P) <= abs(difference):
            return SMALLEST_P
        return float(optimize.brentq(lambda p: self.half(1 - p) - abs(difference), SMALLEST_P, 1.0))


def clustered(psi: np.ndarray, code: np.ndarray, sides: np.ndarray) -> Clustered | TooFew:
    """Cluster-robust standard error of a mean of psi (N,) over images in groups `code` (N,), classes `sides` (N,).

    df: Satterthwaite over sides, (sum V_c)^2 / sum (V_c^2 / (G_c - 1)), with one side G - 1; or, if that is less, with
    V_c as 1/G_c: a rare class whose few images happen to agree would else count as well known (balanced accuracy of 7
    classes in groups erred in 0.065 of studies by the first alone).
    """
    scaled, count = _sums(psi, code, sides)
    if (count < 2).any():
        return TooFew("a class has a single image or group; it takes at least 2")
    variance = float((scaled.sum(1) ** 2).sum())
    of_class = (scaled**2).sum(0)
    if not variance > 0:
        return TooFew("no image moves the difference: both give every image the same")
    df = min(float(v.sum() ** 2 / (v**2 / (count - 1)).sum()) for v in (of_class, 1 / count))
    return Clustered(float(np.sqrt(variance)) / len(psi), df)


def of_rare_classes(psi: np.ndarray, code: np.ndarray, targets: np.ndarray) -> OfRareClasses | TooFew:
    """Of a macro AUC in which a class has few groups: t with min(G_pos, G_neg) - 1 for each class (columns of psi)."""
    sums, least = [], []
    for k, column in enumerate(psi.T):
        scaled, count = _sums(column, code, targets == k)
        if len(count) < 2 or count.min() < 2:
            return TooFew("a class has a single image or group; it takes at least 2")
        sums.append(scaled.sum(1))
        least.append(count.min())
    totals = np.column_stack(sums)
    covariance = totals.T @ totals / len(psi) ** 2
    se = np.sqrt(np.diag(covariance))
    if not (se > 0).all():
        return TooFew("a class whose AUC no image moves")
    return OfRareClasses(se, np.array(least) - 1, covariance / np.outer(se, se))


def _sums(psi: np.ndarray, code: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over groups and sides, (G, sides), scaled by sqrt(G_c / (G_c - 1)); and the groups on each side."""
    side = np.unique(sides, return_inverse=True)[1]
    sums = np.zeros((int(code.max()) + 1, int(side.max()) + 1))
    np.add.at(sums, (code, side), psi)
    there = np.zeros(sums.shape, bool)
    there[code, side] = True
    count = there.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums * np.sqrt(count / (count - 1.0)), count


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """Two-sided mid-p of `only_a` and `only_b` discordant images (Fagerland, Lydersen, Laake 2013, supplement)."""
    total = only_a + only_b
    if only_a == only_b:
        return 1 - 0.5 * float(stats.binom.pmf(only_a, total, 0.5))
    fewer = min(only_a, only_b)
    return float(2 * stats.binom.cdf(fewer, total, 0.5) - stats.binom.pmf(fewer, total, 0.5))


def bonett_price(only_a: int, only_b: int, images: int, level: float = 0.95) -> Interval:
    """Adjusted Wald interval of a difference of paired proportions, one added to each count (Bonett, Price 2012)."""
    a, b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    half = float(stats.norm.ppf(0.5 + level / 2)) * float(np.sqrt((a + b - (a - b) ** 2) / (images + 2)))
    return Interval(max(-1.0, a - b - half), min(1.0, a - b + half))
