"""A picture of images beside the channels that were made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IMAGES = 3  # examples a name


class Shown(NamedTuple):
    """Channels (n, H, W, channels) of the examples; values outside `limits` look like these."""

    values: NDArray[Any]
    limits: tuple[float, float]


def choose_examples(labels: NDArray[Any] | None, count: int) -> list[int]:
    """The first image of each of the first classes, so that the same set always shows the same images."""
    if labels is None:
        return list(range(min(IMAGES, count)))
    first = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)[:IMAGES]]
    return first


def draw_preview(images: NDArray[np.uint8], channels: Mapping[str, Shown], path: Path) -> None:
    """Write a PNG: for each name of channels a row an image, the original and then its channels.

    `images` uint8 (n, H, W, 1 or 3). The bytes depend on the arguments and on matplotlib's version alone.
    """
    from matplotlib.figure import Figure

    columns = 1 + max(shown.values.shape[3] for shown in channels.values())
    rows = len(images) * len(channels)
    figure = Figure(figsize=(1.25 * columns + 0.4, 1.3 * rows + 0.3), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for block, (name, (values, (low, high))) in enumerate(channels.items()):
        for i, image in enumerate(images):
            line = axes[block * len(images) + i]
            line[0].set_axis_on()
            line[0].set(xticks=[], yticks=[])
            line[0].imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
            if i == 0:
                line[0].set_ylabel(name, fontsize=9)
                line[0].set_title("image", fontsize=9)
            for channel in range(values.shape[3]):
                line[channel + 1].imshow(values[i, :, :, channel], cmap="viridis", vmin=low, vmax=high)
                if i == 0:
                    line[channel + 1].set_title(f"channel {channel}", fontsize=9)
    figure.savefig(path, metadata={"Software": None})
