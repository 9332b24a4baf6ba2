"""The claims of the paper (Computation 2025, 13, 278), each with its own test and verdict.

Each is a claim about training again ("hybrids are better", "more stable"), so that each is tested on paired fits. All
are one-sided, as they are worded: `supported` where the test of the claim finds it at alpha, `contradicted` where the
test of its opposite does, else `undecided`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qlcnet.evidence.comparison import FoldScores, check_paired, mean_over_widths, paired_t, trend_over_widths
from qlcnet.evidence.fold_variance import VarianceComparison, compare_variances
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import PairedT
from qlcnet.evidence.statistics import Interval

ClaimWord = Literal["supported", "contradicted", "undecided", "not testable"]
Pairs = Sequence[tuple[FoldScores, FoldScores]]  # of hybrid and classical, a pair a width


@dataclass(frozen=True)
class Part:
    """One number of a claim: hybrid minus classical (a ratio of sd: hybrid over classical), its interval, and the
    one-sided p of what is claimed of it and of the opposite."""

    what: str
    estimate: float
    interval: Interval
    p: float
    p_opposite: float


@dataclass(frozen=True)
class Claim:
    """statement: in our words. source: where the paper says it. decisive: what the verdict is from; beside: what else
    the reader needs. p: of the claim, the largest of the decisive parts' (Berger 1982: all must hold)."""

    statement: str
    source: str
    metric: str
    test: str
    word: ClaimWord
    p: float
    decisive: tuple[Part, ...]
    beside: tuple[Part, ...] = ()
    reason: str = ""  # why it is not testable


@dataclass(frozen=True)
class Wording:
    """What the paper says, and how it is tested."""

    statement: str
    source: str
    test: str


WORDINGS: Mapping[str, Wording] = {
    "crossing": Wording(
        "hybrid is ahead at the compact and medium widths, and behind at the large ones",
        "abstract; sections 5.2 and 6.2",
        "corrected t of the mean over the compact, and over the large widths, both one-sided (Berger 1982)",
    ),
    "steadier": Wording(
        "hybrid varies less over folds",
        "abstract; sections 5.1, 6.1 and 6.2",
        "Pitman and Morgan; with several repeats atanh of their correlation",
    ),
    "gap": Wording(
        "hybrid recognises hard classes better, which narrows the gap between easy and difficult classes",
        "abstract",
        "corrected t of the difference of gaps between the easier and the harder half of the classes",
    ),
    "overfitting": Wording(
        "hybrid overfits less: quantum layers regularise",
        "abstract; sections 5.2, 6.1 and 6.3",
        "corrected t of the difference of gaps between training and validation in the last epoch",
    ),
}
# the widths that the paper sets against one another, by task: section 5.2; on CIFAR-10 the order turns at 100 (5.1)
COMPACT, LARGE = ("lcnet_050", "lcnet_075", "lcnet_100"), ("lcnet_150", "lcnet_200")
COMPACT_CIFAR10, LARGE_CIFAR10 = ("lcnet_050", "lcnet_075"), ("lcnet_100",)


def crossing(
    pairs: Pairs,
    metric: str,
    alpha: float,
    compact: Collection[str] = COMPACT,
    large: Collection[str] = LARGE,
) -> Claim:
    """Ahead at `compact` backbones and behind at `large` ones; the trend over all widths stands beside.

    Both parts must hold, each at alpha: a test of size alpha, unadjusted (Berger 1982). Its opposite is that one of
    them fails, each at alpha/2.
    """
    of_compact = [pair for pair in pairs if pair[0].backbone in compact]
    of_large = [pair for pair in pairs if pair[0].backbone in large]
    if not of_compact or not of_large:
        lacking = compact if not of_compact else large
        return _not_testable("crossing", metric, f"no network of the widths {', '.join(lacking)}")
    small = paired_t(mean_over_widths(of_compact, metric), pairs[0][0])
    big = paired_t(mean_over_widths(of_large, metric), pairs[0][0])
    sizes = {classical.parameters for _, classical in pairs}
    trend = paired_t(trend_over_widths(pairs, metric), pairs[0][0]) if len(sizes) > 1 else TooFew("one size")
    if isinstance(small, TooFew) or isinstance(big, TooFew):
        return _not_testable("crossing", metric, _reason(small, big))
    parts = (
        _part(f"mean over {_names(of_compact)}", small, 1, alpha),
        _part(f"mean over {_names(of_large)}", big, -1, alpha),
    )
    beside = () if isinstance(trend, TooFew) else (_part("change a doubling of parameters", trend, -1, alpha),)
    return _claim("crossing", metric, parts, beside, alpha)


