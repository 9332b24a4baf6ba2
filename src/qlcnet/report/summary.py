"""results/summary.json: every metric of every model with its spread and interval, under fixed names."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from qlcnet import machine
from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.statistics import Estimate, estimates
from qlcnet.report.study import ModelResults, Study, TaskResults

DIGITS = 6  # decimals kept: far below any interval, and above what rounding can differ by between machines
PACKAGES = (
    "torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "pennylane", "numpy", "numba", "scikit-learn",
    "medmnist", "mlflow", "dvc", "optuna",
)  # fmt: skip


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json: JSON values, undefined numbers as None.

    tasks / task / backbone / model: n, each metric as {oof, fold_mean, fold_sd, ci_low, ci_high}, `test_<metric>` as
    {fold_mean, fold_sd, ci_low, ci_high} where a test part is scored beside the folds, recall_per_class, parameters,
    multiply_adds, circuit_evaluations.
    """
    pairs = [(task, model) for task in study.tasks.values() for model in task.results.values()]
    # numba and numpy release the interpreter's lock, so the bootstrap of several models runs at the same time
    with ThreadPoolExecutor(machine.cores()) as threads:
        summaries = list(threads.map(lambda pair: _summarise_model(study, *pair), pairs))
    tasks: dict[str, Any] = {}
    for (_, model), summary in zip(pairs, summaries, strict=True):
        tasks.setdefault(model.task, {}).setdefault(model.backbone, {})[model.model] = summary
    tuples = study.tuples
    return {
        "tasks": tasks,
        "data": {name: _summarise_data(task) for name, task in study.tasks.items()},
        "statistics": {
            "fold_sd_ddof": 1,
            "interval": "95 % percentile bootstrap of the out-of-fold metric",
            "resamples": study.params.report.bootstrap,
            "seed": study.params.seed,
        },
        "tuple": tuples[0] if len(tuples) == 1 else tuples,
        "versions": versions(),
    }


def to_json(summary: dict[str, Any]) -> str:
    """Stable text: sorted keys, no NaN."""
    return json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


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


def _summarise_model(study: Study, task: TaskResults, model: ModelResults) -> dict[str, Any]:
    resamples, seed = study.params.report.bootstrap, study.params.seed
    oof = model.oof
    repeats = [oof.of_repeat(repeat) for repeat in oof.repeats]
    fits = [oof.of_fit(*split) for split in oof.splits]
    found = estimates(
        repeats[0].target,
        [table.probabilities for table in repeats],
        [(table.target, table.probabilities) for table in fits],
        task.groups_of(repeats[0].index),
        resamples,
        seed,
    )
    summary: dict[str, Any] = {
        "n": len(repeats[0]),
        "fits": len(model.fits),
        **{name: {"oof": rounded(found[name].value), **_spread(found[name])} for name in METRICS},
        "recall_per_class": {
            name: rounded(found[f"recall_{k}"].value) for k, name in enumerate(class_labels(oof.class_names))
        },
        "recall_intervals": {
            name: [rounded(found[f"recall_{k}"].ci_low), rounded(found[f"recall_{k}"].ci_high)]
            for k, name in enumerate(class_labels(oof.class_names))
        },
        "parameters": model.config["parameters"],
        "multiply_adds": model.config["multiply_adds"],
        "circuit_evaluations": _circuit_evaluations(model),
    }
    if len(model.test):
        # every fit scores the same test images: its mean over fits is what is resampled
        tests = [model.test.of_fit(*split) for split in model.test.splits]
        views = [(table.target, table.probabilities) for table in tests]
        groups = task.groups_of(tests[0].index)
        found = estimates(tests[0].target, [p for _, p in views], views, groups, resamples, seed)
        summary["test_n"] = len(tests[0])
        summary |= {f"test_{name}": _spread(found[name]) for name in METRICS}
    return summary


def _spread(estimate: Estimate) -> dict[str, float | None]:
    return {name: rounded(getattr(estimate, name)) for name in ("fold_mean", "fold_sd", "ci_low", "ci_high")}


def _summarise_data(task: TaskResults) -> dict[str, Any]:
    names = class_labels(task.images.class_names)
    return {
        "images": len(task.used),
        "scored": len(task.scored),
        "class_counts": dict(zip(names, task.class_counts.tolist(), strict=True)),
        "majority_accuracy": rounded(task.majority_share),
        "resampled": "groups" if task.is_grouped else "images",
        "digest": task.images.digest,
    }


def _circuit_evaluations(model: ModelResults) -> dict[str, int]:
    """Circuits run for all fits of the model. Channels are computed once and shared by its fits, heads run in each."""
    each = [fit.config["circuit_evaluations"] for fit in model.fits]
    quanvolution = max(count["hardware_quanvolution"] for count in each)
    head = sum(count["hardware_head"] for count in each)
    return {
        "executed": max(count["executed"] for count in each),
        "hardware_quanvolution": quanvolution,
        "hardware_head": head,
        "hardware": quanvolution + head,
    }


def rounded(value: float | np.floating[Any]) -> float | None:
    """`value` with DIGITS decimals, None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)
