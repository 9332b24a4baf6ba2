"""How far apart two fits of one model are in the study itself: what a recomputed fit is held against.

A fit on another kind of CPU, or with other versions, gives other last bits, and training makes them larger. It is
consistent where it is no farther from the recorded one than 95 % of pairs of fits of the same model are from each
other. Pairs are of replicates (the same images and order, other first weights), else of repeats, else of folds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from qlcnet.evidence.metrics import predicted_classes
from qlcnet.fit.fold_folder import read_config
from qlcnet.report.predictions import fold_folders
from qlcnet.reproduce.predictions import Predictions

SHARE = 0.95
FEWEST = 3  # pairs: fewer are no range
MOST = 300  # pairs, chosen by seed: more change no limit that matters
OF_MODEL = ("settings", "inputs", "rows", "numerics", "code")  # of config.json: equal for replicates alone
CLASSES = "unequal predicted classes"

Distance = dict[str, float]  # by metric, and of CLASSES the share; what cannot be had is left out


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

    false_alarms: share of the pairs that the range of the others would call different; None where none is left.
    """

    kind: str
    pairs: int
    limits: Distance | None
    false_alarms: float | None

    @property
    def words(self) -> str:
        """What the range is of."""
        if self.limits is None:
            return f"{self.pairs} pair{'s' * (self.pairs != 1)} of {self.kind} of this model: too few for a range"
        alarms = "" if self.false_alarms is None else f", false alarms on them {100 * self.false_alarms:.0f} %"
        return f"the 95 % range of {self.pairs} pairs of {self.kind} of this model{alarms}"

    def outside(self, found: Distance) -> list[str]:
        """What of a distance is outside, in words; empty: all is inside."""
        assert self.limits is not None
        return _outside(self.limits, found)


def spread_of(kind: str, distances: Sequence[Distance]) -> Spread:
    """The range of pairs that are so far apart."""
    if len(distances) < FEWEST:
        return Spread(kind, len(distances), None, None)
    alarms = [bool(_outside(_limits([*distances[:i], *distances[i + 1 :]]), one)) for i, one in enumerate(distances)]
    return Spread(kind, len(distances), _limits(distances), float(np.mean(alarms)))


def spread_in(results: Path, fit: str) -> Spread:
    """Of the fits below `results` (results/folds of a study) that are of the same model as `fit`."""
    task, backbone, model, repeat, fold = fit.split("/")
    own = results / task / backbone / model
    config = read_config(results / fit)
    key = [config.get(name) for name in OF_MODEL]
    twins = [
        other
        for other in sorted((results / task / backbone).iterdir())
        if other != own
        and (other / repeat / fold).is_dir()
        and [read_config(other / repeat / fold).get(name) for name in OF_MODEL] == key
    ]
    if twins:
        names = [(one, path) for path in fold_folders(own).values() for one in (own, *twins)]
        by_fold: dict[str, list[Path]] = {}
        for one, path in names:
            by_fold.setdefault(path.relative_to(own).as_posix(), []).append(one / path.relative_to(own))
        return _spread("replicates", [pair for paths in by_fold.values() for pair in combinations(paths, 2)])
    folders = fold_folders(own)
    repeats = [(folders[a], folders[b]) for a, b in combinations(folders, 2) if a[0] != b[0]]
    return _spread("repeats", repeats) if repeats else _spread("folds", list(combinations(folders.values(), 2)))


def _spread(kind: str, folders: list[tuple[Path, Path]]) -> Spread:
    chosen = random.Random(0).sample(folders, min(len(folders), MOST))
    read = {path: Predictions.read_folder(path) for pair in chosen for path in pair}
    return spread_of(kind, [distance(read[one], read[other]) for one, other in chosen])


def _limits(distances: Sequence[Distance]) -> Distance:
    """Of each criterion that every pair has, the smallest distance that 95 % of the pairs do not exceed."""
    names = set.intersection(*(set(one) for one in distances))
    return {
        name: float(np.quantile([one[name] for one in distances], SHARE, method="higher")) for name in sorted(names)
    }


def _outside(limits: Distance, found: Distance) -> list[str]:
    return [
        f"{name}: {found[name]:.4f} apart, at most {limit:.4f}"
        for name, limit in limits.items()
        if name in found and found[name] > limit
    ]
