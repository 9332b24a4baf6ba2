"""Shapes of studies, and populations whose true metrics are known: images in groups, networks of any skill.

An image's logits are skill x one-hot(class) + noise; the noise has a part that an image shares with its group, a part
that it shares with itself under other networks, and one of its own. So a group's images are right or wrong together,
as photographs of one lesion are, and several networks agree more than chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

DERMAMNIST = (327, 514, 1099, 115, 1113, 6705, 142)  # images of each class, of 10,015
BREASTMNIST = (210, 570)  # images of each class, of 780
HAM10000 = (5514, 1423, 490, 34, 5, 4)  # lesions with 1, 2, … 6 photographs: 7,470 with 10,015
ONE_TO_SIX = (1, 1, 1, 1, 1, 1)  # groups of every size up to 6 equally often
ALONE = (1,)  # each image its own group
TRUTH = 200_000  # images of each class that the truth is computed from


@dataclass(frozen=True)
class Shape:
    """A study.

    n: images. classes: their proportions. sizes: how often groups have 1, 2, … images. skill: of each class, in
    standard deviations of the logits' noise (one value: of all). agree: share of the noise's variance that the images
    of a group have in common. mixed: an image's class is its own, not its group's. repeats: networks a study, whose
    noise has the share `same` in common. offset: added to the logits of each class, as a network's prior does.
    """

    n: int
    classes: tuple[int, ...] = DERMAMNIST
    sizes: tuple[int, ...] = ALONE
    skill: tuple[float, ...] = (2.0,)
    agree: float = 0.6
    mixed: bool = False
    repeats: int = 1
    same: float = 0.6
    offset: float = 0.5
    folds: int = 5

    @property
    def priors(self) -> np.ndarray:
        """Share of each class in the population, (K,)."""
        return np.array(self.classes) / sum(self.classes)

    @property
    def grouped(self) -> bool:
        return len(self.sizes) > 1


@dataclass(frozen=True, eq=False)
class Study:
    """targets: (n,). probabilities: (n, K) of each repeat. folds: fold of each image, (n,), of each repeat. groups:
    code of each image, (n,), or None."""

    targets: np.ndarray
    probabilities: tuple[np.ndarray, ...]
    folds: tuple[np.ndarray, ...]
    groups: np.ndarray | None


def draw(shape: Shape, rng: np.random.Generator) -> Study:
    """A study from the population of a shape: groups are drawn, then cut at n images."""
    groups = draw_groups(shape, rng)
    of_group = rng.choice(len(shape.classes), size=groups[-1] + 1, p=shape.priors)
    targets = rng.choice(len(shape.classes), size=shape.n, p=shape.priors) if shape.mixed else of_group[groups]
    return Study(
        targets,
        tuple(draw_probabilities(shape, targets, groups, rng)),
        tuple(draw_folds(shape, targets, groups, rng) for _ in range(shape.repeats)),
        groups if shape.grouped else None,
    )


def draw_groups(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Group of each image, (n,), ascending from 0."""
    if not shape.grouped:
        return np.arange(shape.n)
    often = np.array(shape.sizes) / sum(shape.sizes)
    sizes = rng.choice(len(often), size=shape.n, p=often) + 1
    return np.repeat(np.arange(shape.n), sizes)[: shape.n]


