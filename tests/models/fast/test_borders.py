"""Which way a convolution goes, on either side of every border. No torch."""

from __future__ import annotations

import pytest

from qlcnet.models.fast.borders import CONVOLUTIONS, Convolution, choose, onednn_multiplies
from qlcnet.models.fast.geometry import Geometry


def conv(size: int, kernel: int, stride: int = 1, depthwise: bool = True, batch_last: bool = True) -> Convolution:
    geometry = Geometry((size, size), (kernel, kernel), (stride, stride), (kernel // 2, kernel // 2))
    return Convolution(geometry, (64, 64), depthwise, 64, batch_last)


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


def test_a_kernel_that_reads_padding_alone_is_for_torch() -> None:
    geometry = Geometry((1, 1), (1, 1), (2, 2), (1, 1))
    assert choose(Convolution(geometry, (2, 3), False, 4, True)) == "torch"


def test_every_row_but_the_last_is_a_border() -> None:
    """The last applies to all, so that every convolution has a way."""
    anything = conv(100, 3)
    assert CONVOLUTIONS[-1].applies(anything)
    assert all(border.measured for border in CONVOLUTIONS)


def test_a_large_product_is_for_onednn() -> None:
    assert onednn_multiplies(32, 32, 1024)
    assert not onednn_multiplies(32, 31, 1024)
