"""Figures of the data: example images and class counts."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qlcnet.report.plots import shorten
from qlcnet.report.study import TaskResults
from qlcnet.report.style import COLOURS, MUTED, make_figure

LARGEST = 96  # pixels a side of an example; larger images are thinned to it
MOST_CLASSES = 40  # shown; more would fill pages


def examples(task: TaskResults, per_class: int) -> Figure:
    """`per_class` images of every class, spread evenly over the images used: a row a class."""
    names = task.images.class_names[:MOST_CLASSES]
    labels = task.images.labels[task.used]
    blocks = 1 if len(names) <= 12 else 2  # classes side by side
    rows = -(-len(names) // blocks)
    figure, axes = make_figure(blocks * (1.75 + 0.55 * per_class), 0.55 * rows + 0.1, rows, blocks * per_class)
    for one in axes:
        one.set_axis_off()
    for k, name in enumerate(names):
        members = task.used[labels == k]
        shown = (
            members[np.linspace(0, len(members) - 1, min(per_class, len(members))).round().astype(int)]
            if len(members)
            else []
        )
        start = (k % rows) * blocks * per_class + (k // rows) * per_class
        for i, index in enumerate(shown):
            draw_image(axes[start + i], np.asarray(task.images.images[index]))
        axes[start].text(
            -0.12, 0.5, shorten(name, 26), transform=axes[start].transAxes, ha="right", va="center", fontsize=9
        )
    return figure


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """A uint8 image (H, W, 1 or 3), thinned to LARGEST pixels a side."""
    step = -(-max(image.shape[:2]) // LARGEST)
    image = image[::step, ::step]
    grey = image.shape[2] == 1
    axes.imshow(
        image[:, :, 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="none"
    )


def class_counts(task: TaskResults) -> Figure:
    """Images of each class as horizontal bars, with number and share."""
    names = [shorten(name, 26) for name in task.images.class_names[:MOST_CLASSES]]
    counts = task.class_counts[:MOST_CLASSES]
    figure, (axes,) = make_figure(5.2, 0.33 * len(names) + 0.3)
    axes.barh(range(len(names)), counts, color=COLOURS[0], height=0.58)
    for k, count in enumerate(counts):
        share = count / task.class_counts.sum()
        axes.text(count + counts.max() * 0.015, k, f"{count:,}  ({share:.1%})", va="center", fontsize=8.5, color=MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, counts.max() * 1.28)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return figure
