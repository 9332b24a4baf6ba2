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
    largest: int  # pixels of the longer side of the largest map that its network takes batch-last: `largest_map`


class Border(NamedTuple):
    """A way to compute a convolution, where it is taken, and the part of benchmarks/borders.py that measures it."""

    way: str
    applies: Callable[[Convolution], bool]
    measured: str


# Of networks with rows of known blocks, by the longer side of what their first convolution gives: the largest map that
# is small. Below it layers run batch-last, above it they are oneDNN's in channels_last.
CHAINED_MAPS = ((16, 16), (32, 7))
# Of all other networks, whose layers stand alone between torch's: of a kernel on one pixel the centre tap. With larger
# images what has one pixel is pooled, for a squeeze-excite or a classifier, and not worth turning.
LONE_MAPS = ((16, 1),)
BANDED_AREA = 1024  # input positions x output positions of a banded matrix, or
BANDED_PER_TAP = 4  # input positions for each tap in reach: 5 x 5 kernels on 7 x 7 maps in half the time
ONEDNN_PRODUCT = 1 << 20  # multiply-adds; below it MKL, whose call takes 10 us less: benchmarks/borders.py, product
TRANSPOSED_CHANNELS = 16  # channels_last to batch-last through a transposed matrix: benchmarks/borders.py, transpose

IN_TORCH = "torch"  # torch's own, in channels_last
TURNED = "torch, turned"  # the same, its output copied to batch-last
SAMPLED = "torch, sampled"  # the same on the pixels that it reads alone
NO_RIVAL = "no rival: the other ways do the same arithmetic and copy besides"

# the first that applies; the ways between the first two and the end are those of kernels.WAYS
CONVOLUTIONS: tuple[Border, ...] = (
    Border(IN_TORCH, lambda conv: not conv.geometry.taps, "a kernel that reads padding alone: torch knows what to do"),
    Border(SAMPLED, lambda conv: _is_large(conv) and _breaks_onednn(conv), "no rival: it crashes"),
    Border(IN_TORCH, lambda conv: _is_large(conv), "largest map; benchmarks/networks.py"),
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


def largest_map(first_map: int, chained: bool) -> int:
    """Pixels of the longer side of the largest map that a network takes batch-last; 0: none.

    first_map: the longer side of what its first convolution gives. chained: it has rows of known blocks.
    """
    rules = CHAINED_MAPS if chained else LONE_MAPS
    return next((largest for border, largest in rules if first_map <= border), 0)


def choose(conv: Convolution) -> str:
    """The name of the way that computes `conv`."""
    return next(border.way for border in CONVOLUTIONS if border.applies(conv))


def library_of(vendor: str) -> str:
    """The library of large float32 products on CPUs of a vendor, as /proc/cpuinfo names it.

    On Intel's own MKL uses AVX-512 and wins every row of benchmarks/networks.py; on others it stays with AVX2: 112
    against oneDNN's 250 GFLOP/s on a core of AMD's Zen 5, 76 against 88 on Zen 4.
    """
    return "MKL" if vendor == "GenuineIntel" else "oneDNN"


def onednn_multiplies(m: int, k: int, n: int) -> bool:
    """Whether oneDNN rather than MKL multiplies float32 matrices (m, k) and (k, n)."""
    return m * k * n >= ONEDNN_PRODUCT


def _is_large(conv: Convolution) -> bool:
    return max(conv.geometry.out) > conv.largest


def _breaks_onednn(conv: Convolution) -> bool:
    """Whether oneDNN 3 without AVX-512 writes past its memory for the gradient of these weights in channels_last.

    Its issue 6035: the process aborts, or worse, goes on. tests/models/fast/test_avx2.py sees it whole.
    """
    geometry = conv.geometry
    return _is_pointwise(geometry) and geometry.stride != (1, 1) and not any(geometry.padding) and conv.channels[0] < 8


def _areas(geometry: Geometry) -> Pair:
    return area(geometry.size), area(geometry.out)


def _is_pointwise(geometry: Geometry) -> bool:
    return geometry.kernel == (1, 1)


def _one_tap_reads_all(geometry: Geometry) -> bool:
    reads = [len(tap.rows_in) * len(tap.columns_in) for tap in geometry.taps]
    return reads == [area(geometry.size)] == [area(geometry.out)]
