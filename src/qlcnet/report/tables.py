"""CSV tables for other programs: summary, classes, confusion counts, folds, history, and curves for DVC's plots."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

from qlcnet.evidence.metrics import METRICS, confusion_matrix, metrics_of
from qlcnet.report.content import Context
from qlcnet.report.plots import history_of
from qlcnet.report.study import Study
from qlcnet.report.summary import class_labels, rounded

Record = dict[str, Any]
CURVES = ("loss", "accuracy", "auc_macro", "auc_micro")


def csv_tables(context: Context) -> dict[str, str]:
    """Text of each table of results/tables by file name."""
    study = context.study
    return {
        "summary.csv": as_csv(_summary(context)),
        "per-class.csv": as_csv(_per_class(context)),
        "confusion.csv": as_csv(_confusion(study)),
        "folds.csv": as_csv(_folds(study)),
        "history.csv": as_csv(_history(study)),
    }


def curves_csv(study: Study) -> str:
    """One row a task, backbone, model and epoch: validation means over fits, and `train_loss`."""
    return as_csv(_curves(study))


def as_csv(records: Iterable[Record]) -> str:
    """Records as CSV under the union of their keys, in order of appearance; None is empty."""
    rows = list(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary(context: Context) -> Iterator[Record]:
    for task, backbones in context.summary["tasks"].items():
        for backbone, models in backbones.items():
            for model, entry in models.items():
                record: Record = {"task": task, "backbone": backbone, "model": model}
                for name, value in entry.items():
                    if name in ("recall_per_class", "recall_intervals"):
                        continue
                    parts = value.items() if isinstance(value, dict) else [("", value)]
                    record |= {f"{name}_{part}".rstrip("_"): number for part, number in parts}
                yield record


def _per_class(context: Context) -> Iterator[Record]:
    for task in context.study.tasks.values():
        labels = class_labels(task.images.class_names)
        scored = task.images.labels[task.scored]
        for (backbone, model), _ in task.results.items():
            entry = context.summary["tasks"][task.name][backbone][model]
            for k, label in enumerate(labels):
                low, high = entry["recall_intervals"][label]
                yield {
                    "task": task.name, "backbone": backbone, "model": model, "label": k, "class": label,
                    "n": int((scored == k).sum()), "recall": entry["recall_per_class"][label],
                    "ci_low": low, "ci_high": high,
                }  # fmt: skip


def _confusion(study: Study) -> Iterator[Record]:
    for model in study:
        counts = confusion_matrix(model.oof.target, model.oof.probabilities)
        for true, row in enumerate(counts):
            yield {"task": model.task, "backbone": model.backbone, "model": model.model, "true": true} | {
                f"predicted_{k}": int(n) for k, n in enumerate(row)
            }


def _folds(study: Study) -> Iterator[Record]:
    for model in study:
        for fit in model.fits:
            record: Record = {
                "task": model.task, "backbone": model.backbone, "model": model.model,
                "repeat": fit.repeat, "fold": fit.fold, "fingerprint": fit.config["fingerprint"],
            }  # fmt: skip
            for prefix, table in (("", model.oof), ("test_", model.test)):
                rows = table.of_fit(fit.repeat, fit.fold)
                if len(rows):
                    found = metrics_of(rows.target, rows.probabilities)
                    record[f"{prefix}n"] = len(rows)
                    record |= {prefix + name: rounded(found[name]) for name in METRICS}
            yield record


def _history(study: Study) -> Iterator[Record]:
    for model in study:
        for fit in model.fits:
            columns = {name: values for name, values in fit.history.items() if name != "epoch"}
            for i, epoch in enumerate(fit.history["epoch"]):
                yield {
                    "task": model.task, "backbone": model.backbone, "model": model.model, "repeat": fit.repeat,
                    "fold": fit.fold, "epoch": int(epoch),
                } | {name: significant(values[i]) for name, values in columns.items()}  # fmt: skip


def significant(value: float) -> str:
    """Six digits, however small the number (learning rates); empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _curves(study: Study) -> Iterator[Record]:
    for model in study:
        means = {name: history_of(model, f"val_{name}")[0] for name in CURVES}
        train = history_of(model, "train_loss")[0]
        for i, epoch in enumerate(model.fits[0].history["epoch"]):
            yield {"task": model.task, "backbone": model.backbone, "model": model.model, "epoch": int(epoch)} | {
                **{name: rounded(values[i]) for name, values in means.items()}, "train_loss": rounded(train[i])
            }  # fmt: skip
