"""These networks, as fitted: which classifies more images like these correctly? Paired by image.

It says nothing of training again: that is `comparison`. The difference of two metrics has the influence values psi_A -
psi_B; summed over groups of images, their squares are its variance (of an AUC: DeLong 1988, with groups Obuchowski
1997). Group sums are scaled by sqrt(G_c / (G_c - 1)) of the groups of each class where the metric is a mean over
classes, and the degrees of freedom are Satterthwaite's: a rare class decides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from qlcnet.evidence.resampled import TooFew
from qlcnet.evidence.statistics import Interval

Method = Literal["influence values", "Bonett and Price"]
LEAST_DISCORDANT = 10  # images that one of the two has right and the other wrong
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

    psi: (N,), influence values of A minus those of B; with several repeats their mean over repeats, as `difference`
    is. right: for A and B boolean (N,), or (repeats, N), whether an image is classified correctly. groups: (N,) codes.
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
    sides = targets if metric in OF_CLASSES else np.zeros(len(targets), np.int64)
    spread = clustered(psi, np.arange(len(targets)) if groups is None else groups, sides)
    if isinstance(spread, TooFew):
        return spread
    half = float(stats.t.ppf(0.5 + level / 2, spread.df)) * spread.se
    p = 2 * float(stats.t.sf(abs(difference) / spread.se, spread.df))
    interval = Interval(difference - half, difference + half)
    return ImageDifference(metric, difference, interval, "influence values", spread.df, p, (only_a, only_b), mcnemar)


@dataclass(frozen=True)
class Clustered:
    """Standard error from sums over groups, and its degrees of freedom."""

    se: float
    df: float


def clustered(psi: np.ndarray, groups: np.ndarray, sides: np.ndarray) -> Clustered | TooFew:
    """Cluster-robust standard error of a mean of psi (N,) over images in `groups` (N,), classes `sides` (N,).

    df: Satterthwaite over sides, (sum V_c)^2 / sum (V_c^2 / (G_c - 1)); with one side G - 1.
    """
    code = np.unique(groups, return_inverse=True)[1]
    classes, side = np.unique(sides, return_inverse=True)
    sums = np.zeros((int(code.max()) + 1, len(classes)))
    np.add.at(sums, (code, side), psi)
    there = np.zeros(sums.shape, bool)
    there[code, side] = True
    count = there.sum(0)
    if (count < 2).any():
        return TooFew("a class has a single image or group; it takes at least 2")
    scaled = sums * np.sqrt(count / (count - 1))
    variance = float((scaled.sum(1) ** 2).sum())
    of_class = (scaled**2).sum(0)
    if not variance > 0:
        return TooFew("no image moves the difference: both give every image the same")
    df = float(of_class.sum() ** 2 / (of_class**2 / (count - 1)).sum())
    return Clustered(float(np.sqrt(variance)) / len(psi), df)


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """Two-sided mid-p of `only_a` and `only_b` discordant images (Fagerland, Lydersen, Laake 2013, supplement)."""
    total = only_a + only_b
    if only_a == only_b:
        return 1 - 0.5 * float(stats.binom.pmf(only_a, total, 0.5))
    fewer = min(only_a, only_b)
    return float(2 * stats.binom.cdf(fewer, total, 0.5) - stats.binom.pmf(fewer, total, 0.5))


def bonett_price(only_a: int, only_b: int, images: int, level: float = 0.95) -> Interval:
    """Adjusted Wald interval of a difference of paired proportions, one added to both counts (Bonett and Price 2012)."""
    a, b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    half = float(stats.norm.ppf(0.5 + level / 2)) * float(np.sqrt((a + b - (a - b) ** 2) / (images + 2)))
    return Interval(max(-1.0, a - b - half), min(1.0, a - b + half))
