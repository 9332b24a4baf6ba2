"""The sizes of one convolution, and which pixels each tap of its kernel meets. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

Pair = tuple[int, int]


def area(size: Pair) -> int:
    """Positions of a map."""
    return size[0] * size[1]


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution (dilation 1), in pixels."""

    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair

    @cached_property
    def out(self) -> Pair:
        """Height and width of the output."""
        height, width = (
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(self.size, self.kernel, self.stride, self.padding, strict=True)
        )
        return height, width

    @cached_property
    def taps(self) -> tuple[Tap, ...]:
        """The taps that meet at least one pixel."""
        rows = [self._reach(0, tap) for tap in range(self.kernel[0])]
        columns = [self._reach(1, tap) for tap in range(self.kernel[1])]
        return tuple(
            Tap(i * self.kernel[1] + j, row[0], column[0], row[1], column[1])
            for i, row in enumerate(rows)
            for j, column in enumerate(columns)
            if row and column
        )

    def _reach(self, axis: int, tap: int) -> tuple[range, range] | None:
        """Along one axis: the outputs that a tap of the kernel reaches, and the inputs that it reads for them."""
        stride, shift = self.stride[axis], tap - self.padding[axis]
        first = max(0, -(shift // stride))
        last = min(self.out[axis] - 1, (self.size[axis] - 1 - shift) // stride)
        if last < first:
            return None
        return range(first, last + 1), range(first * stride + shift, last * stride + shift + 1, stride)


@dataclass(frozen=True)
class Tap:
    """One tap of a kernel: its index there, the output rows and columns it reaches, the input ones it reads."""

    index: int
    rows_out: range
    columns_out: range
    rows_in: range
    columns_in: range
