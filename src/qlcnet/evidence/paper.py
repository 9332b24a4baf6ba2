"""The paper's figures beside ours: what its text states, and where our level and our difference stand to it.

This is code against stated figures. This code against itself (another machine, another commit) is another question, and
never stands in one table with it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

from qlcnet.config import Task
from qlcnet.evidence.statistics import Interval

Quantity = Literal["level", "difference", "largest_difference", "sd_ratio", "sd_difference", "setting"]
Precision = Literal["stated", "about", "bound", "sign"]
MODELS = ("classical", "hybrid")  # the names of the paper's two models, and of those of our models that are compared
METRICS = ("accuracy", "auc_macro", "auc_micro")  # of which it states levels or differences
FITS = FOLDS = 5  # of its results (sections 4.6 and 5; once it says 6)


@dataclass(frozen=True)
class StatedFigure:
    """One figure of the paper's text; numbers that it does not give are NaN.

    data_set: `cifar10`, `dermamnist`, or empty where the text does not name it. backbones: those that it speaks of
    together. model: `classical`, `hybrid`, `hybrid-classical` or `classical/hybrid`; empty for a setting.
    value, sd: mean and sd over folds, or the difference. low, high: where a number is bounded or its sign is all there
    is (a bound at 0). where: section and paragraph. note: what to know of it.
    """

    data_set: str
    backbones: tuple[str, ...]
    model: str
    metric: str
    quantity: Quantity
    precision: Precision
    value: float
    sd: float
    low: float
    high: float
    where: str
    note: str


@cache
def stated_figures() -> tuple[StatedFigure, ...]:
    """Every figure that the paper's text gives, from the packaged paper_figures.csv, whose head has the citation."""
    text = files("qlcnet.evidence").joinpath("paper_figures.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(_figure(row) for row in rows)


def _figure(row: dict[str, str]) -> StatedFigure:
    value, sd, low, high = (float(row[name]) if row[name] else math.nan for name in ("value", "sd", "low", "high"))
    quantity: Any = row["quantity"]
    precision: Any = row["precision"]
    if quantity not in get_args(Quantity) or precision not in get_args(Precision):
        raise ValueError(f"paper_figures.csv: unknown quantity or precision in {row}")
    return StatedFigure(
        row["dataset"], tuple(row["backbones"].split()), row["model"], row["metric"],
        quantity, precision, value, sd, low, high, row["where"], row["note"],
    )  # fmt: skip


# --- which of our tasks is which of its data sets ---------------------------------------------------------------


@dataclass(frozen=True)
class PaperSet:
    """A data set of the paper, and how a task of ours differs from it, a sentence each."""

    name: Literal["cifar10", "dermamnist"]
    differs: tuple[str, ...]


def paper_set(task: Task) -> PaperSet | None:
    """The data set of the paper that a task has the images of, None for all others.

    A file with the classes of DermaMNIST (`classes_of: dermamnist`) is taken for one rebuilt from the same photographs.
    """
    source, differs = task.source, []
    name: Literal["cifar10", "dermamnist"]
    if source.kind == "cifar10":
        name = "cifar10"
    elif source.kind == "medmnist" and source.name == "dermamnist":
        name = "dermamnist"
        if source.size != 28:
            differs.append(f"{source.size} px, the paper has 28")
    elif source.kind == "npz" and source.classes_of == "dermamnist":
        name = "dermamnist"
        differs.append("rebuilt from HAM10000: not the same file as DermaMNIST's")
    else:
        return None
    if task.images_per_class is not None:
        differs.append(f"a subset of at most {task.images_per_class:,} images of each class")
    if task.protocol.kind == "official":
        differs.append("the set's own split, the paper has five folds")
    elif task.protocol.folds != FOLDS:
        differs.append(f"{task.protocol.folds} folds, the paper has five")
    if task.protocol.grouped:
        differs.append("grouped folds, the paper's are not")
    return PaperSet(name, tuple(differs))


# --- side by side -----------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """What our numbers are kept under. data_set: the paper's name of it. model: one of MODELS."""

    data_set: str
    backbone: str
    metric: str
    model: str


@dataclass(frozen=True)
class Level:
    """Mean and sd (ddof 1, NaN where unknown) over `fits` fits of k-fold cross-validation."""

    mean: float
    sd: float
    fits: int = FITS
    folds: int = FOLDS

    @property
    def variance(self) -> float:
        """Of the mean, corrected for shared training images (Nadeau and Bengio 2003): sd^2 (1/J + 1/(k - 1)).

        NaN for a single split, whose repeats say nothing of other images.
        """
        return self.sd**2 * (1 / self.fits + 1 / (self.folds - 1)) if self.folds > 1 else math.nan


@dataclass(frozen=True)
class Difference:
    """Hybrid minus classical as the paper has it: a number, limits, or both; NaN where it gives none."""

    value: float
    low: float
    high: float
    precision: Precision
    where: str

    @property
    def sign(self) -> int:
        """1: the hybrid is ahead. -1: the classical network is. 0: neither can be said."""
        if not math.isnan(self.value):
            return (self.value > 0) - (self.value < 0)
        return int(self.low >= 0) - int(self.high <= 0)


LevelVerdict = Literal["as stated", "higher", "lower", "not stated", "spread unknown"]
DifferenceVerdict = Literal["same sign", "opposite sign", "not stated"]


@dataclass(frozen=True)
class SideBySide:
    """One data set, backbone and metric: the paper's and ours.

    stated, ours: by model, None where there is none. *_difference: hybrid minus classical. level: by model, whether our
    mean lies within `level_margin` of the paper's. difference: whether the signs agree. within: whether the paper's
    difference lies in our interval of it, None where either is missing.
    """

    data_set: str
    backbone: str
    metric: str
    stated: Mapping[str, StatedFigure | None]
    ours: Mapping[str, Level | None]
    stated_difference: Difference | None
    our_difference: float
    our_interval: Interval | None
    level: Mapping[str, LevelVerdict]
    difference: DifferenceVerdict
    within: bool | None


def side_by_side(
    ours: Mapping[Cell, Level], intervals: Mapping[tuple[str, str, str], Interval] | None = None
) -> tuple[SideBySide, ...]:
    """A row for each data set, backbone and metric of ours of which the paper states a level or a difference.

    ours: mean and sd over fits. intervals: of our difference, hybrid minus classical, by (data set, backbone, metric).
    """
    keys = dict.fromkeys((cell.data_set, cell.backbone, cell.metric) for cell in ours if cell.model in MODELS)
    rows = (_row(key, ours, (intervals or {}).get(key)) for key in keys)
    return tuple(row for row in rows if row.stated_difference or any(row.stated.values()))


def level_margin(stated: float, ours: Level) -> float:
    """How far two means over folds of equally good networks lie apart at most (95 %), in the metric's unit.

    Student's t with the fewer of both sides' k - 1 degrees of freedom times the corrected standard error of the
    difference: 1.86 sqrt(stated^2 + ours^2) for five folds on both sides, sd over folds each (test_level_margin). Where
    the paper states no sd, ours stands in for it; NaN where there is neither.
    """
    from scipy.stats import t  # half a second, for those alone who compare

    other = ours.sd if math.isnan(stated) else stated
    here = Level(0.0, stated, ours.fits, ours.folds) if math.isnan(ours.sd) else ours
    freedom = min(FOLDS, ours.folds) - 1
    return float(t.ppf(0.975, freedom)) * math.sqrt(Level(0.0, other).variance + here.variance)


def _row(key: tuple[str, str, str], ours: Mapping[Cell, Level], interval: Interval | None) -> SideBySide:
    data_set, backbone, metric = key
    stated = {model: _stated(data_set, backbone, metric, model) for model in MODELS}
    mine = {model: ours.get(Cell(*key, model)) for model in MODELS}
    classical, hybrid = mine["classical"], mine["hybrid"]
    difference = hybrid.mean - classical.mean if classical and hybrid else math.nan
    paper = _difference(key, stated)
    return SideBySide(
        *key, stated, mine, paper, difference, interval,
        {model: _compare_levels(stated[model], mine[model]) for model in MODELS},
        _compare_differences(paper, difference),
        None if paper is None or interval is None else _overlaps(paper, interval),
    )  # fmt: skip


def _stated(data_set: str, backbone: str, metric: str, model: str) -> StatedFigure | None:
    """The level that the paper prints, an sd alone included."""
    wanted = (data_set, (backbone,), metric, model, "level", "stated")
    found = (
        f for f in stated_figures() if (f.data_set, f.backbones, f.metric, f.model, f.quantity, f.precision) == wanted
    )
    return next(found, None)


def _difference(key: tuple[str, str, str], stated: Mapping[str, StatedFigure | None]) -> Difference | None:
    """Of the stated means where both are there, else what the text says of the difference."""
    classical, hybrid = stated["classical"], stated["hybrid"]
    if classical and hybrid and not math.isnan(value := hybrid.value - classical.value):
        return Difference(value, math.nan, math.nan, "stated", hybrid.where)
    for f in stated_figures():
        if (f.data_set, f.backbones, f.metric, f.quantity) == (key[0], (key[1],), key[2], "difference"):
            return Difference(f.value, f.low, f.high, f.precision, f.where)
    return None


def _compare_levels(stated: StatedFigure | None, ours: Level | None) -> LevelVerdict:
    if stated is None or ours is None or math.isnan(stated.value):
        return "not stated"
    margin, gap = level_margin(stated.sd, ours), ours.mean - stated.value
    if math.isnan(margin):
        return "spread unknown"
    return "as stated" if abs(gap) <= margin else "higher" if gap > 0 else "lower"


def _compare_differences(stated: Difference | None, ours: float) -> DifferenceVerdict:
    if stated is None or math.isnan(ours) or not stated.sign:
        return "not stated"
    return "same sign" if stated.sign * ours > 0 else "opposite sign"


def _overlaps(stated: Difference, interval: Interval) -> bool:
    """Whether the paper's number, or some number within its limits, lies in our interval."""
    if not math.isnan(stated.value):
        return interval.low <= stated.value <= interval.high
    low = -math.inf if math.isnan(stated.low) else stated.low
    high = math.inf if math.isnan(stated.high) else stated.high
    return low <= interval.high and interval.low <= high
