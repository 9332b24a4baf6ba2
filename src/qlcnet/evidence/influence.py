"""How much each image moves a metric: influence values, from which standard errors follow without resampling.

psi_i is the derivative of the metric by the weight of image i, times N: if image i counts 1 + e times, the metric
moves by e psi_i / N to first order (test_influence_is_the_derivative_by_an_image's_weight). So the sum of psi is 0,
and the variance of the metric is about sum psi_i^2 / N^2, or, where images come in groups, the sum over groups of
(sum of psi in the group)^2 / N^2. For the AUC of one class without groups this is DeLong's variance (1988;
test_the_variance_of_an_auc_is_delongs), with groups Obuchowski's (1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qlcnet.evidence.further import brier_scores
from qlcnet.evidence.metrics import check_predictions, losses, one_hot, predicted_classes


@dataclass(frozen=True, eq=False)
class Linearised:
    """A metric and its influence values, float64 (N,)."""

    value: float
    psi: np.ndarray


def influence_values(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """psi, float64 (N,), of each metric that is defined; names and arguments as of `linearised`."""
    return {name: one.psi for name, one in linearised(targets, probabilities).items()}


def linearised(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, Linearised]:
    """Value and influence values of each metric that is defined, by name.

    Names: accuracy, balanced_accuracy, auc_macro, auc_micro, loss, brier, kappa, f1_macro, recall_<k>, auc_<k>.
    targets: int (N,). probabilities: (N, K). 10,015 x 7 take 20 ms, most of it sorting. Raises ValueError.
    """
    check_predictions(targets, probabilities)
    classes = range(probabilities.shape[1])
    hot, predicted = one_hot(targets, len(classes)), predicted_classes(probabilities)
    correct = predicted == targets
    recalls = {f"recall_{k}": of_recall(hot[:, k], correct) for k in classes if hot[:, k].any()}
    two_sided = [k for k in classes if hot[:, k].any() and not hot[:, k].all()]
    areas = {f"auc_{k}": of_auc(hot[:, k], probabilities[:, k]) for k in two_sided}
    found = {
        "accuracy": of_mean(correct),
        "balanced_accuracy": _mean(list(recalls.values())),
        "loss": of_mean(losses(targets, probabilities)),
        "brier": of_mean(brier_scores(targets, probabilities)),
        "f1_macro": of_f1(targets, predicted, len(classes)),
        **recalls,
        **areas,
    }
    if areas:
        found["auc_macro"] = _mean(list(areas.values()))
        micro = of_auc(hot.ravel(), probabilities.ravel())
        found["auc_micro"] = Linearised(micro.value, micro.psi.reshape(hot.shape).mean(1))
    if (agreement := of_kappa(targets, predicted, len(classes))) is not None:
        found["kappa"] = agreement
    return found


def of_mean(values: np.ndarray) -> Linearised:
    """Of the mean of a value an image, (N,)."""
    mean = float(values.mean())
    return Linearised(mean, values - mean)


def of_recall(member: np.ndarray, correct: np.ndarray) -> Linearised:
    """Of the share of boolean `member` (N,), not empty, that is correct."""
    recall = float(correct[member].mean())
    return Linearised(recall, np.where(member, (correct - recall) * (len(member) / member.sum()), 0.0))


def of_auc(positive: np.ndarray, scores: np.ndarray) -> Linearised:
    """Of the area under the ROC curve of boolean `positive` (N,), neither empty nor whole, by `scores` (N,)."""
    order = np.argsort(scores)
    ordered, side = scores[order], positive[order]
    ends = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]  # last row of each run of equal scores
    run = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    positives = np.r_[0, np.cumsum(side)[ends]]
    negatives = np.r_[0, ends + 1] - positives
    n_positive, n_negative = int(positives[-1]), int(negatives[-1])
    negatives_below = (negatives[1:] + negatives[:-1])[run]  # twice their number: equals count half
    positives_below = (positives[1:] + positives[:-1])[run]
    area = int(negatives_below[side].sum()) / (2 * n_positive * n_negative)
    psi = np.empty(len(scores))
    psi[order] = np.where(
        side,
        (negatives_below / (2 * n_negative) - area) * (len(scores) / n_positive),
        (1 - positives_below / (2 * n_positive) - area) * (len(scores) / n_negative),
    )
    return Linearised(area, psi)


def of_kappa(targets: np.ndarray, predicted: np.ndarray, classes: int) -> Linearised | None:
    """Of Cohen's kappa (a - c) / (1 - c), where both agreements move; None where agreement by chance is certain."""
    true, guessed = (np.bincount(codes, minlength=classes) / len(targets) for codes in (targets, predicted))
    agreed = predicted == targets
    agreement, chance = float(agreed.mean()), float(true @ guessed)
    if len(np.unique(targets)) == 1 and (predicted == targets[0]).all():
        return None
    moved_chance = guessed[targets] + true[predicted] - 2 * chance
    psi = ((agreed - agreement) * (1 - chance) - (1 - agreement) * moved_chance) / (1 - chance) ** 2
    return Linearised((agreement - chance) / (1 - chance), psi)


