"""Figures of many models, which colours no longer tell apart: a row a model, its name on the axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qlcnet.evidence.learning import LearningCurve
from qlcnet.evidence.summary import ModelSummary
from qlcnet.evidence.verdicts import Verdict
from qlcnet.report.plots import MAJORITY, METRIC_TITLES, error_bar, grid_of, short_names
from qlcnet.report.style import GRID, MUTED, colour_of, make_figure, marker_of

ROW = 0.19  # inches
SIGNED = LinearSegmentedColormap.from_list("signed", ["#d55e00", "#f2b48a", "#f4f7fa", "#8fbbdb", "#0072b2"])
MARK = "#10151a"  # on SIGNED, in both themes


def dots(
    summaries: Mapping[tuple[str, str], ModelSummary], metric: str, order: Sequence[str], baseline: float | None
) -> Figure:
    """A metric as a row a model, in `order` from the top, a colour and marker a backbone: mean of folds +- sd.

    `summaries`: by (backbone, model). With one fit there is no sd: then the bar is the 95 % interval.
    """
    backbones = list(dict.fromkeys(backbone for backbone, _ in summaries))
    models = [model for model in order if any(name == model for _, name in summaries)]
    figure, (axes,) = make_figure(4.9, 1.1 + ROW * len(models) * max(1.0, len(backbones) / 2))
    step = 0.8 / len(backbones)
    for position, (backbone, label) in enumerate(zip(backbones, short_names(backbones), strict=True)):
        there = [
            (row, summaries[backbone, model]) for row, model in enumerate(models) if (backbone, model) in summaries
        ]
        found = [summary.oof.metrics[metric] for _, summary in there]
        axes.errorbar(
            [estimate.fold_mean for estimate in found],
            np.array([row for row, _ in there]) + step * (position - (len(backbones) - 1) / 2),
            xerr=np.array([error_bar(estimate) for estimate in found]).T,
            color=colour_of(position), marker=marker_of(position), markersize=4.5, label=label,
            linestyle="none", elinewidth=1.3,
        )  # fmt: skip
    if baseline is not None:
        axes.axvline(baseline, color=MUTED, linewidth=1.2, linestyle=(0, (5, 3)), label=MAJORITY)
    _rows(axes, models)
    axes.tick_params(axis="y", length=0)
    axes.set_title(METRIC_TITLES[metric])
    if baseline is not None or len(backbones) > 1:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def differences(models: Sequence[str], pairs: np.ndarray, title: str) -> Figure:
    """Row minus column as a heat map, from a matrix of verdicts (models, models): a mark where a pair is decided.

    A dot: a difference was found. A ring: it was found too small to matter.
    """
    judged = {at: cell for at, cell in np.ndenumerate(pairs) if isinstance(cell, Verdict)}
    means = np.full(pairs.shape, np.nan)
    for at, verdict in judged.items():
        means[at] = verdict.test.mean
    most = max((abs(verdict.test.mean) for verdict in judged.values()), default=0.0) or 1.0
    figure, (axes,) = make_figure(10.0, 2.4 + ROW * len(models))
    image = axes.imshow(means, cmap=SIGNED, vmin=-most, vmax=most, interpolation="none", aspect="auto")
    for face, equivalent in ((MARK, False), ("none", True)):
        marked = [
            at for at, verdict in judged.items() if verdict.decided and (verdict.word == "equivalent") == equivalent
        ]
        places: np.ndarray = np.array(marked).reshape(-1, 2)
        axes.plot(
            places[:, 1],
            places[:, 0],
            linestyle="none",
            marker="o",
            markersize=3.5,
            markerfacecolor=face,
            markeredgecolor=MARK,
        )
    _rows(axes, models)
    axes.grid(visible=False)
    axes.set_xticks(range(len(models)), models, rotation=90, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.5, aspect=30).outline.set_visible(False)
    return figure


def training_by_model(models: Mapping[str, Mapping[str, LearningCurve]], metric: str) -> Figure:
    """A metric by epoch, a panel a model on common axes: training dashed, validation with a band of one sd."""
    figure, panels = grid_of(len(models), 1.7, sharex=True, sharey=True)
    for axes, (model, curves) in zip(panels, models.items(), strict=True):
        train, validation = curves[f"train_{metric}"], curves[f"val_{metric}"]
        axes.plot(train.epoch, train.mean, color=MUTED, linestyle=(0, (3, 1.5)), linewidth=1.2)
        axes.plot(validation.epoch, validation.mean, color=colour_of(0))
        low, high = validation.mean - validation.sd, validation.mean + validation.sd
        axes.fill_between(validation.epoch, low, high, color=colour_of(0), alpha=0.16, linewidth=0)
        axes.set_title(model, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


def _rows(axes: Axes, models: Sequence[str]) -> None:
    """A row a model, the first at the top."""
    axes.set_yticks(range(len(models)), models, fontsize=8)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
