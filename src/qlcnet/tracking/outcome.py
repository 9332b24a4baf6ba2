"""What a parent run is given when all its folds are there: out-of-fold metrics, tables and figures as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from qlcnet.evidence.metrics import RocCurves, roc_curves, roc_micro
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.summary import ModelSummary, cost_of, summarise_model
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.report.predictions import fold_folders, read_oof, read_test, write_oof

CURVE_POINTS = 501  # of a ROC curve in the CSV; all corners of 60,000 images would be 10 MB


def write_outcome(folder: Path, files: Path) -> dict[str, float]:
    """Write tables and figures of `results/folds/<task>/<backbone>/<model>` below `files`; returns the metrics."""
    configs = [read_config(fold) for fold in fold_folders(folder).values()]
    kind = TaskFacts.read(folder.parents[1]).protocol["kind"]
    table = read_oof(folder, kind)
    # the report makes the intervals
    summary = summarise_model(table, read_test(folder, kind), cost_of(configs))
    curves = roc_curves(table.target, table.probabilities, CURVE_POINTS)
    for name in ("confusion", "roc", "oof"):
        (files / name).mkdir()
    _write_confusion(summary, files / "confusion")
    _write_roc(table, curves, files / "roc")
    _draw(summary, curves, files)
    write_oof(table, files / "oof" / "oof.csv")
    return run_metrics(summary)


def run_metrics(summary: ModelSummary) -> dict[str, float]:
    """A summary as MLflow's flat metrics.

    oof_: over all images, mean of the repeats. fold_mean_, fold_sd_: over the fits, ddof 1. test_mean_, test_sd_: over
    the fits, on the test part that `train-cv` scores beside. oof_recall_<k>: the paper's per-class accuracy.
    """
    metrics = {f"oof_recall_{k}": recall.value for k, recall in enumerate(summary.oof.recalls)}
    for name, estimate in summary.oof.metrics.items():
        metrics[f"oof_{name}"] = estimate.value
        metrics |= {f"fold_mean_{name}": estimate.fold_mean, f"fold_sd_{name}": estimate.fold_sd}
    for name, estimate in summary.test.metrics.items() if summary.test else ():
        metrics |= {f"test_mean_{name}": estimate.fold_mean, f"test_sd_{name}": estimate.fold_sd}
    return metrics


def _write_confusion(summary: ModelSummary, folder: Path) -> None:
    counts, names = summary.confusion.counts.tolist(), summary.class_names
    with (folder / "confusion.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["true class", *names])
        writer.writerows([name, *row] for name, row in zip(names, counts, strict=True))
    content = {"class_names": names, "rows": "true", "columns": "predicted", "counts": counts}
    (folder / "confusion.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_roc(table: OOFTable, curves: RocCurves, folder: Path) -> None:
    means = [("macro", curves.macro), ("micro", roc_micro(table.target, table.probabilities))]
    grid = np.linspace(0.0, 1.0, CURVE_POINTS)
    with (folder / "roc.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["curve", "false_positive_rate", "true_positive_rate"])
        for name, curve in [*means, *zip(table.class_names, curves.per_class, strict=True)]:
            if curve is not None:  # a class without images has none
                writer.writerows((name, f"{x:.6g}", f"{y:.6g}") for x, y in zip(grid, curve.at(grid), strict=True))


def _draw(summary: ModelSummary, curves: RocCurves, files: Path) -> None:
    """The report's figures of one model, as pictures: MLflow shows no SVG."""
    from qlcnet.report.plots import confusions, rocs
    from qlcnet.report.style import drawable, figure_style

    names = drawable(summary.class_names)
    with figure_style():
        drawn = (
            (
                "confusion",
                confusions({summary.model: summary.confusion}, names),
                "confusion matrix, per cent of the true class",
            ),
            ("roc", rocs({summary.model: curves}, names), "ROC curves"),
        )
        for name, figure, title in drawn:
            figure.set_size_inches(8, 5)  # a panel is as wide as its share of a page: too narrow for a legend
            figure.suptitle(f"{summary.task}, {summary.backbone}, out of fold: {title}", fontsize=9)
            figure.savefig(files / name / f"{name}.png", dpi=110, facecolor="white")
