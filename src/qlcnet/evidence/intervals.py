"""Intervals of one model's metrics that hold what they promise, or the reason why there is none.

What is promised: the interval contains the metric of these networks over all images like these (groups like these,
where images come in groups) in 95 of 100 studies. benchmarks/statistics.json says what simulation gave, shape by shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qlcnet.evidence.basis import Basis, basis_of
from qlcnet.evidence.effective import effective_members
from qlcnet.evidence.further import ALL_METRICS
from qlcnet.evidence.influence import Sums, summed
from qlcnet.evidence.limits import (
    LEVEL,
    Limits,
    TooFew,
    modified_wilson,
    moved_on_logit,
    mover,
    on_fisher_z,
    on_log,
    on_logit,
    wilson,
)

# Found by simulation (benchmarks/statistics.py): with fewer, coverage falls below 0.92. Numbers of groups say little of
# how good a network is. Numbers of errors do: among good networks, those with many errors would be shown alone, and
# their intervals would miss. So one error is enough, and the degrees of freedom say how little it is.
GROUPS = 30  # accuracy, micro AUC
GROUPS_OF_RECALL = 5
GROUPS_OF_MACRO_AUC = 5  # of the rarest class
GROUPS_OF_F1 = 10  # of the rarest class
GROUPS_OF_AUC = 30  # on the smaller side, one class of several
GROUPS_OF_BINARY_AUC = 12
ERRORS = 1  # groups with an error: loss, Brier, kappa, F1
# Of the degrees of freedom of one class's AUC. A few members far down the ranking make its variance, and where they
# happen to be absent the fourth moment does not tell: 0.91 without, in the worst shape (AUC 0.996 of 106 groups).
SHARE_OF_DF = 2 / 3
UNPROVEN = TooFew("no interval is known to hold for this metric")
ROUNDING = 1e-9  # of influence values, which are of the size of 1
CONSTANT = TooFew("no image moves it: the network says the same of all")

Outcome = Limits | TooFew


def intervals_of(
    wholes: Sequence[tuple[np.ndarray, np.ndarray]],
    folds: Sequence[np.ndarray],
    groups: np.ndarray | None = None,
    level: float = LEVEL,
) -> dict[str, Outcome]:
    """The interval of every metric of METRICS and FURTHER_METRICS, and of recall_<k> and auc_<k> of each class.

    wholes: targets (N,) and probabilities (N, K) of each repeat, the same images in the same order. folds: the fold
    of each image, (N,), of each repeat. groups: (N,), equal where images belong together; None: each stands alone.
    The value is the mean over repeats, of metrics of the whole table; of auc_macro it is the mean over fits, as the
    pooled value of several networks is too low. More repeats are never more images. Raises ValueError.
    """
    basis = basis_of(wholes, folds, groups)
    classes = range(basis.classes)
    found = {name: METHODS[name](basis, level) if name in METHODS else UNPROVEN for name in ALL_METRICS}
    found |= {f"recall_{k}": _recall(basis, k, level) for k in classes}
    found |= {f"auc_{k}": _auc(basis, k, level) for k in classes}
    return found


def _accuracy(basis: Basis, level: float) -> Outcome:
    if basis.groups < GROUPS:
        return TooFew(f"{basis.groups} {basis.word}", GROUPS)
    all_one = np.zeros(len(basis.targets), np.int64)
    n = float(effective_members(basis.hits, all_one, basis.codes, 1)[0])
    share = float(basis.hits.mean())
    return Limits(share, *modified_wilson(share, n, level), "modified Wilson, effective images")


def _recall(basis: Basis, k: int, level: float) -> Outcome:
    if basis.in_groups[k] < GROUPS_OF_RECALL:
        return _few_of_class(basis, k, GROUPS_OF_RECALL)
    low, high = _limits_of_recalls(basis, level)
    return Limits(basis.values[f"recall_{k}"], low[k], high[k], "modified Wilson, effective members")


def _limits_of_recalls(basis: Basis, level: float) -> tuple[list[float], list[float]]:
    both = [
        modified_wilson(basis.values[f"recall_{k}"], float(n), level) if n else (0.0, 1.0)
        for k, n in enumerate(basis.members)
    ]
    return [low for low, _ in both], [high for _, high in both]


def _balanced_accuracy(basis: Basis, level: float) -> Outcome:
    if not basis.rarest:
        return _few_of_class(basis, int(basis.in_groups.argmin()), 1)
    names = [f"recall_{k}" for k in range(basis.classes)]
    values, (low, high) = np.array([basis.values[name] for name in names]), _limits_of_recalls(basis, level)
    sums = [summed(basis.psi[name], basis.codes) for name in names]  # classes are correlated where groups are mixed
    limits = mover(values, np.array(low), np.array(high), _correlations(sums))
    return Limits(float(values.mean()), *limits, "MOVER of modified Wilson limits")


def _auc(basis: Basis, k: int, level: float) -> Outcome:
    needs = GROUPS_OF_BINARY_AUC if basis.classes == 2 else GROUPS_OF_AUC
    smaller = basis.sides[f"auc_{k}"].groups[0] if f"auc_{k}" in basis.sides else 0
    if smaller < needs:
        return TooFew(f"{smaller} {basis.word} with or without class {k}", needs)
    if _is_constant(basis, f"auc_{k}") and not _is_perfect(basis, f"auc_{k}"):
        return CONSTANT
    limits = _limits_of_auc(basis, k, level, max(1.0, SHARE_OF_DF * basis.sides[f"auc_{k}"].df))
    return Limits(basis.values[f"auc_{k}"], *limits, "logit t")


def _is_constant(basis: Basis, name: str) -> bool:
    """Whether no image moves a metric: all scores are equal, one class is always predicted, or all is right."""
    return bool(np.abs(basis.psi[name]).max() < ROUNDING)


def _is_perfect(basis: Basis, name: str) -> bool:
    """Whether an AUC is 1, or 0: no image moves it, yet another might."""
    return basis.values[name] in (0.0, 1.0)


def _limits_of_auc(basis: Basis, k: int, level: float, df: float, folds: int = 1) -> tuple[float, float]:
    value, sums = basis.values[f"auc_{k}"], basis.sides[f"auc_{k}"]
    if _is_perfect(
        basis, f"auc_{k}"
    ):  # no pair is in the wrong order: at least the smaller side's groups are as many trials
        return wilson(value, sums.groups[0], level)
    return on_logit(value, np.sqrt(sums.variance + _of_lost_pairs(basis, k, folds)), df, level)


def _of_lost_pairs(basis: Basis, k: int, folds: int) -> float:
    """Variance that a mean of folds' AUCs has beyond the pooled one: pairs of images of two folds are not compared.

    The variance of a two-sample U statistic is z10 / m + z01 / n + (A(1 - A) - z10 - z01) / (mn) to first order of the
    last term (Lehmann 1951); the mean over f folds has f times the last term. DeLong's estimate has it twice, since
    its components are themselves means over the other side.
    """
    value, psi, there = basis.values[f"auc_{k}"], basis.psi[f"auc_{k}"], basis.targets == k
    share = there.mean()
    components = float((psi[there] ** 2).mean() * share**2 + (psi[~there] ** 2).mean() * (1 - share) ** 2)
    pairs = float(np.prod(basis.sides[f"auc_{k}"].groups))
    return max(folds - 2, 0) * max(value * (1 - value) - components, 0.0) / pairs


def _auc_macro(basis: Basis, level: float) -> Outcome:
    if basis.rarest < GROUPS_OF_MACRO_AUC:
        return _few_of_class(basis, int(basis.in_groups.argmin()), GROUPS_OF_MACRO_AUC)
    ks = range(basis.classes)
    if any(_is_constant(basis, f"auc_{k}") and not _is_perfect(basis, f"auc_{k}") for k in ks):
        return CONSTANT
    pooled = np.array([basis.values[f"auc_{k}"] for k in ks])
    sums = list(basis.sides.values())
    # not their own degrees of freedom: errors of several classes partly cancel, and wider limits would not let them
    low, high = np.array([_limits_of_auc(basis, k, level, sums[k].groups[0] - 1, basis.folds) for k in ks]).T
    limits = mover(pooled, low, high, _correlations(sums))
    value, centre = basis.auc_of_folds, float(pooled.mean())
    shift = np.log(value / (1 - value) * (1 - centre) / centre) if 0 < value < 1 and 0 < centre < 1 else 0.0
    low_, high_ = (moved_on_logit(limit, shift) for limit in limits)
    return Limits(value, min(low_, value), max(high_, value), "MOVER of the classes' logit limits, mean of folds")


def _auc_micro(basis: Basis, level: float) -> Outcome:
    if basis.groups < GROUPS or "auc_micro" not in basis.psi:
        return TooFew(f"{basis.groups} {basis.word}", GROUPS)
    value = basis.values["auc_micro"]
    if _is_perfect(basis, "auc_micro"):
        return Limits(value, *wilson(value, basis.groups, level), "Wilson, groups")
    if _is_constant(basis, "auc_micro"):
        return CONSTANT
    return Limits(value, *on_logit(value, *_error(basis, "auc_micro"), level), "logit t")


def _of_mean(name: str, method: str, form: Callable[..., tuple[float, float]]) -> Callable[[Basis, float], Outcome]:
    def interval(basis: Basis, level: float) -> Outcome:
        if basis.errors < ERRORS or name not in basis.psi:
            return TooFew(f"{basis.errors:.0f} {basis.word} with an error", ERRORS)
        value = basis.values[name]
        if _is_constant(basis, name):
            return CONSTANT
        return Limits(value, *form(value, *_error(basis, name), level), method)

    return interval


def _f1_macro(basis: Basis, level: float) -> Outcome:
    if basis.rarest < GROUPS_OF_F1:
        return _few_of_class(basis, int(basis.in_groups.argmin()), GROUPS_OF_F1)
    if basis.errors < ERRORS:
        return TooFew(f"{basis.errors:.0f} {basis.word} with an error", ERRORS)
    value = basis.values["f1_macro"]
    if value == 0:
        return TooFew("no image is recognised", 1)
    return Limits(value, *on_logit(value, *_error(basis, "f1_macro"), level), "logit t")


def _error(basis: Basis, name: str) -> tuple[float, float]:
    """Standard error and its degrees of freedom."""
    sums = summed(basis.psi[name], basis.codes)
    return float(np.sqrt(sums.variance)), sums.df


def _few_of_class(basis: Basis, k: int, needs: int) -> TooFew:
    return TooFew(f"{basis.in_groups[k]} {basis.word} of class {k}", needs)


def _correlations(sums: Sequence[Sums]) -> np.ndarray:
    """(K, K) of the estimates; one that does not vary is correlated with none."""
    totals = np.stack([one.totals for one in sums])
    covariances = totals @ totals.T
    scale = np.sqrt(np.diag(covariances))
    found = np.divide(covariances, np.outer(scale, scale), out=np.eye(len(sums)), where=np.outer(scale, scale) > 0)
    return np.clip(found, -1.0, 1.0)


METHODS: Mapping[str, Callable[[Basis, float], Outcome]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auc_macro": _auc_macro,
    "auc_micro": _auc_micro,
    "loss": _of_mean("loss", "log t", on_log),
    "f1_macro": _f1_macro,
    "kappa": _of_mean("kappa", "Fisher z, t", on_fisher_z),
    "brier": _of_mean("brier", "log t", on_log),
}
