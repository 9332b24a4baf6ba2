"""Two networks that are equal in the population, compared on the same images: how often are they told apart?

The networks share part of their noise (`same` of shapes), as two fits on the same images do; one is as good as the
other by construction.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from qlcnet.evidence import image_difference as comparison
from qlcnet.evidence import influence
from qlcnet.evidence.image_difference import image_difference
from qlcnet.evidence.influence import influence_values
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.metrics import metrics_of, predicted_classes

from . import networks_compared as this_module
from . import shapes
from .cells import Cell, Tally, digest, standard_error
from .shapes import BREASTMNIST, HAM10000, ONE_TO_SIX, Shape, draw

ALPHA = 0.05
METRICS = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro")
TWO = partial(Shape, classes=BREASTMNIST, repeats=2)
SEVEN = partial(Shape, repeats=2)
SHAPES = {
    "2 classes, n 156": TWO(n=156),
    "2 classes, n 156, nearly perfect": TWO(n=156, skill=(4.5,)),
    "2 classes, n 780, groups of 1 to 6": TWO(n=780, sizes=ONE_TO_SIX),
    "7 classes, n 1000": SEVEN(n=1000),
    "7 classes, n 1000, groups of 1 to 6": SEVEN(n=1000, sizes=ONE_TO_SIX),
    "7 classes, n 10015, groups of HAM10000": SEVEN(n=10_015, sizes=HAM10000),
}


def cells() -> dict[str, Cell]:
    """The cells of `--part networks`."""
    code = digest(this_module, shapes, comparison, influence)
    return {name: Cell(partial(one, shape), summary, code) for name, shape in SHAPES.items()}


def one(shape: Shape, rng: np.random.Generator) -> Tally:
    """Whether each interval leaves out 0, the true difference; whether there is none; McNemar's test."""
    study = draw(shape, rng)
    found: Counter[str] = Counter()
    a, b = study.probabilities
    targets, classes = study.targets, len(shape.classes)
    if np.bincount(targets, minlength=classes).min() == 0:
        return Counter({"a class is absent": 1})
    values, psi = ([of(targets, p) for p in (a, b)] for of in (metrics_of, influence_values))
    right = (predicted_classes(a) == targets, predicted_classes(b) == targets)
    for metric in METRICS:
        names = [f"auc_{k}" for k in range(classes)] if metric == "auc_macro" else [metric]
        moved = np.column_stack([psi[0][name] - psi[1][name] for name in names])
        moved = moved if len(names) > 1 else moved[:, 0]
        said = image_difference(metric, values[0][metric] - values[1][metric], moved, right, targets, study.groups)
        if isinstance(said, TooFew):
            found[f"{metric}|too few"] += 1
            continue
        found[f"{metric}|told apart"] += said.interval.low > 0 or said.interval.high < 0
        found[f"{metric}|given"] += 1
        if metric == "accuracy" and said.mcnemar is not None:
            found["McNemar|told apart"] += said.mcnemar < ALPHA
            found["McNemar|given"] += 1
    return found


def summary(sums: Tally, simulations: int) -> dict[str, Any]:
    """Shares of the studies in which a number was given, with the standard error of a share of 0.05."""
    cell: dict[str, Any] = {"a class is absent": int(sums.get("a class is absent", 0))}
    for metric in (*METRICS, "McNemar"):
        if given := sums.get(f"{metric}|given", 0):
            cell[metric] = {
                "told apart": round(sums.get(f"{metric}|told apart", 0) / given, 4),
                "se": round(standard_error(0.05, given), 4),
                "too few": int(sums.get(f"{metric}|too few", 0)),
            }
    return cell