def draw_probabilities(shape: Shape, targets: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> list:
    """float32 (N, K) of each repeat."""
    classes = len(shape.classes)
    if shape.grouped:
        shared = rng.standard_normal((groups[-1] + 1, classes))[groups]
        common = np.sqrt(shape.agree) * shared + np.sqrt(1 - shape.agree) * rng.standard_normal((len(groups), classes))
    else:
        common = rng.standard_normal((len(groups), classes))
    mean = _mean_logits(shape)[targets]
    if shape.repeats == 1:
        return [softmax(mean + common)]
    own = [rng.standard_normal(common.shape) for _ in range(shape.repeats)]
    return [softmax(mean + np.sqrt(shape.same) * common + np.sqrt(1 - shape.same) * noise) for noise in own]


def draw_folds(shape: Shape, targets: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold of each image: whole groups, stratified by the class of a group's first image."""
    first = np.unique(groups, return_index=True)[1]
    units = len(first)
    order = np.lexsort((rng.random(units), targets[first]))  # class by class, in random order
    fold = np.empty(units, np.int64)
    fold[order] = (np.arange(units) + rng.integers(shape.folds)) % shape.folds
    return fold[groups]


def truth(shape: Shape, images: int = TRUTH) -> dict[str, float]:
    """The population's metrics, named as in qlcnet.evidence.intervals: so many images a class, weighted by priors."""
    # neither groups nor repeats change what one network does with one image
    return _truth(Shape(0, shape.classes, skill=shape.skill, offset=shape.offset), images)


@cache
def _truth(shape: Shape, images: int) -> dict[str, float]:
    classes = len(shape.classes)
    rng = np.random.default_rng(20_011)
    targets = np.repeat(np.arange(classes), images)
    noise = rng.standard_normal((len(targets), classes))
    return weighted_metrics(targets, softmax(_mean_logits(shape)[targets] + noise), shape.priors)


@cache
def clumping(shape: Shape, images: int = TRUTH) -> tuple[np.ndarray, np.ndarray]:
    """Of each class's hits, over the variance of one hit, (K,) each: variance of the mean over repeats, covariance of
    two images of one group."""
    classes = len(shape.classes)
    if shape.repeats == 1 and not shape.grouped:
        return np.ones(classes), np.zeros(classes)
    targets = np.repeat(np.arange(classes), images)
    pairs = np.repeat(np.arange(len(targets) // 2), 2)
    rng = np.random.default_rng(20_012)
    hits = np.mean([p.argmax(1) == targets for p in draw_probabilities(shape, targets, pairs, rng)], axis=0)
    hits = hits.reshape(classes, -1, 2)
    recalls = hits.mean((1, 2))
    one = np.maximum(recalls * (1 - recalls), 0.25 / images)  # a class that is never missed: as if it were, once
    residuals = hits - recalls[:, None, None]
    spread = np.maximum((residuals**2).mean((1, 2)) / one, 1 / shape.repeats)
    return spread, (residuals[..., 0] * residuals[..., 1]).mean(1) / one


def weighted_metrics(
    targets: np.ndarray, probabilities: np.ndarray, priors: np.ndarray, micro: bool = True
) -> dict[str, float]:
    """Metrics of a population with these priors, from images (N,), (N, K) of each class, however many.

    micro: with the micro AUC, which takes as long as all the others.
    """
    classes = len(priors)
    weights = (priors / np.bincount(targets, minlength=classes))[targets]
    predicted = probabilities.argmax(1)
    cells = np.bincount(targets * classes + predicted, weights, classes * classes).reshape(classes, classes)
    recalls, hits = np.diag(cells) / priors, float(np.trace(cells))
    of_target = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    squares = (probabilities.astype(np.float64) ** 2).sum(1) - 2 * of_target + 1
    chance = float(cells.sum(0) @ priors)
    areas = [weighted_auc(targets == k, probabilities[:, k], weights) for k in range(classes)]
    hot = targets[:, None] == np.arange(classes)
    cell_weights = np.repeat(weights, classes)
    of_micro = {"auc_micro": weighted_auc(hot.ravel(), probabilities.ravel(), cell_weights)} if micro else {}
    return {
        "accuracy": hits,
        "balanced_accuracy": float(recalls.mean()),
        "auc_macro": float(np.mean(areas)),
        **of_micro,
        "loss": float(-(weights * np.log(np.maximum(of_target, np.finfo(np.float32).eps))).sum()),
        "brier": float((weights * squares).sum()),
        "kappa": (hits - chance) / (1 - chance),
        "f1_macro": float(np.mean(2 * np.diag(cells) / (priors + cells.sum(0)))),
        **{f"recall_{k}": float(recall) for k, recall in enumerate(recalls)},
        **{f"auc_{k}": area for k, area in enumerate(areas)},
    }


def weighted_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve of weighted images. Equal scores are rare in the population and count as wrong."""
    order = np.argsort(scores, kind="stable")
    positive, weights = positive[order], weights[order]
    below = np.cumsum(np.where(positive, 0.0, weights))
    return float((weights * below)[positive].sum() / (below[-1] * weights[positive].sum()))


def _mean_logits(shape: Shape) -> np.ndarray:
    """Of each class's images, (K, K)."""
    skill = np.broadcast_to(np.array(shape.skill), len(shape.classes))
    return np.diag(skill) + shape.offset * np.log(shape.priors)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return (odds / odds.sum(1, keepdims=True)).astype(np.float32)
