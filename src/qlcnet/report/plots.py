"""Figures of results: metrics by backbone, confusion matrices, ROC curves, training curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from qlcnet.evidence.calibration import Reliability
from qlcnet.evidence.learning import LearningCurve
from qlcnet.evidence.metrics import Confusion, RocCurves
from qlcnet.evidence.summary import Estimate, ModelSummary
from qlcnet.report.style import BOX, COLOURS, EDGE, INK, MUTED, colour_of, make_figure, marker_of

METRIC_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auc_macro": "Macro AUC",
    "auc_micro": "Micro AUC",
    "loss": "Loss (nats)",
}
TRAINING = ("loss", "accuracy", "auc_macro")  # a panel each
MAJORITY = "majority class"
PANELS = 4  # a row
SHADES = LinearSegmentedColormap.from_list("shades", ["#f4f7fa", "#8fbbdb", "#0072b2", "#00395a"])
DARK_TEXT, LIGHT_TEXT = "#10151a", "#fefefe"  # on shades, in both themes
MOST_NUMBERS = 12  # classes; with more, cells are too small for text
LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # class curves beyond the number of colours


def by_backbone(
    summaries: Mapping[tuple[str, str], ModelSummary],
    metric: str,
    order: Sequence[str],
    baseline: float | None,
    width: float = 4.9,
) -> Figure:
    """A metric over backbones as categories, one colour a model: mean of folds +- sd, as in the paper's figures 6 to 9.

    `summaries`: by (backbone, model). `order`: the study's models, also those that are not there, so that a model has
    one colour in all figures. With one fit there is no sd: then the bar is the 95 % interval.
    """
    backbones = list(dict.fromkeys(backbone for backbone, _ in summaries))
    models = [model for model in order if any(name == model for _, name in summaries)]
    figure, (axes,) = make_figure(width, 3.5)
    step = min(0.17, 0.72 / max(1, len(models)))
    for i in range(0, len(backbones), 2):  # bands, so that each point is seen to belong to its backbone
        axes.axvspan(i - 0.5, i + 0.5, color=BOX, linewidth=0, zorder=0)
    for position, model in enumerate(models):
        there = [(i, summaries[b, model]) for i, b in enumerate(backbones) if (b, model) in summaries]
        found = [summary.oof.metrics[metric] for _, summary in there]
        x = np.array([i for i, _ in there]) + step * (position - (len(models) - 1) / 2)
        mean = np.array([estimate.fold_mean for estimate in found])
        axes.errorbar(
            x, mean, yerr=np.array([error_bar(estimate) for estimate in found]).T,
            color=colour_of(order.index(model)), marker=marker_of(order.index(model)), label=model,
            linestyle="none", elinewidth=1.6, capsize=3.5, capthick=1.6,
        )  # fmt: skip
    if baseline is not None:
        axes.axhline(baseline, color=MUTED, linewidth=1.2, linestyle=(0, (5, 3)), label=MAJORITY)
    labels = short_names(backbones)
    axes.set_xticks(range(len(backbones)), labels, rotation=25 if max(map(len, labels)) > 14 else 0)
    axes.set_xlim(-0.5, len(backbones) - 0.5)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
    axes.set_title(METRIC_TITLES[metric])
    handles, names = axes.get_legend_handles_labels()
    last = [i for i, name in enumerate(names) if name == MAJORITY]  # matplotlib lists lines before error bars
    shown = [i for i in range(len(names)) if i not in last] + last
    figure.legend([handles[i] for i in shown], [names[i] for i in shown], loc="outside lower center", ncols=4)
    return figure


def error_bar(estimate: Estimate) -> tuple[float, float]:
    """Lengths below and above the mean of folds: their sd, or the 95 % interval where there is one fit only."""
    mean, interval = estimate.fold_mean, estimate.limits
    if not math.isnan(estimate.fold_sd):
        return estimate.fold_sd, estimate.fold_sd
    if math.isnan(mean) or interval is None:
        return 0.0, 0.0
    return max(0.0, mean - interval.low), max(0.0, interval.high - mean)


def confusions(models: Mapping[str, Confusion], class_names: Sequence[str]) -> Figure:
    """Out-of-fold confusion matrices, a panel a model: rows are true classes, each row's shares in per cent."""
    classes = len(class_names)
    figure, panels = grid_of(len(models), 2.45 if classes <= MOST_NUMBERS else 2.9)
    size = 8.5 if classes <= 5 else 7.0 if classes <= 8 else 6.0
    for axes, (model, confusion) in zip(panels, models.items(), strict=True):
        shares = confusion.shares
        # an image of a pixel a cell: of many models, cells drawn one by one were half a megabyte
        axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="none")
        if classes <= MOST_NUMBERS:
            for row, column in np.argwhere(confusion.counts):
                share = shares[row, column]
                style: dict[str, Any] = {"fontsize": size, "color": LIGHT_TEXT if share > 0.45 else DARK_TEXT}
                text = axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", **style)
                text.set_in_layout(False)  # laying out thousands of them takes longer than drawing
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        ticks = range(classes) if classes <= 2 * MOST_NUMBERS else range(0, classes, 10)
        names = [str(k) for k in ticks]
        if axes.get_subplotspec().is_first_col() and classes <= 2 * MOST_NUMBERS:  # type: ignore[union-attr]
            names = [
                name if name == k else f"{shorten(name, 20)}  {k}" for name, k in zip(class_names, names, strict=True)
            ]
        axes.set_yticks(ticks, names, fontsize=8)
        axes.set_xticks(ticks, [str(k) for k in ticks], fontsize=8)
        axes.set_title(model)
        axes.set_xlabel("predicted class", fontsize=8)
    return figure


