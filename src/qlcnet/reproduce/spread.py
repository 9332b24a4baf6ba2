"""How far apart two fits of one model are in the study itself: what a recomputed fit is held against.

A fit on another kind of CPU, or with other versions, gives other last bits, and training makes them larger. It is
consistent where it is no farther from the recorded one than 95 % of pairs of fits of the same model are from each
other. Pairs are of replicates (the same images and order, other first weights), else of repeats, else of folds: of the
first of these of which there are FEWEST.

How far apart two fits are is one number, so that several metrics do not add up their false alarms: the largest ratio of
a criterion's distance to what is usual for the model (its mean over pairs; a few pairs are drawn towards the mean of
all models of the task). Where a model has fewer than ENOUGH pairs, the ratios of all models of its task make the range.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from qlcnet.evidence.metrics import predicted_classes
from qlcnet.fit.fold_folder import read_config
from qlcnet.report.predictions import fold_folders
from qlcnet.reproduce.predictions import Predictions

SHARE = 0.95
ENOUGH = 19  # pairs of one model: a new pair is farther than all of n with a probability of 1/(n+1)
FEWEST = 9  # pairs of all models of a task: of fewer the farthest is no range
MOST = 100  # pairs of a model, chosen by seed: more change no limit that matters
LEAST = 1e-4  # of a usual distance: what is smaller is no scale
OF_MODEL = ("settings", "inputs", "rows", "numerics", "code")  # of config.json: equal for replicates alone
CLASSES = "unequal predicted classes"

Distance = dict[str, float]  # by metric, and of CLASSES the share; what cannot be had is left out
Pairs = Mapping[str, Sequence[Distance]]  # by model


def distance(one: Predictions, other: Predictions) -> Distance:
    """Absolute difference of each metric, and the share of images that both predicted whose classes differ."""
    metrics = one.metrics(), other.metrics()
    found = {name: abs(metrics[0][name] - metrics[1][name]) for name in metrics[0] if name in metrics[1]}
    rows = [{key: i for i, key in enumerate(zip(p.index.tolist(), p.part.tolist(), strict=True))} for p in (one, other)]
    if common := sorted(rows[0].keys() & rows[1].keys()):
        classes = [
            predicted_classes(p.probabilities[[of[key] for key in common]])
            for p, of in zip((one, other), rows, strict=True)
        ]
        found[CLASSES] = float((classes[0] != classes[1]).mean())
    return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Spread:
    """kind: of the pairs. limits: the largest distance that is inside, by name; None: too few pairs.

    models: how many the pairs are of. usual: the mean distance of pairs of this model. false_alarms: share of the pairs
    that the range of the others would call different.
    """

    kind: str
    pairs: int
    limits: Distance | None
    false_alarms: float | None
    models: int = 1
    usual: Distance = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What the range is of."""
        whose = "this model" if self.models == 1 else f"{self.models} models of the task"
        if self.limits is None:
            return f"{self.pairs} pair{'s' * (self.pairs != 1)} of {self.kind} of {whose}: too few for a range"
        level = min(SHARE, self.pairs / (self.pairs + 1))
        alarms = "" if self.false_alarms is None else f", false alarms on them {100 * self.false_alarms:.0f} %"
        return f"the {100 * level:.0f} % range of {self.pairs} pairs of {self.kind} of {whose}{alarms}"

    def outside(self, found: Distance) -> list[str]:
        """What of a distance is outside, in words; empty: all is inside."""
        assert self.limits is not None
        return [
            f"{name}: {found[name]:.4f} apart, at most {limit:.4f}"
            for name, limit in self.limits.items()
            if name in found and found[name] > limit
        ]

    def times(self, found: Distance) -> float:
        """How many times the limit a distance is, in the criterion in which it is farthest."""
        assert self.limits is not None
        return max((found[name] / limit for name, limit in self.limits.items() if name in found), default=0.0)


