"""What may be said of a comparison: adjusted p-values, the verdict's word, and its sentence.

The words are those of the table below, and the first line that holds counts. For a family of m comparisons with
differences d and margin M:

| word | when |
|---|---|
| better by more than the margin, worse … | Holm-adjusted one-sided p of d > M (d < -M) below alpha/2 |
| better, by less than the margin, worse … | Holm-adjusted two-sided p of d = 0 below alpha, and equivalent |
| better, worse | Holm-adjusted two-sided p of d = 0 below alpha |
| equivalent | Holm-adjusted p of the two one-sided tests against -M and M below alpha |
| undecided | else: never "no difference" |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.power import Outlook, outlook
from qlcnet.evidence.resampled import Effect, PairedT, Probabilities
from qlcnet.evidence.statistics import Interval

Word = Literal[
    "better by more than the margin",
    "worse by more than the margin",
    "better, by less than the margin",
    "worse, by less than the margin",
    "better",
    "worse",
    "equivalent",
    "rises",  # of a trend, which has no margin
    "falls",
    "undecided",
    "too few",
]


@dataclass(frozen=True)
class Adjusted:
    """p-values of one comparison, adjusted within its family: two-sided, beyond the margin each way, equivalence."""

    difference: float
    above: float
    below: float
    equivalent: float


@dataclass(frozen=True)
class Verdict:
    """What a comparison says.

    margin: None for a trend. p: unadjusted, two-sided. adjusted: within a family of `family` comparisons. interval: at
    1 - alpha/family (Bonferroni); unadjusted: at 1 - alpha. least_margin: for which data of this spread could show
    equivalence in this family at all. outlook: what would see the margin (for a trend, the slope found).
    """

    word: Word
    test: PairedT
    margin: float | None
    alpha: float
    family: int
    p: float
    adjusted: Adjusted
    interval: Interval
    unadjusted: Interval
    effect: Effect | None
    probabilities: Probabilities | None
    least_margin: float
    outlook: Outlook | None

    @property
    def decided(self) -> bool:
        """Whether a difference was found, or ruled out."""
        return self.word != "undecided"


@dataclass(frozen=True)
class Silent:
    """A comparison of which nothing can be said, and why."""

    reason: str
    word: Word = "too few"


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family (Holm 1979): the chance of any false finding is at most what they are held to."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(one) for one in adjusted]


def judge(
    tests: Sequence[PairedT | TooFew], margin: float | None, alpha: float, adjust: bool = True
) -> list[Verdict | Silent]:
    """The verdicts of one family, in its order. margin: None for trends. adjust: False where each stands for itself.

    A comparison with too few data counts as one of the family: what was to be compared was declared before.
    """
    family = len(tests) if adjust else 1
    adjusted = _adjusted(tests, margin, adjust)
    return [
        Silent(test.reason) if isinstance(test, TooFew) else _verdict(test, p, margin, alpha, family)
        for test, p in zip(tests, adjusted, strict=True)
    ]


def _adjusted(tests: Sequence[PairedT | TooFew], margin: float | None, adjust: bool) -> list[Adjusted]:
    rows = [_unadjusted(test, margin) for test in tests]
    columns = zip(*rows, strict=True)
    return [Adjusted(*row) for row in (zip(*map(holm, columns), strict=True) if adjust else rows)]


def _unadjusted(test: PairedT | TooFew, margin: float | None) -> tuple[float, float, float, float]:
    if isinstance(test, TooFew):
        return 1.0, 1.0, 1.0, 1.0
    if margin is None:
        return test.p, test.p_above(0), test.p_below(0), 1.0
    return test.p, test.p_above(margin), test.p_below(-margin), test.p_equivalent(margin)


def _verdict(test: PairedT, p: Adjusted, margin: float | None, alpha: float, family: int) -> Verdict:
    target = abs(test.mean) if margin is None else margin
    return Verdict(
        _word(test, p, margin, alpha),
        test,
        margin,
        alpha,
        family,
        test.p,
        p,
        test.interval(1 - alpha / family),
        test.interval(1 - alpha),
        test.effect(1 - alpha),
        None if margin is None else test.probabilities(margin),
        test.least_margin(alpha / family),
        outlook(test, target, alpha / family) if test.has_spread and target > 0 else None,
    )


def _word(test: PairedT, p: Adjusted, margin: float | None, alpha: float) -> Word:
    """The first line of the table that holds."""
    ahead, differs, equal = test.mean > 0, p.difference < alpha, p.equivalent < alpha
    if margin is None:
        rows: list[tuple[bool, Word, Word]] = [(differs, "rises", "falls")]
    else:
        beyond = min(p.above, p.below) < alpha / 2
        rows = [
            (beyond, "better by more than the margin", "worse by more than the margin"),
            (differs and equal, "better, by less than the margin", "worse, by less than the margin"),
            (differs, "better", "worse"),
            (equal, "equivalent", "equivalent"),
        ]
    return next((up if ahead else down for holds, up, down in rows if holds), "undecided")
