"""Do tests of differences err as seldom as they say, and do they speak? Learners really fitted anew in every fold.

Two learners are equal in the population, in one of two ways, each of which hides the other's fault. `seeds`: one
learner with other random features in every fit, so that differences are nearly independent over folds. `halves`: one
learner on two exchangeable halves of the features, equal in expectation and not in any sample, which differences share.
A learner is a ridge on random rectified features; a study of 10 repeats of 5 folds gives J = 5, 15 and 50 by its first
1, 3 and 10 repeats. A true difference is planted by adding it to every fold's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import stats

from qlcnet.evidence import fold_variance, power, resampled, verdicts
from qlcnet.evidence.fold_variance import compare_variances
from qlcnet.evidence.power import detectable
from qlcnet.evidence.resampled import PairedT, resampled_t
from qlcnet.evidence.verdicts import Verdict, judge

from . import tests_of_differences as this_module
from .cells import Cell, Tally, digest, standard_error
from .shapes import ALONE, BREASTMNIST, DERMAMNIST, ONE_TO_SIX

ALPHA = 0.05
FOLDS, REPEATS = 5, (1, 3, 10)
METRICS = ("accuracy", "balanced_accuracy", "auc_macro")
MARGINS = {"accuracy": 0.01, "balanced_accuracy": 0.02, "auc_macro": 0.01}
WIDE = (1.0, 1.5, 2.5)  # margins at which a false "equivalent" is sought, over the least that the design can show
HALF, HIDDEN, PENALTY = 6, 32, 1.0  # features a half, random features, ridge
PILOT, TRUTH_FITS, TRUTH_IMAGES = 60, 40, 200_000
AGREE = 0.6  # share of the noise's variance that images of a group have in common


@dataclass(frozen=True)
class Population:
    """n images with these classes; `null`: in which way two learners are equal."""

    null: str
    n: int
    classes: tuple[int, ...]
    skill: float
    sizes: tuple[int, ...] = ALONE

    @property
    def priors(self) -> np.ndarray:
        return np.array(self.classes) / sum(self.classes)


SHAPES = {
    "2 classes, n 156": partial(Population, n=156, classes=BREASTMNIST, skill=0.5),
    "2 classes, n 780": partial(Population, n=780, classes=BREASTMNIST, skill=0.5),
    "7 classes, n 1000": partial(Population, n=1000, classes=DERMAMNIST, skill=0.9),
    "7 classes, n 1000, groups of 1 to 6": partial(Population, n=1000, classes=DERMAMNIST, skill=0.9, sizes=ONE_TO_SIX),
    "2 classes, n 780, groups of 1 to 6": partial(Population, n=780, classes=BREASTMNIST, skill=0.5, sizes=ONE_TO_SIX),
    "7 classes, n 10015": partial(Population, n=10_015, classes=DERMAMNIST, skill=0.9),
}


def cells() -> dict[str, Cell]:
    """The cells of `--part tests`."""
    code = digest(this_module, resampled, power, verdicts, fold_variance)
    return {
        f"{shape}, {null}": Cell(partial(one, make(null=null)), partial(summary, make(null=null)), code)
        for shape, make in SHAPES.items()
        for null in ("seeds", "halves")
    }


def draw(of: Population, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features float32 (n, 2 HALF), classes and groups (n,). The halves have one distribution, jointly exchangeable."""
    often = np.array(of.sizes) / sum(of.sizes)
    groups = np.repeat(np.arange(n), rng.choice(len(often), size=n, p=often) + 1)[:n]
    targets = rng.choice(len(of.classes), size=int(groups[-1]) + 1, p=of.priors)[groups]
    centres = np.random.default_rng(7).standard_normal((len(of.classes), HALF))
    noise = rng.standard_normal((n, 2, HALF))
    if len(of.sizes) > 1:
        shared = rng.standard_normal((int(groups[-1]) + 1, 2, HALF))[groups]
        noise = np.sqrt(AGREE) * shared + np.sqrt(1 - AGREE) * noise
    features = of.skill * centres[targets][:, None] + noise
    return features.reshape(n, 2 * HALF).astype(np.float32), targets, groups


