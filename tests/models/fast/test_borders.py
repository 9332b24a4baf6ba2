"""Which way a convolution goes, on either side of every border. No torch."""

from __future__ import annotations

import pytest

from qlcnet.models.fast.borders import CONVOLUTIONS, Convolution, choose, largest_map, onednn_multiplies
from qlcnet.models.fast.geometry import Geometry


def conv(
    size: int, kernel: int, stride: int = 1, depthwise: bool = True, batch_last: bool = True, largest: int = 16
) -> Convolution:
    geometry = Geometry((size, size), (kernel, kernel), (stride, stride), (kernel // 2, kernel // 2))
    return Convolution(geometry, (64, 64), depthwise, 64, batch_last, largest)


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        (conv(16, 3), "taps"),
        (conv(17, 3), "torch"),
        (conv(32, 3, stride=2), "taps"),  # the output decides
        (conv(34, 3, stride=2), "torch"),
        (conv(16, 1, depthwise=False), "product"),
        (conv(17, 1, depthwise=False), "torch"),
        (conv(16, 3, depthwise=False), "columns"),
        (conv(16, 3, depthwise=False, batch_last=False), "torch, turned"),
        (conv(16, 1, depthwise=False, batch_last=False), "product"),
        (conv(16, 3, batch_last=False), "taps"),
        (conv(1, 3, depthwise=False), "product"),
        (conv(2, 1, stride=2, depthwise=False), "columns"),  # one tap, and three pixels that it does not read
        (conv(1, 5), "scale"),
        (conv(2, 5), "banded"),
        (conv(5, 3), "banded"),  # 25 x 25 positions are below 1024,
        (conv(6, 3), "banded"),  # 36 x 36 above, but 36 are just 4 for each of 9 taps
        (conv(7, 3), "taps"),
        (conv(7, 3, stride=2), "banded"),  # 49 x 16
        (conv(10, 5), "banded"),  # 100: 4 for each of 25 taps
        (conv(11, 5), "taps"),
    ],
)
def test_either_side_of_every_border(asked: Convolution, way: str) -> None:
    assert choose(asked) == way


@pytest.mark.parametrize(
    ("channels", "stride", "padding", "size", "way"),
    [
        (7, 2, 0, 64, "torch, sampled"),
        (8, 2, 0, 64, "torch"),
        (7, 1, 0, 64, "torch"),
        (7, 2, 1, 64, "torch"),
        (7, 2, 0, 32, "columns"),
    ],
)
def test_what_onednn_crashes_on_is_never_asked_of_it(
    channels: int, stride: int, padding: int, size: int, way: str
) -> None:
    geometry = Geometry((size, size), (1, 1), (stride, stride), (padding, padding))
    assert choose(Convolution(geometry, (channels, 16), False, 64, False, 16)) == way


@pytest.mark.parametrize(
    ("first_map", "chained", "largest"),
    [(14, True, 16), (16, True, 16), (17, True, 7), (32, True, 7), (33, True, 0), (16, False, 1), (17, False, 0)],
)
def test_the_largest_map_follows_from_the_first(first_map: int, chained: bool, largest: int) -> None:
    assert largest_map(first_map, chained) == largest


def test_a_kernel_that_reads_padding_alone_is_for_torch() -> None:
    geometry = Geometry((1, 1), (1, 1), (2, 2), (1, 1))
    assert choose(Convolution(geometry, (2, 3), False, 4, True, 16)) == "torch"


def test_every_row_but_the_last_is_a_border() -> None:
    """The last applies to all, so that every convolution has a way."""
    anything = conv(100, 3)
    assert CONVOLUTIONS[-1].applies(anything)
    assert all(border.measured for border in CONVOLUTIONS)


def test_a_large_product_is_for_onednn() -> None:
    assert onednn_multiplies(32, 32, 1024)
    assert not onednn_multiplies(32, 31, 1024)
