"""Figures of differences: the forest plot over the band of those that are small, and ranks over data sets."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from qlcnet.evidence.families import Line
from qlcnet.evidence.sentences import WORDS
from qlcnet.evidence.several_sets import Ranks
from qlcnet.evidence.verdicts import Verdict
from qlcnet.report.style import BOX, INK, MUTED, colour_of, make_figure

MOST = 60  # lines of a plot; more are in the table alone
ROW = 0.3  # inches
DECIDED, OPEN = colour_of(0), MUTED


def forest(lines: Sequence[Line], metric: str, several_tasks: bool) -> Figure:
    """Lines that have a verdict, in one metric: mean difference, interval of its family (thin) and its own (thick)."""
    judged = [(line.contrast, line.verdict) for line in lines if isinstance(line.verdict, Verdict)][:MOST]
    figure, (axes,) = make_figure(7.2, 1.3 + ROW * len(judged))
    margin = max((verdict.margin or 0.0 for _, verdict in judged), default=0.0)
    axes.axvspan(-margin, margin, color=BOX, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for row, (contrast, verdict) in enumerate(judged):
        colour = DECIDED if verdict.decided else OPEN
        test = verdict.test
        mean = contrast.kind == "mean over widths" and len(contrast.backbones) > 1
        if test.has_spread:
            for interval, width in ((verdict.interval, 1.1), (verdict.unadjusted, 3.2)):
                axes.plot(
                    [interval.low, interval.high], [row, row], color=colour, linewidth=width, solid_capstyle="butt"
                )
        axes.plot(test.mean, row, marker="D" if mean else "o", color=colour, markersize=7 if mean else 5.5)
        axes.annotate(
            verdict.word, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=colour
        )
    names = []
    for contrast, _ in judged:
        over = contrast.backbones[0] if len(contrast.backbones) == 1 else f"all {len(contrast.backbones)} widths"
        names.append(f"{contrast.task}, {over}" if several_tasks else over)
    pairs = [f"{contrast.a} − {contrast.b}" for contrast, _ in judged]
    one_pair = len(set(pairs)) == 1
    shown = names if one_pair else [f"{pair}, {name}" for pair, name in zip(pairs, names, strict=True)]
    axes.set_yticks(range(len(judged)), shown)
    axes.set_ylim(len(judged) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{pairs[0] if one_pair else 'first − second'}, {WORDS.get(metric, metric)}")
    return figure


def rank_diagram(ranks: Ranks) -> Figure:
    """Mean ranks on a line, the best at the left, with the critical difference as a bar (Demsar 2006)."""
    order = sorted(range(len(ranks.models)), key=lambda i: ranks.mean_ranks[i])
    figure, (axes,) = make_figure(7.2, 1.4 + 0.26 * len(order))
    for row, i in enumerate(order):
        axes.plot(ranks.mean_ranks[i], row, marker="o", color=DECIDED)
    best = ranks.mean_ranks[order[0]]
    axes.plot([best, best + ranks.critical_difference], [-0.8, -0.8], color=INK, linewidth=2.4)
    axes.annotate(f"critical difference {ranks.critical_difference:.2f}, p = {ranks.p:.2g}", (best, -1.3), fontsize=8.5)
    axes.set_yticks(range(len(order)), [ranks.models[i] for i in order])
    axes.set_ylim(len(order) - 0.4, -1.9)
    axes.set_xlabel(f"mean rank over {ranks.sets} data sets")
    return figure
