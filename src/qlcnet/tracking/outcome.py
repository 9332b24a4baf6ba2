"""What a parent run is given when all its folds are there: out-of-fold metrics, tables and figures as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from qlcnet.evidence.metrics import (
    METRICS,
    confusion_matrix,
    metrics_of,
    one_hot,
    recall_per_class,
    roc_curve,
    roc_macro,
    roc_per_class,
)
from qlcnet.evidence.oof import OOFTable, read_oof, read_test
from qlcnet.evidence.statistics import fold_spread
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.report.study import ModelResults

CURVE_POINTS = 501  # of a ROC curve in the CSV; all corners of 60,000 images would be 10 MB


def write_outcome(folder: Path, files: Path) -> dict[str, float]:
    """Write tables and figures of `results/folds/<task>/<backbone>/<model>` below `files`; returns the metrics.

    oof_: over all images, mean of the repeats. fold_mean_, fold_sd_: over the fits, ddof 1. test_mean_, test_sd_: over
    the fits, on the test part that `train-cv` scores beside. oof_recall_<k>: the paper's per-class accuracy.
    """
    kind = TaskFacts.read(folder.parents[1]).protocol["kind"]
    table = read_oof(folder, kind)
    test = read_test(folder)
    _write_confusion(table, files / "confusion")
    _write_roc(table, files / "roc")
    _draw(ModelResults(table.task, table.backbone, table.model, (), table, test), files)
    (files / "oof").mkdir()
    table.write_csv(files / "oof" / "oof.csv")
    metrics = oof_metrics(table)
    if kind == "train-cv" and len(test):
        metrics |= fit_metrics(test, "test")
    return metrics


def oof_metrics(table: OOFTable) -> dict[str, float]:
    """Metrics of the out-of-fold table by the report's definitions, without their intervals."""
    repeats = [table.of_repeat(repeat) for repeat in table.repeats]
    of_repeats = [metrics_of(rows.target, rows.probabilities) for rows in repeats]
    oof = {f"oof_{name}": float(np.mean([of[name] for of in of_repeats])) for name in METRICS}
    recalls = np.mean([recall_per_class(rows.target, rows.probabilities) for rows in repeats], axis=0)
    per_class = {f"oof_recall_{k}": float(value) for k, value in enumerate(recalls)}
    return oof | per_class | fit_metrics(table, "fold")


def fit_metrics(table: OOFTable, prefix: str) -> dict[str, float]:
    """Mean and standard deviation over the fits."""
    fits = [table.of_fit(repeat, fold) for repeat, fold in table.splits]
    of_fits = [metrics_of(rows.target, rows.probabilities) for rows in fits]
    metrics: dict[str, float] = {}
    for name in METRICS:
        mean, sd = fold_spread([of_fit[name] for of_fit in of_fits])
        metrics |= {f"{prefix}_mean_{name}": mean, f"{prefix}_sd_{name}": sd}
    return metrics


def _write_confusion(table: OOFTable, folder: Path) -> None:
    folder.mkdir()
    counts, names = confusion_matrix(table.target, table.probabilities), table.class_names
    with (folder / "confusion.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["true class", *names])
        writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
    content = {"class_names": names, "rows": "true", "columns": "predicted", "counts": counts.tolist()}
    (folder / "confusion.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_roc(table: OOFTable, folder: Path) -> None:
    folder.mkdir()
    per_class = roc_per_class(table.target, table.probabilities)
    micro = roc_curve(one_hot(table.target, len(table.class_names)).ravel(), table.probabilities.ravel())
    means = [("macro", roc_macro(per_class, CURVE_POINTS)), ("micro", micro)]
    grid = np.linspace(0.0, 1.0, CURVE_POINTS)
    with (folder / "roc.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["curve", "false_positive_rate", "true_positive_rate"])
        for name, curve in [*means, *zip(table.class_names, per_class, strict=True)]:
            if curve is not None:  # a class without images has none
                writer.writerows((name, f"{x:.6g}", f"{y:.6g}") for x, y in zip(grid, curve.at(grid), strict=True))


def _draw(model: ModelResults, files: Path) -> None:
    """The report's figures of one model, as pictures: MLflow shows no SVG."""
    from qlcnet.report.plots import confusions, rocs
    from qlcnet.report.style import figure_style

    pictures = {
        "confusion": (confusions, "confusion matrix, per cent of the true class"),
        "roc": (rocs, "ROC curves"),
    }
    with figure_style():
        for name, (draw, title) in pictures.items():
            figure = draw([model], model.oof.class_names)
            figure.set_size_inches(8, 5)  # a panel is as wide as its share of a page: too narrow for a legend
            figure.suptitle(f"{model.task}, {model.backbone}, out of fold: {title}", fontsize=9)
            figure.savefig(files / name / f"{name}.png", dpi=110, facecolor="white")