def draw_folds(targets: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold of each image, (n,): whole groups, stratified by class."""
    first = np.unique(groups, return_index=True)[1]
    order = np.lexsort((rng.random(len(first)), targets[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = (np.arange(len(first)) + rng.integers(FOLDS)) % FOLDS
    return fold[groups]


@dataclass(frozen=True, eq=False)
class Learner:
    """Scores of images: rectified random features times `beta`."""

    directions: np.ndarray
    offsets: np.ndarray
    beta: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        return hidden(features, self.directions, self.offsets) @ self.beta


def hidden(features: np.ndarray, directions: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rectified random features, float32 (n, HIDDEN)."""
    return np.maximum(features @ directions + offsets, 0)


def fit(x: np.ndarray, aims: np.ndarray, rng: np.random.Generator) -> Learner:
    """Ridge with its own random features. aims: float32 (n, K), one-hot over sqrt(prior): rare ones count."""
    directions = rng.standard_normal((x.shape[1], HIDDEN)).astype(np.float32)
    offsets = rng.standard_normal(HIDDEN).astype(np.float32)
    h = hidden(x, directions, offsets)
    gram = h.T @ h + PENALTY * np.eye(HIDDEN, dtype=np.float32)
    return Learner(directions, offsets, np.linalg.solve(gram, h.T @ aims))


def views(of: Population, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each of the two learners sees."""
    return (x, x) if of.null == "seeds" else (x[:, :HALF], x[:, HALF:])


def study(of: Population, repeats: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """By metric float64 (2 learners, repeats, folds): every learner fitted anew in every fold."""
    x, targets, groups = draw(of, of.n, rng)
    classes = len(of.classes)
    found = np.empty((3, 2, repeats, FOLDS))
    aims = (np.eye(classes) / np.sqrt(of.priors)).astype(np.float32)[targets]
    for repeat in range(repeats):
        fold = draw_folds(targets, groups, rng)
        for k in range(FOLDS):
            train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            for which, seen in enumerate(views(of, x)):
                scores = fit(seen[train], aims[train], rng).scores(seen[held])
                found[:, which, repeat, k] = metrics(targets[held], scores)
    return dict(zip(METRICS, found, strict=True))


def metrics(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """METRICS of scores without ties (n, K), over the classes that are there."""
    classes = scores.shape[1]
    members = np.bincount(targets, minlength=classes)
    right = scores.argmax(1) == targets
    there = (members > 0) & (members < len(targets))
    recalls = np.bincount(targets[right], minlength=classes)[there] / members[there]
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, scores.argsort(0), np.arange(1.0, len(targets) + 1)[:, None], axis=0)
    of_members = np.bincount(targets, ranks[np.arange(len(targets)), targets], classes)[there]
    m = members[there]
    areas = (of_members - m * (m + 1) / 2) / (m * (len(targets) - m))
    return float(right.mean()), float(recalls.mean()), float(areas.mean())


@cache
def pilot(of: Population) -> dict[tuple[str, int], float]:
    """Sd of differences, by metric and repeats: root mean square over pilot studies. What planted ones scale with."""
    squares: dict[tuple[str, int], list[float]] = {}
    for i in range(PILOT):
        for metric, (a, b) in study(of, max(REPEATS), np.random.default_rng([101, i])).items():
            for repeats in REPEATS:
                squares.setdefault((metric, repeats), []).append((a - b)[:repeats].var(ddof=1))
    return {key: float(np.sqrt(np.mean(values))) for key, values in squares.items()}


def one(of: Population, rng: np.random.Generator) -> Tally:
    """What the tests say of one study in which nothing differs, and of the same with planted differences."""
    found: Counter[str] = Counter()
    for metric, (a, b) in study(of, max(REPEATS), rng).items():
        for repeats in REPEATS:
            d = (a - b)[:repeats]
            test = resampled_t(d, 1 / (FOLDS - 1))
            assert isinstance(test, PairedT)
            said = dict(_said(test, metric, pilot(of)[metric, repeats]))
            plain = test.mean / (test.sd / np.sqrt(d.size)) if test.has_spread else 0.0
            said["plain t"] = 2 * stats.t.sf(abs(plain), d.size - 1) < ALPHA
            steadier = compare_variances([(a[:repeats], b[:repeats])], 1 / (FOLDS - 1))
            if isinstance(steadier, fold_variance.VarianceComparison):
                said["variances"] = 2 * min(steadier.p_steadier, steadier.p_wilder) < ALPHA
            numbers = {"d": test.mean, "d2": test.mean**2, "s2": test.sd**2, "fold2": (d**2).mean()}
            numbers |= _products(d)
            found.update(
                {f"{metric}|{repeats * FOLDS}|{key}": float(value) for key, value in {**said, **numbers}.items()}
            )
    return found


def _said(test: PairedT, metric: str, sd: float) -> Iterator[tuple[str, bool]]:
    """Whether each finding is made; sd: of differences in studies of this kind."""
    (verdict,) = judge([test], MARGINS[metric], ALPHA)
    assert isinstance(verdict, Verdict)
    yield "better or worse", verdict.word.startswith(("better", "worse"))
    stated = detectable(test.design, ALPHA)
    for times in (1, 3):
        planted = PairedT(test.mean + times * stated * sd, test.sd, test.design)
        yield f"found at {times}", planted.p < ALPHA and planted.mean > 0
        own = PairedT(test.mean + times * stated * test.sd, test.sd, test.design)
        yield f"found at {times} as stated", own.p < ALPHA and own.mean > 0
    least = float(stats.t.ppf(1 - ALPHA, test.design.df)) * sd * np.sqrt(test.design.factor)
    for wide in WIDE:
        margin = wide * least
        at_it = PairedT(test.mean + margin, test.sd, test.design)
        yield f"equivalent at {wide}", at_it.p_equivalent(margin) < ALPHA
        yield f"beyond at {wide}", at_it.p_above(margin) < ALPHA / 2


def _products(d: np.ndarray) -> dict[str, float]:
    """Mean products of differences of two folds of one repeat, and of fits of two repeats: over fold2, correlations."""
    repeats, folds = d.shape
    sums, squares = d.sum(1), (d**2).sum()
    within = ((sums**2).sum() - squares) / (repeats * folds * (folds - 1))
    between = (d.sum() ** 2 - (sums**2).sum()) / max(1, repeats * (repeats - 1) * folds**2)
    return {"within": float(within), "between": float(between)}


def summary(of: Population, sums: Tally, simulations: int) -> dict[str, Any]:
    """Shares of studies, their standard error; the correlation of differences between folds, and what is true."""
    cell: dict[str, Any] = {}
    for metric in METRICS:
        for units in (repeats * FOLDS for repeats in REPEATS):
            mean = {
                key.split("|")[2]: value / simulations
                for key, value in sums.items()
                if key.startswith(f"{metric}|{units}|")
            }
            said = {what: round(worst(mean.get(key, 0.0) for key in keys), 4) for what, (worst, keys) in SAID.items()}
            scale = mean["fold2"]
            cell[f"{metric}, J {units}"] = {
                **said,
                "sd of folds": round(float(np.sqrt(mean["s2"])), 5),
                "correlation of folds": round(mean["within"] / scale, 3),
                **({"correlation of repeats": round(mean["between"] / scale, 3)} if units > FOLDS else {}),
            }
    return {**cell, "se of a share of 0.05": round(standard_error(0.05, simulations), 4), "true": truth(of)}


# what a cell says, and of which findings it is the worst
SAID: Mapping[str, tuple[Callable[[Iterable[float]], float], tuple[str, ...]]] = {
    "better or worse": (max, ("better or worse",)),
    "beyond the margin, at it": (max, tuple(f"beyond at {wide}" for wide in WIDE)),
    "equivalent, at the margin": (max, tuple(f"equivalent at {wide}" for wide in WIDE)),
    "found": (min, ("found at 1", "found at 1 as stated")),
    "found, three times": (min, ("found at 3", "found at 3 as stated")),
    "plain t": (max, ("plain t",)),
    "variances differ": (max, ("variances",)),
}


@cache
def truth(of: Population) -> dict[str, str]:
    """The true difference on fresh images, mean and standard error over pairs of learners: 0 by construction."""
    found = []
    for i in range(TRUTH_FITS):
        rng = np.random.default_rng([202, i])
        x, targets, _ = draw(of, of.n * (FOLDS - 1) // FOLDS, rng)
        fresh, classes, _ = draw(of, TRUTH_IMAGES // TRUTH_FITS, rng)
        aims = (np.eye(len(of.classes)) / np.sqrt(of.priors)).astype(np.float32)[targets]
        a, b = (
            metrics(classes, fit(seen, aims, rng).scores(new))
            for seen, new in zip(views(of, x), views(of, fresh), strict=True)
        )
        found.append(np.subtract(a, b))
    mean, se = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(TRUTH_FITS)
    return {name: f"{m:.4f} ({s:.4f})" for name, m, s in zip(METRICS, mean, se, strict=True)}
