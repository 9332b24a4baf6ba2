"""What a parent run is given when all its folds are there: out-of-fold metrics, tables and figures as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qlcnet.study.fold_folder import read_config
from qlcnet.study.metrics import (
    METRICS,
    Curve,
    confusion_matrix,
    metrics_of,
    one_hot,
    recall_per_class,
    roc_curve,
    roc_macro,
    roc_per_class,
)
from qlcnet.study.oof import OOFTable, fold_folders, read_oof, read_test
from qlcnet.study.statistics import fold_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE_POINTS = 501  # of a ROC curve in the CSV and the figure; all corners of 60,000 images would be 10 MB


def write_outcome(folder: Path, files: Path) -> dict[str, float]:
    """Write tables and figures of `results/folds/<task>/<backbone>/<model>` below `files`; returns the metrics.

    oof_: over all images, mean of the repeats. fold_mean_, fold_sd_: over the fits, ddof 1. test_mean_, test_sd_: over
    the fits, on the test part that `train-cv` scores beside. oof_recall_<k>: the paper's per-class accuracy.
    """
    kind = read_config(next(iter(fold_folders(folder).values())))["params"]["protocol"]["kind"]
    table = read_oof(folder, kind)
    _write_confusion(table, files / "confusion")
    _write_roc(table, files / "roc")
    (files / "oof").mkdir()
    table.write_csv(files / "oof" / "oof.csv")
    metrics = oof_metrics(table)
    if kind == "train-cv" and len(test := read_test(folder)):
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
    metrics = {}
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

    side = 2.2 + 0.55 * len(names)
    figure = _figure(side + 1.5, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class", title=_title(table))
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    figure.savefig(folder / "confusion.png")


def _write_roc(table: OOFTable, folder: Path) -> None:
    folder.mkdir()
    per_class = roc_per_class(table.target, table.probabilities)
    micro = roc_curve(one_hot(table.target, len(table.class_names)).ravel(), table.probabilities.ravel())
    curves: list[tuple[str, Curve | None]] = [
        ("macro", roc_macro(per_class, CURVE_POINTS)),
        ("micro", micro),
        *zip(table.class_names, per_class, strict=True),
    ]
    grid = np.linspace(0.0, 1.0, CURVE_POINTS)
    figure = _figure(6.5, 5)
    axes = figure.add_subplot()
    with (folder / "roc.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["curve", "false_positive_rate", "true_positive_rate"])
        for name, curve in curves:
            if curve is None:  # a class without images has none
                continue
            heights = curve.at(grid)
            writer.writerows((name, f"{x:.6g}", f"{y:.6g}") for x, y in zip(grid, heights, strict=True))
            strong = name in ("macro", "micro")
            axes.plot(np.r_[0, grid], np.r_[0, heights], label=name, lw=2 if strong else 1, ls="-" if strong else "--")
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=_title(table))
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(folder / "roc.png")


def _title(table: OOFTable) -> str:
    return f"{table.task}: {table.backbone} {table.model}, out of fold"


def _figure(width: float, height: float) -> Figure:
    # the object interface: pyplot keeps global state, and this runs beside the main thread
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