def spread_of(kind: str, pairs: Pairs, model: str) -> Spread:
    """The range that pairs of a model give, or with those of the other models where these are few."""
    own = list(pairs.get(model, ()))
    if len(own) >= ENOUGH:
        pairs = {model: own}
    flat = [(name, one) for name, of_model in pairs.items() for one in of_model]
    if not own or len(flat) < FEWEST:
        return Spread(kind, len(flat), None, None, max(len(pairs), 1))
    names = sorted(set.intersection(*(set(one) for _, one in flat)))
    distances = np.array([[one[name] for name in names] for _, one in flat])
    of_model = np.array([sorted(pairs).index(name) for name, _ in flat])
    which = sorted(pairs).index(model)
    each = np.arange(len(flat))
    # a pair against what is usual of the others: within its own mean it would look nearer than a new one
    apart = [_usual(distances[each != i], of_model[each != i], of_model[i]) for i in each]
    ratios = (distances / np.array(apart)).max(1)
    limit = _limit(ratios)
    alarms = [ratios[i] > _limit(ratios[each != i]) for i in each]
    usual = dict(zip(names, _usual(distances, of_model, which).tolist(), strict=True))
    limits = {name: limit * value for name, value in usual.items()}
    return Spread(kind, len(flat), limits, float(np.mean(alarms)), len(pairs), usual)


def _usual(distances: np.ndarray, of_model: np.ndarray, model: int) -> np.ndarray:
    """Usual distance of a model's pairs in each criterion: their mean, with the mean of all pairs as one pair more."""
    own = distances[of_model == model]
    found: np.ndarray = (own.sum(0) + distances.mean(0)) / (len(own) + 1)
    return np.maximum(found, LEAST)


def _limit(ratios: np.ndarray) -> float:
    """The smallest ratio that 95 % of the pairs do not exceed."""
    return float(np.quantile(ratios, SHARE, method="higher"))


PathPairs = list[tuple[Path, Path]]


def _of_replicates(own: Path) -> PathPairs:
    folders = fold_folders(own)
    first = next(iter(folders.values())).relative_to(own)
    twins = [path for path in sorted(own.parent.iterdir()) if path != own and _is_twin(own / first, path / first)]
    return [(path, twin / path.relative_to(own)) for path in folders.values() for twin in twins]


def _is_twin(one: Path, other: Path) -> bool:
    if not other.is_dir():
        return False
    keys = [[read_config(path).get(name) for name in OF_MODEL] for path in (one, other)]
    return keys[0] == keys[1] and keys[0][0] is not None


def _of_repeats(own: Path) -> PathPairs:
    folders = fold_folders(own)
    return [(folders[a], folders[b]) for a, b in combinations(folders, 2) if a[0] != b[0]]


def _of_folds(own: Path) -> PathPairs:
    return list(combinations(fold_folders(own).values(), 2))


KINDS = {"replicates": _of_replicates, "repeats": _of_repeats, "folds": _of_folds}


class Spreads:
    """Spreads of the models of a study, each computed when it is first asked for."""

    def __init__(self, results: Path) -> None:
        """results: results/folds of the study."""
        self.results = results
        self._known: dict[tuple[str, str], Spread] = {}
        self._predictions: dict[Path, Predictions] = {}

    def of(self, fit: str) -> Spread:
        """Of the fits of the same model as `fit`, or of its task."""
        task, backbone, model, *_ = fit.split("/")
        key = (task, f"{backbone}/{model}")
        if key not in self._known:
            self._known[key] = self._compute(*key)
        return self._known[key]

    def _compute(self, task: str, model: str) -> Spread:
        folder = self.results / task
        own, models = folder / model, sorted(p for p in folder.glob("*/*") if p.is_dir() and fold_folders(p))
        kind = next(kind for kind, pairs_of in KINDS.items() if len(pairs_of(own)) >= FEWEST or kind == "folds")
        pairs = {path.relative_to(folder).as_posix(): KINDS[kind](path) for path in models}
        if len(pairs[model]) >= ENOUGH:
            pairs = {model: pairs[model]}
        mine = {frozenset(pair) for pair in pairs[model]}  # of replicates each is a pair of both models
        others = {name: [pair for pair in found if frozenset(pair) not in mine] for name, found in pairs.items()}
        pairs = {name: found for name, found in {**others, model: pairs[model]}.items() if found}
        return spread_of(kind, {name: self._distances(found) for name, found in pairs.items()}, model)

    def _distances(self, pairs: PathPairs) -> list[Distance]:
        chosen = random.Random(0).sample(pairs, min(len(pairs), MOST))
        return [distance(self._read(one), self._read(other)) for one, other in chosen if other.is_dir()]

    def _read(self, folder: Path) -> Predictions:
        if folder not in self._predictions:
            self._predictions[folder] = Predictions.read_folder(folder)
        return self._predictions[folder]
