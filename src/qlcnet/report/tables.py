"""CSV tables for other programs: summary, classes, confusion, folds, history, checks, near-duplicates, DVC's curves."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

from qlcnet.evidence.learning import learning_curve
from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.summary import ModelSummary
from qlcnet.report.checks import check_records
from qlcnet.report.content import Context
from qlcnet.report.difference_tables import claim_records, comparison_records, leak_records, pair_records
from qlcnet.report.duplicates_section import near_duplicate_records
from qlcnet.report.study import ModelResults, Study
from qlcnet.report.summary import class_labels, limits, model_entry, rounded

Record = dict[str, Any]
# columns of curves.csv, and of the histories that they are means of
CURVES = {name: f"val_{name}" for name in ("loss", "accuracy", "auc_macro", "auc_micro")} | {"train_loss": "train_loss"}


def csv_tables(context: Context) -> dict[str, str]:
    """Text of each table of results/tables by file name."""
    study = context.study
    return {
        "summary.csv": as_csv(_summary(context)),
        "per-class.csv": as_csv(_per_class(context)),
        "confusion.csv": as_csv(_confusion(context)),
        "folds.csv": as_csv(_folds(context)),
        "history.csv": as_csv(_history(study)),
        "comparisons.csv": as_csv(comparison_records(context.differences)),
        "pairs.csv": as_csv(pair_records(context.differences)),
        "claims.csv": as_csv(claim_records(context.differences)),
        "checks.csv": as_csv(check_records(context)),
        "near-duplicates.csv": as_csv(near_duplicate_records(context)),
        **({"leaks.csv": as_csv(leak_records(context.differences))} if context.differences.leaks else {}),
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
    for summary in _summaries(context):
        record = _names(summary)
        for name, value in model_entry(summary).items():
            if name.endswith(("_per_class", "_intervals")):
                continue
            parts = value.items() if isinstance(value, dict) else [("", value)]
            record |= {f"{name}_{part}".rstrip("_"): number for part, number in parts}
        yield record


def _per_class(context: Context) -> Iterator[Record]:
    for summary in _summaries(context):
        for k, label in enumerate(class_labels(summary.class_names)):
            recall = summary.oof.recalls[k]
            low, high = limits(recall.interval)
            yield _names(summary) | {
                "label": k, "class": label, "n": summary.members[k], "recall": rounded(recall.value),
                "ci_low": low, "ci_high": high, "auc": rounded(summary.oof.aucs[k].value),
                "average_precision": rounded(summary.oof.average_precisions[k].value),
            }  # fmt: skip


def _confusion(context: Context) -> Iterator[Record]:
    for summary in _summaries(context):
        for true, row in enumerate(summary.confusion.counts.tolist()):
            yield _names(summary) | {"true": true} | {f"predicted_{k}": n for k, n in enumerate(row)}


def _folds(context: Context) -> Iterator[Record]:
    for model in context.study:
        summary = context.summaries[model.task][model.backbone, model.model]
        records = {
            (fit.repeat, fit.fold): _names(model)
            | {"repeat": fit.repeat, "fold": fit.fold, "fingerprint": fit.config["fingerprint"]}
            for fit in model.fits
        }
        for prefix, scores in (("", summary.oof), ("test_", summary.test)):
            for fit in scores.fits if scores else ():
                record = records[fit.repeat, fit.fold]
                record[f"{prefix}n"] = fit.n
                record |= {prefix + name: rounded(fit.metrics[name]) for name in METRICS}
        yield from records.values()


def _history(study: Study) -> Iterator[Record]:
    for model in study:
        for fit in model.fits:
            columns = {name: values for name, values in fit.history.items() if name != "epoch"}
            for i, epoch in enumerate(fit.history["epoch"]):
                names = _names(model) | {"repeat": fit.repeat, "fold": fit.fold, "epoch": int(epoch)}
                yield names | {name: significant(values[i]) for name, values in columns.items()}


def significant(value: float) -> str:
    """Six digits, however small the number (learning rates); empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _curves(study: Study) -> Iterator[Record]:
    for model in study:
        histories = [fit.history for fit in model.fits]
        curves = {name: learning_curve(histories, column) for name, column in CURVES.items()}
        for i, epoch in enumerate(histories[0]["epoch"]):
            means = {name: rounded(curve.mean[i]) for name, curve in curves.items()}
            yield _names(model) | {"epoch": int(epoch)} | means


def _summaries(context: Context) -> Iterator[ModelSummary]:
    return (summary for of_task in context.summaries.values() for summary in of_task.values())


def _names(model: ModelSummary | ModelResults) -> Record:
    return {"task": model.task, "backbone": model.backbone, "model": model.model}
