"""Coverage and width of every interval of one model, shape by shape."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qlcnet.evidence import basis, effective, influence, intervals, limits
from qlcnet.evidence.intervals import intervals_of
from qlcnet.evidence.limits import Limits, wilson

from . import fitted, shapes
from .cells import Cell, Tally, digest, standard_error
from .shapes import ALONE, BREASTMNIST, HAM10000, ONE_TO_SIX, Shape, Study, clumping, draw, truth

WEAK, SURE, PERFECT = (0.7,), (3.3,), (5.0,)
UNEVEN = (1.5, 2.0, 2.0, 0.3, 1.0, 2.5, 3.5)  # of DermaMNIST's classes, the rarest hardly ever recognised
TWO = Shape(156, BREASTMNIST)
SEVEN = Shape(1000)
DERMA = Shape(10_015)

SHAPES: Mapping[str, Shape] = {
    "2 classes, n 156": TWO,
    "2 classes, n 156, weak": replace(TWO, skill=WEAK),
    "2 classes, n 156, nearly perfect": replace(TWO, skill=SURE),
    "2 classes, n 156, perfect": replace(TWO, skill=PERFECT),
    "2 classes, n 780": replace(TWO, n=780),
    "2 classes, n 780, groups of 1 to 6": replace(TWO, n=780, sizes=ONE_TO_SIX),
    "2 classes, n 780, groups of 1 to 6, mixed": replace(TWO, n=780, sizes=ONE_TO_SIX, mixed=True),
    "7 classes, n 1,000": SEVEN,
    "7 classes, n 1,000, weak": replace(SEVEN, skill=WEAK),
    "7 classes, n 1,000, uneven": replace(SEVEN, skill=UNEVEN),
    "7 classes, n 1,000, nearly perfect": replace(SEVEN, skill=SURE),
    "7 classes, n 1,000, perfect": replace(SEVEN, skill=PERFECT),
    "7 classes, n 1,000, groups of 1 to 6": replace(SEVEN, sizes=ONE_TO_SIX),
    "7 classes, n 1,000, groups of 1 to 6, uneven": replace(SEVEN, sizes=ONE_TO_SIX, skill=UNEVEN),
    "7 classes, n 1,000, groups of 1 to 6, mixed": replace(SEVEN, sizes=ONE_TO_SIX, mixed=True),
    "7 classes, n 1,000, 3 repeats": replace(SEVEN, repeats=3),
    "7 classes, n 2,003, HAM10000's groups": replace(SEVEN, n=2003, sizes=HAM10000),
    "7 classes, n 2,003, HAM10000's groups, weak": replace(SEVEN, n=2003, sizes=HAM10000, skill=WEAK),
    "7 classes, n 2,003, groups of 1 to 6, 3 repeats": replace(SEVEN, n=2003, sizes=ONE_TO_SIX, repeats=3),
    "7 classes, n 10,015": DERMA,
    "7 classes, n 10,015, HAM10000's groups, uneven": replace(DERMA, sizes=HAM10000, skill=UNEVEN),
    "7 classes, n 10,015, groups of 1 to 6": replace(DERMA, sizes=ONE_TO_SIX),
    "7 classes, n 10,015, HAM10000's groups, nearly perfect": replace(DERMA, sizes=HAM10000, skill=SURE),
}
FITTED: Mapping[str, Shape] = {
    "networks fitted in every fold, 2 classes, n 300": Shape(300, BREASTMNIST),
    "networks fitted in every fold, 7 classes, n 1,000": SEVEN,
}


def coverage_cells() -> dict[str, Cell]:
    """The cells of `--part intervals`."""
    code = digest(sys.modules[__name__], shapes, basis, effective, influence, intervals, limits)
    cells = {name: Cell(partial(one_study, shape), summary, code) for name, shape in SHAPES.items()}
    code += digest(fitted)
    return cells | {name: Cell(partial(fitted.one_study, shape), summary, code) for name, shape in FITTED.items()}


def one_study(shape: Shape, rng: np.random.Generator) -> Tally:
    """Of one study: which intervals were shown, held, missed low or high, and how wide they were."""
    return judge(draw(shape, rng), truth(shape), shape)


def judge(study: Study, true: Mapping[str, float], shape: Shape, images: int = shapes.TRUTH) -> Counter[str]:
    """Numbers to add up, "metric:what"; a study in which a class is absent counts apart.

    images: of each class, for the true design effect.
    """
    members = np.bincount(study.targets, minlength=len(shape.classes))
    if not members.all():
        return Counter({"absent": 1})
    found = intervals_of([(study.targets, p) for p in study.probabilities], study.folds, study.groups)
    independent = true_members(study, shape, images)
    sums: Counter[str] = Counter()
    for name, interval in found.items():
        if not isinstance(interval, Limits):
            continue
        sums[f"{name}:shown"] += 1
        sums[f"{name}:held"] += interval.low <= true[name] <= interval.high
        sums[f"{name}:above"] += true[name] > interval.high
        sums[f"{name}:width"] += interval.high - interval.low
        sums[f"{name}:end"] += interval.low == 0 or interval.high == 1
        if name.startswith("recall"):
            k = int(name.rpartition("_")[2])
            low, high = wilson(interval.value, independent[k])
            sums[f"{name}:wilson"] += high - low
            sums[f"{name}:members"] += members[k]
    return sums


def true_members(study: Study, shape: Shape, images: int) -> np.ndarray:
    """Members of each class over the design effect that the population's correlations have in these groups, (K,)."""
    spread, icc = clumping(shape, images)
    codes = np.arange(len(study.targets)) if study.groups is None else study.groups
    classes = len(shape.classes)
    in_group = np.bincount(codes * classes + study.targets, minlength=(codes.max() + 1) * classes).reshape(-1, classes)
    members = in_group.sum(0)
    return members / (spread + icc * ((in_group**2).sum(0) / members - 1))


