"""Verdicts on networks as they are: the words of `verdicts`, from intervals of differences paired by image."""

from __future__ import annotations

from collections.abc import Callable

from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.verdicts import Word


def word_of(at: Callable[[float], ImageDifference | TooFew], margin: float, alpha: float) -> Word:
    """The first line of the table in `verdicts` that holds, for one comparison.

    at: the difference with its interval at a level. A two-sided test at alpha is an interval of 1 - alpha that leaves
    out the value; two one-sided tests of equivalence at alpha are one of 1 - 2 alpha within the margin.
    """
    usual, narrow = at(1 - alpha), at(1 - 2 * alpha)
    if isinstance(usual, TooFew) or isinstance(narrow, TooFew):
        return "too few"
    low, high, ahead = usual.interval.low, usual.interval.high, usual.difference > 0
    equal = -margin < narrow.interval.low and narrow.interval.high < margin
    rows: list[tuple[bool, Word, Word]] = [
        (low > margin or high < -margin, "better by more than the margin", "worse by more than the margin"),
        ((low > 0 or high < 0) and equal, "better, by less than the margin", "worse, by less than the margin"),
        (low > 0 or high < 0, "better", "worse"),
        (equal, "equivalent", "equivalent"),
    ]
    return next((up if ahead else down for holds, up, down in rows if holds), "undecided")
