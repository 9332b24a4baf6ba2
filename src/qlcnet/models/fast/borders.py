"""Which way computes what: every measured border of the fast layers, in one table. No torch.

A way follows from shapes by these rules alone and never from a stopwatch inside a fit, whose bytes must not depend on
a timing. `python benchmarks/borders.py` measures both sides of each border under the name that stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from qlcnet.models.fast.geometry import Geometry, Pair, area


@dataclass(frozen=True)
class Convolution:
    """What is known of a convolution before it runs, and what a border may depend on."""

    geometry: Geometry
    channels: Pair  # in, out
    depthwise: bool
    batch: int  # images of a training batch; others (an epoch's last, predictions) run the same way
    batch_last: bool  # its input comes as (channels, height, width, batch) in memory


class Border(NamedTuple):
    """A way to compute a convolution, where it is taken, and the part of benchmarks/borders.py that measures it."""

    way: str
    applies: Callable[[Convolution], bool]
    measured: str


SMALL_MAP = 16  # pixels of the output's longer side; above it oneDNN in channels_last
BANDED_AREA = 1024  # input positions x output positions of a banded matrix, or
BANDED_PER_TAP = 4  # input positions for each tap in reach: 5 x 5 kernels on 7 x 7 maps in half the time
ONEDNN_PRODUCT = 1 << 20  # multiply-adds; below it MKL, whose call takes 10 us less: benchmarks/borders.py, product
TRANSPOSED_CHANNELS = 16  # channels_last to batch-last through a transposed matrix: benchmarks/borders.py, transpose

IN_TORCH = "torch"  # torch's own, in channels_last
TURNED = "torch, turned"  # the same, its output copied to batch-last
NO_RIVAL = "no rival: the other ways do the same arithmetic and copy besides"

# the first that applies; the ways between the first two and the end are those of kernels.WAYS
CONVOLUTIONS: tuple[Border, ...] = (
    Border(IN_TORCH, lambda conv: not conv.geometry.taps, "a kernel that reads padding alone: torch knows what to do"),
    Border(IN_TORCH, lambda conv: max(conv.geometry.out) > SMALL_MAP, "small map"),
    # oneDNN on the image as it comes is faster than transposing it and its columns
    Border(TURNED, lambda conv: not (conv.depthwise or conv.batch_last or _is_pointwise(conv.geometry)), "first"),
    Border("product", lambda conv: not conv.depthwise and _one_tap_reads_all(conv.geometry), NO_RIVAL),
    Border("columns", lambda conv: not conv.depthwise, "columns"),
    Border("scale", lambda conv: _areas(conv.geometry) == (1, 1), NO_RIVAL),
    Border("banded", lambda conv: _areas(conv.geometry)[0] * _areas(conv.geometry)[1] <= BANDED_AREA, "banded"),
    Border(
        "banded", lambda conv: _areas(conv.geometry)[0] <= BANDED_PER_TAP * len(conv.geometry.taps), "banded, 5 x 5"
    ),
    Border("taps", lambda conv: True, "banded"),
)


def choose(conv: Convolution) -> str:
    """The name of the way that computes `conv`."""
    return next(border.way for border in CONVOLUTIONS if border.applies(conv))


def onednn_multiplies(m: int, k: int, n: int) -> bool:
    """Whether oneDNN rather than MKL multiplies float32 matrices (m, k) and (k, n)."""
    return m * k * n >= ONEDNN_PRODUCT


def _areas(geometry: Geometry) -> Pair:
    return area(geometry.size), area(geometry.out)


def _is_pointwise(geometry: Geometry) -> bool:
    return geometry.kernel == (1, 1)


def _one_tap_reads_all(geometry: Geometry) -> bool:
    reads = [len(tap.rows_in) * len(tap.columns_in) for tap in geometry.taps]
    return reads == [area(geometry.size)] == [area(geometry.out)]