def rocs(models: Mapping[str, RocCurves], class_names: Sequence[str]) -> Figure:
    """Out-of-fold ROC curves, a panel a model: each class against the rest, and their mean."""
    figure, panels = grid_of(len(models), 2.45, extra=0.55)
    for axes, (model, curves) in zip(panels, models.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=EDGE, linewidth=1, linestyle=(0, (2, 2)))
        for k, curve in enumerate(curves.per_class):
            if curve is not None:
                axes.plot(
                    *_thinned(curve.false_positive_rate, curve.true_positive_rate), **_class_line(k), linewidth=1.1
                )
        if curves.macro is not None:
            axes.plot(
                *_thinned(curves.macro.false_positive_rate, curves.macro.true_positive_rate), color=INK, linewidth=2.2
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(model)
        axes.set_xlabel("false positive rate")
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel("true positive rate")
    handles = [Line2D([], [], color=INK, linewidth=2.2, label="mean of classes")]
    handles += [
        Line2D([], [], **_class_line(k), label=shorten(name, 26)) for k, name in enumerate(class_names[:MOST_NUMBERS])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def reliability(models: Mapping[str, Reliability]) -> Figure:
    """Reliability diagrams, a panel a model: accuracy over confidence in bins of equal mass, bars of two errors."""
    figure, panels = grid_of(len(models), 2.45)
    for axes, (model, diagram) in zip(panels, models.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=EDGE, linewidth=1, linestyle=(0, (2, 2)))
        axes.errorbar(
            diagram.confidence, diagram.accuracy, yerr=2 * np.sqrt(diagram.noise),
            color=colour_of(0), marker="o", markersize=3.5, linewidth=1.4, elinewidth=1.0,
        )  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(f"{model}: {diagram.error:.3f}")
        axes.set_xlabel("confidence")
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel("accuracy")
    return figure


def training(models: Mapping[str, Mapping[str, LearningCurve]], order: Sequence[str]) -> Figure:
    """Loss, accuracy and macro AUC by epoch: mean over fits, band of one sd, from curves by model and column.

    `order`: the study's models, as for `by_backbone`.
    """
    figure, panels = make_figure(10.0, 3.2, 1, 3)
    for axes, metric in zip(panels, TRAINING, strict=True):
        for model, curves in models.items():
            colour = colour_of(order.index(model))
            for part, line in (("train", (0, (3, 1.5))), ("val", "-")):
                curve = curves[f"{part}_{metric}"]
                width, alpha = (1.2, 0.07) if part == "train" else (1.9, 0.16)
                axes.plot(curve.epoch, curve.mean, color=colour, linestyle=line, linewidth=width)
                low, high = curve.mean - curve.sd, curve.mean + curve.sd
                axes.fill_between(curve.epoch, low, high, color=colour, alpha=alpha, linewidth=0)
        axes.set_title(METRIC_TITLES[metric])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Line2D([], [], color=colour_of(order.index(model)), label=model) for model in models]
    handles += [
        Line2D([], [], color=MUTED, label="validation"),
        Line2D([], [], color=MUTED, linestyle=(0, (3, 1.5)), label="training"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the prefix that all of them share up to an underscore: lcnet_050, lcnet_075 -> 050, 075."""
    shared = names[0].rpartition("_")[0] + "_"
    if len(names) > 1 and len(shared) > 1 and all(name.startswith(shared) for name in names):
        return [("LCNet " if shared == "lcnet_" else shared) + name.removeprefix(shared) for name in names]
    return list(names)


def shorten(text: str, most: int) -> str:
    """At most `most` characters, an ellipsis where something is missing."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def grid_of(count: int, size: float, extra: float = 0.0, **options: object) -> tuple[Figure, list[Axes]]:
    """Panels of `size` inches, PANELS a row."""
    columns = min(count, PANELS)
    rows = -(-count // columns)
    width = 10.0 if columns == PANELS else 1.6 + columns * (size + 0.3)
    figure, axes = make_figure(width, rows * (size + 0.3) + 0.35 + extra, rows, columns, **options)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _class_line(k: int) -> dict[str, Any]:
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k // len(COLOURS) % len(LINES)]}


def _thinned(x: np.ndarray, y: np.ndarray, most: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` corners of a staircase, spread evenly along its length: a page holds hundreds of curves."""
    turns = np.diff(x[:-1]) * np.diff(y)[1:] != np.diff(x)[1:] * np.diff(y[:-1])
    corners = np.flatnonzero(np.concatenate([[True], turns, [True]]))  # points within a straight line show nothing
    x, y = x[corners], y[corners]
    if len(x) <= most:
        return x, y
    length = x + y  # both ascend, so this is the way along the stairs
    rows = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)).clip(0, len(x) - 1))
    return x[rows], y[rows]