def steadier(pairs: Pairs, metric: str, alpha: float) -> Claim:
    """Less variance over folds, over all widths; each width stands beside."""
    for a, b in pairs:
        check_paired(a.table, b.table)
    if pairs[0][0].same_images:
        return _not_testable("steadier", metric, "one split has no folds to vary over")
    values = [(a.values[metric], b.values[metric]) for a, b in pairs]
    share = pairs[0][0].test_share
    together = compare_variances(values, share, 1 - alpha)
    if isinstance(together, TooFew):
        return _not_testable("steadier", metric, together.reason)
    single = [compare_variances([each], share, 1 - alpha) for each in values]
    beside = tuple(
        _ratio(pair[0].backbone, each)
        for pair, each in zip(pairs, single, strict=True)
        if isinstance(each, VarianceComparison)
    )
    return _claim("steadier", metric, (_ratio(_names(pairs), together),), beside if len(pairs) > 1 else (), alpha)


def narrower_gap(pairs: Pairs, alpha: float) -> Claim:
    """A narrower gap between the mean recall of the easier and of the harder half of the classes.

    Which are hard is read off the mean recall of both models in all fits: chosen by one model's own, the other's would
    look better by regression to the mean (test_the_choice_of_hard_classes_favours_no_model). With an odd number the
    middle class is in neither. Both halves stand beside: a gap also narrows where easy classes suffer.
    """
    metric = "recall"
    for a, b in pairs:
        check_paired(a.table, b.table)
    classes = len(pairs[0][0].table.class_names)
    recalls = [np.stack([_recalls(one, classes) for one in pair]) for pair in pairs]  # 2, repeats, folds, classes
    half = classes // 2
    order = np.argsort(np.nanmean(recalls, axis=(0, 1, 2, 3)), kind="stable")
    hard, easy = order[:half], order[classes - half :]
    difference = np.mean([r[0] - r[1] for r in recalls], axis=0)  # repeats, folds, classes
    of_easy, of_hard = difference[..., easy].mean(-1), difference[..., hard].mean(-1)
    tests = [paired_t(d, pairs[0][0]) for d in (of_easy - of_hard, of_easy, of_hard)]
    gap, easier, harder = tests
    if isinstance(gap, TooFew) or isinstance(easier, TooFew) or isinstance(harder, TooFew):
        return _not_testable("gap", metric, _reason(*tests))
    names = pairs[0][0].table.class_names
    beside = (
        _part(f"recall of {', '.join(names[k] for k in hard)}", harder, 1, alpha),
        _part(f"recall of {', '.join(names[k] for k in easy)}", easier, 1, alpha),
    )
    return _claim("gap", metric, (_part("gap", gap, -1, alpha),), beside, alpha)


def less_overfitting(
    gaps: Sequence[tuple[np.ndarray, np.ndarray]], like: FoldScores, metric: str, alpha: float
) -> Claim:
    """A smaller gap of training minus validation `metric` (of a loss: validation minus training) in the last epoch.

    gaps: for each width those of hybrid and classical, (repeats, folds) each, of fits that came about as `like`'s.
    """
    test = paired_t(np.mean([a - b for a, b in gaps], axis=0), like)
    if isinstance(test, TooFew):
        return _not_testable("overfitting", metric, test.reason)
    beside = [paired_t(np.mean([pair[i] for pair in gaps], axis=0), like) for i in (0, 1)]
    own = [
        _part(f"gap of {name}", of, -1, alpha)
        for name, of in zip(("hybrid", "classical"), beside, strict=True)
        if isinstance(of, PairedT)
    ]
    return _claim("overfitting", metric, (_part("difference of gaps", test, -1, alpha),), tuple(own), alpha)


def _recalls(scores: FoldScores, classes: int) -> np.ndarray:
    return np.stack([scores.values[f"recall_{k}"] for k in range(classes)], axis=-1)


def _part(what: str, test: PairedT, sign: int, alpha: float) -> Part:
    """sign: 1 where a positive difference is claimed."""
    p, opposite = test.p_above(0), test.p_below(0)
    if sign < 0:
        p, opposite = opposite, p
    return Part(what, test.mean, test.interval(1 - alpha), p, opposite)


def _ratio(what: str, found: VarianceComparison) -> Part:
    return Part(f"ratio of sd, {what}", found.ratio, found.interval, found.p_steadier, found.p_wilder)


def _claim(which: str, metric: str, decisive: tuple[Part, ...], beside: tuple[Part, ...], alpha: float) -> Claim:
    p = max(part.p for part in decisive)
    opposite = min(part.p_opposite for part in decisive) * len(decisive)  # one of them fails: Bonferroni
    word: ClaimWord = "supported" if p < alpha else "contradicted" if opposite < alpha else "undecided"
    wording = WORDINGS[which]
    return Claim(wording.statement, wording.source, metric, wording.test, word, p, decisive, beside)


def _not_testable(which: str, metric: str, reason: str) -> Claim:
    wording = WORDINGS[which]
    return Claim(wording.statement, wording.source, metric, wording.test, "not testable", 1.0, (), (), reason)


def _reason(*tests: PairedT | TooFew) -> str:
    return next(test.reason for test in tests if isinstance(test, TooFew))


def _names(pairs: Pairs) -> str:
    return ", ".join(one.backbone for one, _ in pairs)
