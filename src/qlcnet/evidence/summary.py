"""What the predictions of one model say, computed once: files, tables, the page and MLflow only read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlcnet.evidence.calibration import Reliability, reliability
from qlcnet.evidence.further import ALL_METRICS, further_metrics_of
from qlcnet.evidence.intervals import Outcome, intervals_of
from qlcnet.evidence.limits import Limits
from qlcnet.evidence.metrics import (
    Confusion,
    auc_per_class,
    average_precision_per_class,
    confusion_matrix,
    metrics_of,
    recall_per_class,
)
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.statistics import fold_spread


@dataclass(frozen=True)
class Estimate:
    """A metric with its uncertainty; NaN where undefined (an sd of one fold, an AUC of one class).

    value: the metric of the whole table, mean over repeats. fold_mean, fold_sd: over fits, ddof=1.
    interval: 95 % limits, or why there are none; None where it was not asked for. It is of `shown`.
    """

    value: float
    fold_mean: float
    fold_sd: float
    interval: Outcome | None = None

    @property
    def limits(self) -> Limits | None:
        """The interval, where there is one."""
        return self.interval if isinstance(self.interval, Limits) else None

    @property
    def shown(self) -> float:
        """What the interval is of: `value`, but of a macro AUC the mean over fits (see intervals_of)."""
        return self.value if self.limits is None else self.limits.value


@dataclass(frozen=True)
class FitScore:
    """What `measure` gives for the `n` images that one fit predicted."""

    repeat: int
    fold: int
    n: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Scores:
    """Estimates from one table of predictions of `n` images: each of ALL_METRICS, three of each class, every fit."""

    n: int
    metrics: Mapping[str, Estimate]
    recalls: tuple[Estimate, ...]
    aucs: tuple[Estimate, ...]
    average_precisions: tuple[Estimate, ...]
    fits: tuple[FitScore, ...]


@dataclass(frozen=True)
class CircuitEvaluations:
    """Circuits for all fits of a model: executed here, and what quantum hardware would run for channels and heads."""

    executed: int
    hardware_quanvolution: int
    hardware_head: int

    @property
    def hardware(self) -> int:
        return self.hardware_quanvolution + self.hardware_head


@dataclass(frozen=True)
class NetworkCost:
    """Parameters of the network, multiply-adds of one image, and circuits evaluated for all its fits."""

    parameters: int
    multiply_adds: int
    circuit_evaluations: CircuitEvaluations


@dataclass(frozen=True, eq=False)
class ModelSummary:
    """One task x backbone x model.

    members: scored images of each class. confusion, reliability: of all repeats together. oof: of the out-of-fold
    table. test: of the test part that is scored beside the folds, where one is; each fit predicts all of it.
    """

    task: str
    backbone: str
    model: str
    class_names: tuple[str, ...]
    members: tuple[int, ...]
    confusion: Confusion
    reliability: Reliability
    oof: Scores
    test: Scores | None
    cost: NetworkCost


def summarise_model(
    oof: OOFTable, test: OOFTable, cost: NetworkCost, intervals: bool = False, groups: np.ndarray | None = None
) -> ModelSummary:
    """The summary of a model from its out-of-fold table and the test rows scored beside (perhaps none).

    groups: code of each image of the image set, (images,), where folds are grouped; None: each image stands alone.
    """
    repeats = [oof.of_repeat(repeat) for repeat in oof.repeats]
    tests = _fits(test)
    return ModelSummary(
        oof.task,
        oof.backbone,
        oof.model,
        oof.class_names,
        tuple(np.bincount(repeats[0].target, minlength=len(oof.class_names)).tolist()),
        Confusion(confusion_matrix(oof.target, oof.probabilities)),
        reliability(oof.target, oof.probabilities),
        score(repeats, _fits(oof), intervals, groups),
        # every fit scores the same test images, as repeats do
        score(tests, tests, intervals, groups) if tests else None,
        cost,
    )


def score(
    wholes: Sequence[OOFTable], fits: Sequence[OOFTable], intervals: bool = False, groups: np.ndarray | None = None
) -> Scores:
    """Estimates from `wholes`, the same images in the same order (a table a repeat), with their spread over `fits`."""
    of_wholes, of_fits = ([measure(table) for table in tables] for tables in (wholes, fits))
    outcomes: Mapping[str, Outcome] = {}
    if intervals:
        tables = [(table.target, table.probabilities) for table in wholes]
        outcomes = intervals_of(
            tables, [table.fold for table in wholes], None if groups is None else groups[wholes[0].index]
        )

    def estimate(name: str) -> Estimate:
        mean, sd = fold_spread([metrics[name] for metrics in of_fits])
        value = float(np.mean([metrics[name] for metrics in of_wholes]))
        return Estimate(value, mean, sd, outcomes.get(name))

    classes = range(len(wholes[0].class_names))
    return Scores(
        len(wholes[0]),
        {name: estimate(name) for name in ALL_METRICS},
        tuple(estimate(f"recall_{k}") for k in classes),
        tuple(estimate(f"auc_{k}") for k in classes),
        tuple(estimate(f"average_precision_{k}") for k in classes),
        tuple(
            FitScore(int(table.repeat[0]), int(table.fold[0]), len(table), metrics)
            for table, metrics in zip(fits, of_fits, strict=True)
        ),
    )


# of each class, NaN where it is absent
PER_CLASS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "recall": recall_per_class,
    "auc": auc_per_class,
    "average_precision": average_precision_per_class,
}


def measure(table: OOFTable) -> dict[str, float]:
    """Each of ALL_METRICS and `<metric>_<k>` of PER_CLASS of each class, of a table's rows; NaN where undefined."""
    rows = (table.target, table.probabilities)
    found = metrics_of(*rows) | further_metrics_of(*rows)
    for name, per_class in PER_CLASS.items():
        found |= {f"{name}_{k}": value for k, value in enumerate(per_class(*rows).tolist())}
    return found


def cost_of(configs: Sequence[Mapping[str, Any]]) -> NetworkCost:
    """The cost of a model from config.json of each fit: channels are computed once for all fits, heads run in each."""
    each = [config["circuit_evaluations"] for config in configs]
    return NetworkCost(
        configs[0]["parameters"],
        configs[0]["multiply_adds"],
        CircuitEvaluations(
            executed=max(count["executed"] for count in each),
            hardware_quanvolution=max(count["hardware_quanvolution"] for count in each),
            hardware_head=sum(count["hardware_head"] for count in each),
        ),
    )


def _fits(table: OOFTable) -> list[OOFTable]:
    return [table.of_fit(*split) for split in table.splits]
