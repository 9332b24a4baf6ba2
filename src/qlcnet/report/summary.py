"""results/summary.json, everything under fixed names, and results/metrics.json, the few numbers that DVC compares."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from qlcnet import machine
from qlcnet.evidence.intervals import Outcome
from qlcnet.evidence.limits import Limits
from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.summary import Estimate, ModelSummary, cost_of, summarise_model
from qlcnet.report.study import ModelResults, Study, TaskResults

Summaries = dict[str, dict[tuple[str, str], ModelSummary]]  # by task, then (backbone, model), as in params.yaml
HEADLINE_DIGITS = 4  # of metrics.json: a hundredth of a percentage point, and narrow columns in DVC's tables
DIGITS = 6  # decimals kept: far below any interval, and above what rounding can differ by between machines
PACKAGES = (
    "torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "pennylane", "numpy", "numba", "scikit-learn",
    "medmnist", "mlflow", "dvc", "optuna",
)  # fmt: skip


def summarise(study: Study) -> Summaries:
    """The summary of every model, with intervals."""
    pairs = [(task, model) for task in study.tasks.values() for model in task.results.values()]
    # numpy releases the interpreter's lock while it sorts
    with ThreadPoolExecutor(machine.cores()) as threads:
        summaries = list(threads.map(lambda pair: _summarise_model(study, *pair), pairs))
    found: Summaries = {name: {} for name in study.tasks}
    for summary in summaries:
        found[summary.task][summary.backbone, summary.model] = summary
    return found


def summary_json(study: Study, summaries: Summaries, evidence: Mapping[str, Any] | None = None) -> str:
    """The text of results/summary.json: everything, undefined numbers as null.

    tasks / task / backbone / model: what `model_entry` gives. evidence: of differences, see difference_tables. data:
    images, classes and digest of each task. statistics: how intervals were made. tuple: of the fits. versions:
    installed where the report is made.
    """
    tuples = study.tuples
    return to_json(
        {
            "tasks": _nested(summaries, model_entry),
            "evidence": evidence or {},
            "data": {name: _data(task) for name, task in study.tasks.items()},
            "statistics": {
                "fold_sd_ddof": 1,
                "interval": "95 %; each names the method that made it, or why there is none",
                "interval_of": "oof, but of auc_macro the mean over fits",
            },
            "tuple": tuples[0] if len(tuples) == 1 else tuples,
            "versions": versions(),
        }
    )


def metrics_json(summaries: Summaries) -> str:
    """The text of results/metrics.json, DVC's metrics file: a few numbers a model, so that DVC's tables stay readable.

    task / backbone / model / metric: the out-of-fold value, 4 decimals. An undefined one is left out: DVC compares
    numbers alone.
    """
    return to_json(_nested(summaries, headline))


def headline(summary: ModelSummary) -> dict[str, float]:
    """The out-of-fold value of each of METRICS that is defined, with the decimals of metrics.json."""
    values = {name: summary.oof.metrics[name].value for name in METRICS}
    return {name: round(value, HEADLINE_DIGITS) for name, value in values.items() if not math.isnan(value)}


def model_entry(summary: ModelSummary) -> dict[str, Any]:
    """A model in summary.json: JSON values, undefined numbers as None.

    n, fits, each metric as {oof, fold_mean, fold_sd, ci_low, ci_high, ci_method}, `test_<metric>` as the same without
    oof where a test part is scored beside the folds, `<metric>_per_class` of recall, auc and average_precision,
    `recall_intervals` and `auc_intervals`, parameters, multiply_adds, circuit_evaluations.
    """
    labels, recalls = class_labels(summary.class_names), summary.oof.recalls
    evaluations = summary.cost.circuit_evaluations
    found: dict[str, Any] = {
        "n": summary.oof.n,
        "fits": len(summary.oof.fits),
        **{name: {"oof": rounded(one.value), **_spread(one)} for name, one in summary.oof.metrics.items()},
        "recall_per_class": {label: rounded(one.value) for label, one in zip(labels, recalls, strict=True)},
        "recall_intervals": {label: list(limits(one.interval)) for label, one in zip(labels, recalls, strict=True)},
        "auc_per_class": {label: rounded(one.value) for label, one in zip(labels, summary.oof.aucs, strict=True)},
        "auc_intervals": {
            label: list(limits(one.interval)) for label, one in zip(labels, summary.oof.aucs, strict=True)
        },
        "average_precision_per_class": {
            label: rounded(one.value) for label, one in zip(labels, summary.oof.average_precisions, strict=True)
        },
        "parameters": summary.cost.parameters,
        "multiply_adds": summary.cost.multiply_adds,
        "circuit_evaluations": {**asdict(evaluations), "hardware": evaluations.hardware},
    }
    if summary.test:
        found["test_n"] = summary.test.n
        found |= {f"test_{name}": _spread(one) for name, one in summary.test.metrics.items()}
    return found


def to_json(content: dict[str, Any]) -> str:
    """Stable text: sorted keys, no NaN."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def versions() -> dict[str, str]:
    """Python, this package and those that decide results, as installed where the report is made."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("qlcnet", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def class_labels(names: tuple[str, ...]) -> list[str]:
    """Class names as unique keys: a name that stands twice gets its label behind it."""
    return [name if names.count(name) == 1 else f"{name} ({label})" for label, name in enumerate(names)]


def rounded(value: float | np.floating[Any]) -> float | None:
    """`value` with DIGITS decimals, None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)


def limits(outcome: Outcome | None) -> tuple[float | None, float | None]:
    """Both limits rounded, or None twice."""
    return (rounded(outcome.low), rounded(outcome.high)) if isinstance(outcome, Limits) else (None, None)


def method(outcome: Outcome | None) -> str | None:
    """What made the limits, or why there are none."""
    return outcome.method if isinstance(outcome, Limits) else None if outcome is None else str(outcome)


def _summarise_model(study: Study, task: TaskResults, model: ModelResults) -> ModelSummary:
    cost = cost_of([fit.config for fit in model.fits])
    return summarise_model(model.oof, model.test, cost, intervals=True, groups=task.groups)


def _nested(summaries: Summaries, content: Callable[[ModelSummary], dict[str, Any]]) -> dict[str, Any]:
    """The `content` of each summary under task, backbone and model."""
    nested: dict[str, Any] = {}
    for task, of_task in summaries.items():
        for (backbone, model), summary in of_task.items():
            nested.setdefault(task, {}).setdefault(backbone, {})[model] = content(summary)
    return nested


def _spread(estimate: Estimate) -> dict[str, float | str | None]:
    low, high = limits(estimate.interval)
    mean, sd = rounded(estimate.fold_mean), rounded(estimate.fold_sd)
    return {
        "fold_mean": mean,
        "fold_sd": sd,
        "ci_low": low,
        "ci_high": high,
        "ci_method": method(estimate.interval),
    }


def _data(task: TaskResults) -> dict[str, Any]:
    names = class_labels(task.images.class_names)
    return {
        "images": len(task.used),
        "scored": len(task.scored),
        "class_counts": dict(zip(names, task.class_counts.tolist(), strict=True)),
        "majority_accuracy": rounded(task.majority_share),
        "unit": "groups" if task.is_grouped else "images",
        "digest": task.images.digest,
    }
