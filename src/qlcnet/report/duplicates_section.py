"""The section of near-duplicates: how many, what they are on both sides of, and the closest pairs as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qlcnet.data.near_duplicates import BITS, CORRELATION, NearDuplicates
from qlcnet.evidence.both_sides import on_both_sides
from qlcnet.report.checks import splits_of
from qlcnet.report.content import Block, Cell, Context, Plot, Table, Text, count
from qlcnet.report.data_plots import draw_image
from qlcnet.report.plots import shorten
from qlcnet.report.study import TaskResults
from qlcnet.report.style import make_figure

MOST = 12  # pairs drawn
IN_A_ROW = 4
MEASURES = (
    "Images used",
    "Near-duplicate pairs",
    "Exact copies",
    "Chains of pairs",
    "Largest chain, images",
    "Scored, one like it trained on",
    "Pairs with two labels",
)


def near_duplicates(context: Context) -> list[Block]:
    """Of tasks whose groups are not known; none of them, no section."""
    found = [(task, task.near_duplicates) for task in context.study.tasks.values()]
    known = [(task, near) for task, near in found if near is not None]
    if not known:
        return []
    blocks: list[Block] = [
        Text(
            f"Pairs of images whose perceptual hashes differ in at most {BITS} of 64 bits and whose grey pixels "
            f"correlate by {CORRELATION} or more: one picture twice, or the next frame. Mirrored, turned and cut "
            "copies are not found, nor are most photographs of one lesion from another angle: few pairs do not mean "
            "that images are independent. `protocol: {grouped: near-duplicates}` keeps each chain of pairs in one fold."
        ),
        Table(
            ["", *(task.name for task, _ in known)],
            [list(row) for row in zip(MEASURES, *(_numbers(task, near) for task, near in known), strict=True)],
            "Near-duplicates where groups are not known. Pairs: tables/near-duplicates.csv.",
            sortable=False,
        ),
    ]
    for task, near in known:
        shown = np.flatnonzero(~near.copies & _used(task, near))[:MOST]
        if context.study.params.report.pictures and len(shown):
            caption = (
                f"{task.name}: the {len(shown)} closest pairs that are not equal, with position, class, correlation."
            )
            blocks.append(Plot(f"{task.name}-near-duplicates", _pairs(task, near, shown), caption))
    return blocks


def _used(task: TaskResults, near: NearDuplicates) -> np.ndarray:
    """Of each pair whether both of its images are used."""
    return np.asarray(np.isin(near.pairs, task.used).all(axis=1))


def _numbers(task: TaskResults, near: NearDuplicates) -> list[Cell | str]:
    """MEASURES of a task."""
    used = _used(task, near)
    labels = task.images.labels[near.pairs[used]]
    both = on_both_sides(near.groups, splits_of(task))
    counts = np.bincount(near.groups[task.used])
    return [
        count(len(task.used)),
        count(int((used & ~near.copies).sum())),
        count(int((used & near.copies).sum())),
        count(int((counts > 1).sum())),
        count(int(counts.max())),
        Cell(f"{both.images:,} ({both.share:.2%})", both.images),
        count(int((labels[:, 0] != labels[:, 1]).sum())),
    ]


def _pairs(task: TaskResults, near: NearDuplicates, shown: np.ndarray) -> Figure:
    """Two pictures side by side a pair, what they are below them."""
    rows = -(-len(shown) // IN_A_ROW)
    # a narrow column of nothing between pairs
    widths = [1, 1, 0.25] * IN_A_ROW
    figure, axes = make_figure(8.4, 1.55 * rows, rows, len(widths), width_ratios=widths)
    for one in axes:
        one.set_axis_off()
    for place, pair in enumerate(shown):
        start = place // IN_A_ROW * len(widths) + place % IN_A_ROW * 3
        for side, index in enumerate(near.pairs[pair]):
            one = axes[start + side]
            draw_image(one, np.asarray(task.images.images[index]))
            name = shorten(task.images.class_names[task.images.labels[index]], 12)
            below = f"{index}\n{name}" + (f"\nr = {near.correlation[pair]:.4f}" if side == 0 else "\n")
            one.text(0, -0.06, below, transform=one.transAxes, ha="left", va="top", fontsize=7)
    return figure


def near_duplicate_records(context: Context) -> Iterator[dict[str, Any]]:
    """Rows of tables/near-duplicates.csv: every pair of images that are used, the closest first."""
    for task in context.study.tasks.values():
        near = task.near_duplicates
        if near is None:
            continue
        names, labels = task.images.class_names, task.images.labels
        for k in np.flatnonzero(_used(task, near)):
            one, other = near.pairs[k].tolist()
            yield {
                "task": task.name, "image": one, "other": other, "equal": "yes" if near.copies[k] else "no",
                "correlation": round(float(near.correlation[k]), 6), "class": names[labels[one]],
                "other_class": names[labels[other]],
            }  # fmt: skip