def summary(sums: Tally, simulations: int) -> dict[str, Any]:
    """Coverage of each metric with its standard error, where it was shown in at least one study.

    at_end: share of intervals that end at 0 or 1, since all was right or wrong. They hold whenever the truth is near
    that end, so coverage of near-perfect networks comes to 1: no interval can have 0.95 there. Where few studies show
    an interval (no error in the others), the networks of those few are worse than the truth: `missed`, over all
    studies, is what a reader meets.
    """
    absent = int(sums.get("absent", 0))
    studies = simulations - absent
    return {"absent": absent, "metrics": {name: _of_metric(name, sums, studies) for name in _names(sums)}}


def _names(sums: Tally) -> list[str]:
    return sorted(key.removesuffix(":shown") for key in sums if key.endswith(":shown"))


def _of_metric(name: str, sums: Tally, studies: int) -> dict[str, Any]:
    shown = sums[f"{name}:shown"]
    coverage = sums.get(f"{name}:held", 0) / shown
    found = {
        "shown": int(shown),
        "coverage": round(coverage, 4),
        "se": round(standard_error(coverage, shown), 4),
        "missed": round((shown - sums.get(f"{name}:held", 0)) / studies, 4),
        "truth_above": round(sums.get(f"{name}:above", 0) / shown, 4),
        "at_end": round(sums.get(f"{name}:end", 0) / shown, 4),
        "width": round(sums[f"{name}:width"] / shown, 4),
    }
    if f"{name}:wilson" in sums:
        found["members"] = round(sums[f"{name}:members"] / shown, 1)
        found["of_wilson"] = round(sums[f"{name}:width"] / sums[f"{name}:wilson"], 3)
    return found


LEAST_SHOWN = 500  # simulations in which an interval was shown: of fewer the share says little
COLUMNS = ("shape", "classes", "n", "grouped", "metric", "simulations", "coverage")


def table_of(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """The part `intervals` of statistics.json as the CSV that the package has: worst class of recall and AUC."""
    lines = [",".join(COLUMNS)]
    for name, cell in cells.items():
        if name not in SHAPES:  # of networks really fitted, which are no nearer to a study for their size
            continue
        shape, shown = SHAPES[name], {m: v for m, v in cell["metrics"].items() if v["shown"] >= LEAST_SHOWN}
        worst: dict[str, Mapping[str, Any]] = {}
        for metric, values in shown.items():
            stem, _, end = metric.rpartition("_")
            key = stem if end.isdigit() else metric
            if key not in worst or values["coverage"] < worst[key]["coverage"]:
                worst[key] = values
        grouped = "no" if shape.sizes == ALONE else "yes"
        for metric, values in sorted(worst.items()):
            plain = (f'"{name}"', len(shape.classes), shape.n, grouped, metric, values["shown"], values["coverage"])
            lines.append(",".join(map(str, plain)))
    return "\n".join(lines) + "\n"