def of_f1(targets: np.ndarray, predicted: np.ndarray, classes: int) -> Linearised:
    """Of macro F1, over the classes that are there or predicted: 2 hits / (members + predictions), class by class."""
    agreed = predicted == targets
    named = np.bincount(targets, minlength=classes) + np.bincount(predicted, minlength=classes)
    inverse = len(targets) * np.divide(1.0, named, where=named > 0, out=np.zeros(classes))
    f1 = 2 * np.bincount(targets[agreed], minlength=classes) / len(targets) * inverse
    # an image adds 2 hits to its class where it is right, and itself to the named of its class and of its prediction
    moved = 2 * agreed * inverse[targets] - (f1 * inverse)[targets] - (f1 * inverse)[predicted]
    there = int((named > 0).sum())
    return Linearised(float(f1.sum()) / there, moved / there)


@dataclass(frozen=True, eq=False)
class Sums:
    """Influence summed over groups, from which variances and covariances follow.

    totals: float64 (G,), over N: their squares sum to the variance. groups: on each side, fewest first. df: degrees of
    freedom of that variance.
    """

    totals: np.ndarray
    groups: tuple[int, ...]
    df: float

    @property
    def variance(self) -> float:
        return float(self.totals @ self.totals)


def summed(psi: np.ndarray, codes: np.ndarray, sides: np.ndarray | None = None) -> Sums:
    """Sums over groups `codes` (N,) from 0 to G-1, unbiased by G / (G - 1) of the groups on each side.

    sides: (N,) from 0, the parts within which psi sums to 0 (classes; positive and negative); None: all are one. A
    group with images on two sides counts on both. The variance with one group alone on a side is NaN.
    """
    side = np.zeros(len(psi), np.int64) if sides is None else sides
    groups = groups_of_sides(codes, side)
    factor = np.sqrt(np.divide(groups, groups - 1.0, out=np.full(len(groups), np.nan), where=groups > 1))
    width = len(groups)
    parts = np.bincount(codes * width + side, psi * factor[side] / len(psi), (int(codes.max()) + 1) * width)
    parts = parts.reshape(-1, width)
    present = groups[groups > 0]
    return Sums(parts.sum(1), tuple(sorted(present.tolist())), _degrees_of_freedom(parts[:, groups > 0], present))


def _degrees_of_freedom(parts: np.ndarray, groups: np.ndarray) -> float:
    """Of a variance: at least 1, at most the smallest side's groups - 1; parts: (G, sides).

    A variance that few groups make is known badly, however many others there are: near-perfect networks, rare classes.
    Its relative variance is (kurtosis - 1) / G, of which 2 / df is what a chi-squared variable has (O'Neill 2014,
    "Some useful moment results in sampling problems"; test_degrees_of_freedom_of_normal_and_of_rare_values).
    """
    second, fourth = (parts**2).sum(0), (parts**4).sum(0)
    excess = float((fourth - second**2 / groups).sum())
    most = float(groups.min()) - 1
    found = 2 * float(second.sum()) ** 2 / excess if excess > 0 else most
    return max(1.0, min(found, most))


def groups_of_sides(codes: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Number of groups with an image on each side, int64 (sides,)."""
    width = int(side.max()) + 1
    there = np.zeros((int(codes.max()) + 1) * width, bool)
    there[codes * width + side] = True
    return there.reshape(-1, width).sum(0)


def _mean(parts: Sequence[Linearised]) -> Linearised:
    return Linearised(float(np.mean([one.value for one in parts])), np.mean([one.psi for one in parts], axis=0))
