"""Figures of searches in the report's style: history, importances, parallel coordinates, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qlcnet.report.plots import METRIC_TITLES, SHADES, shorten
from qlcnet.report.style import EDGE, INK, MUTED, colour_of, make_figure, marker_of
from qlcnet.search.outcome import SearchRecord

PANELS = 3  # slices a row


def history(searches: Mapping[str, Sequence[SearchRecord]]) -> Figure:
    """Best value so far against settled trials, by model: mean over its searches, band from the least to the greatest.

    Points are the complete trials of the first search of each model.
    """
    figure, (axes,) = make_figure(7.2, 3.6)
    for position, (model, records) in enumerate(searches.items()):
        colour = colour_of(position)
        longest = max(len(one.trials) for one in records)
        lines = np.full((len(records), longest), np.nan)
        for row, one in enumerate(records):
            for count, value in one.best_so_far():
                lines[row, count - 1 :] = value
        x = np.arange(1, longest + 1)
        known = ~np.isnan(lines).all(0)
        axes.step(x[known], np.nanmean(lines[:, known], 0), where="post", color=colour, linewidth=2.0, label=model)
        if len(records) > 1:
            low, high = np.nanmin(lines[:, known], 0), np.nanmax(lines[:, known], 0)
            axes.fill_between(x[known], low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        for state, alpha in (("complete", 0.75), ("pruned", 0.25)):
            there = [(i, one.value) for i, one in enumerate(records[0].trials, 1) if one.state == state and one.values]
            if there:
                axes.plot(
                    *zip(*there, strict=True), linestyle="none",
                    marker=marker_of(position) if state == "complete" else "x",
                    markersize=3.6, color=colour, alpha=alpha,
                )  # fmt: skip
    metric = next(iter(searches.values()))[0].metric
    axes.set_title(f"{METRIC_TITLES[metric]} over inner folds")
    axes.set_xlabel("settled trials (× dropped)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return figure


def importances(search: SearchRecord) -> Figure:
    """Share of each key in what sets good trials apart."""
    shares = sorted((search.importances or {}).items(), key=lambda item: item[1])
    figure, (axes,) = make_figure(6.0, 0.9 + 0.3 * len(shares))
    axes.barh([short_key(key) for key, _ in shares], [share for _, share in shares], color=colour_of(0), height=0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("importance (PED-ANOVA), sums to 1")
    return figure


def parallel(search: SearchRecord) -> Figure:
    """A line a trial with all folds over the keys, dark where its value is high."""
    keys = list(search.bounds)
    trials = sorted(search.complete, key=lambda one: one.value)
    values = np.array([one.value for one in trials])
    span = float(np.ptp(values)) or 1.0
    figure, (axes,) = make_figure(max(5.0, 1.6 + 1.35 * len(keys)), 3.4)
    for trial, value in zip(trials, values, strict=True):
        heights = [place(trial.setting.get(key), search.bounds[key]) for key in keys]
        axes.plot(range(len(keys)), heights, color=SHADES(0.15 + 0.85 * (value - values[0]) / span), linewidth=1.1)
    for column, key in enumerate(keys):
        axes.axvline(column, color=EDGE, linewidth=1)
        for height, text in _ticks(search.bounds[key]):
            axes.annotate(text, (column, height), xytext=(4, 0), textcoords="offset points", fontsize=7.5, va="center")
    axes.set_xticks(range(len(keys)), [short_key(key) for key in keys], fontsize=8, rotation=15 if len(keys) > 3 else 0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.1, len(keys) - 0.6)
    axes.set_title(f"{len(trials)} trials, {values[0]:.3f} (light) to {values[-1]:.3f} (dark)")
    return figure


def slices(search: SearchRecord) -> Figure:
    """The value of each complete trial over each key; the default as a ring, the best as a filled mark."""
    keys = list(search.bounds)
    rows, columns = -(-len(keys) // PANELS), min(PANELS, len(keys))
    figure, panels = make_figure(1.2 + 2.9 * columns, 0.5 + 2.3 * rows, rows, columns)
    best = max(search.complete, key=lambda one: (one.value, -one.number))
    for axes, key in zip(panels, keys, strict=False):
        bounds = search.bounds[key]
        there = [one for one in search.complete if key in one.setting]
        x = [_across(one.setting[key], bounds) for one in there]
        axes.plot(x, [one.value for one in there], linestyle="none", marker="o", markersize=3.5, color=MUTED, alpha=0.7)
        for one, style in ((search.default, "none"), (best, colour_of(0))):
            if one is not None and key in one.setting:
                at = _across(one.setting[key], bounds)
                axes.plot(at, one.value, marker="o", markersize=8, markerfacecolor=style, markeredgecolor=INK)
        if "choices" in bounds:
            labels = [shorten(str(one), 12) for one in bounds["choices"]]
            axes.set_xticks(range(len(labels)), labels, fontsize=8, rotation=20 if len(labels) > 3 else 0)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        elif bounds["log"]:
            axes.set_xscale("log")
        axes.set_title(short_key(key), fontsize=9)
    for unused in panels[len(keys) :]:
        unused.remove()
    return figure


def short_key(key: str) -> str:
    """A dotted name without what is alike in most."""
    return key.removeprefix("training.").removeprefix("models.").removeprefix("backbones.").removeprefix("circuits.")


def place(value: Any, bounds: Mapping[str, Any]) -> float:
    """Where a value lies between the ends of its key, 0 to 1; NaN where the key was not searched in that trial."""
    if value is None and None not in bounds.get("choices", ()):
        return float("nan")
    if "choices" in bounds:
        return bounds["choices"].index(value) / max(1, len(bounds["choices"]) - 1)
    low, high, at = (np.log(one) if bounds["log"] else one for one in (bounds["low"], bounds["high"], value))
    return float((at - low) / (high - low))


def _across(value: Any, bounds: Mapping[str, Any]) -> float:
    return float(bounds["choices"].index(value)) if "choices" in bounds else float(value)


def _ticks(bounds: Mapping[str, Any]) -> list[tuple[float, str]]:
    if "choices" in bounds:
        count = max(1, len(bounds["choices"]) - 1)
        return [(i / count, shorten(str(one), 10)) for i, one in enumerate(bounds["choices"])]
    return [(0.0, f"{bounds['low']:g}"), (1.0, f"{bounds['high']:g}")]
