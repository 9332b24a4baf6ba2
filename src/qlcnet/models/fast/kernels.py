"""Convolutions of small maps on CPU in batch-last layout (channels, height, width, batch), forward and backward.

With the batch innermost every loop runs over at least one full batch of consecutive numbers, however small the map and
however few its channels. A 1 x 1 convolution is one matrix product of (out, in) with (in, H*W*B); a depthwise one is a
batched product with banded matrices or, on larger maps, a sum of shifted and scaled copies.

All of it is exact: taps of the kernel that only ever meet the zero padding are left out, and nothing else.
A way to compute one convolution (borders says which) is two functions: `forward(x, weight)` gives the output and
the tensors to keep; `backward(grad, kept, of_x, of_weight)` the gradients that are asked for. All tensors are dense:
x (I, H*W*B), weight (O, I or 1, kh, kw) as in nn.Conv2d, the output and its gradient (O, ...) with H'*W'*B numbers a
row in any shape; x and gradients begin where their storage does. On maps this small a call into torch costs as much as
its arithmetic, so the code counts calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from qlcnet.models.fast.geometry import Geometry, Pair, area
from qlcnet.models.fast.product import product

Gradients = tuple[Tensor | None, Tensor | None]  # of x (I, H*W*B) and of weight
Kept = tuple[Tensor, ...]
View = tuple[tuple[int, ...], tuple[int, ...], int]  # arguments of as_strided: size, stride, offset


def _part(maps: int, size: Pair, batch: int, rows: range, columns: range) -> View:
    """Rows and columns of (maps, *size, batch) as one as_strided, a fifth of the cost of slicing by index."""
    line = size[1] * batch
    return (
        (maps, len(rows), len(columns), batch),
        (size[0] * line, rows.step * line, columns.step * batch, 1),
        rows.start * line + columns.start * batch,
    )


class Way(Protocol):
    """A way to compute a convolution; see the module's docstring."""

    @property
    def geometry(self) -> Geometry:
        """The convolution's sizes."""

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        """Output, and what backward needs."""

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        """Gradients of x and of weight, None where not asked for."""


@dataclass(frozen=True)
class Product:
    """A dense convolution in which one tap reads every pixel: a matrix product without copies."""

    geometry: Geometry

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        # a copy: one tap of a 3 x 3 kernel is a view with gaps, on which oneDNN's product is up to 70 times slower
        matrix = weight.view(weight.shape[:2]) if self.geometry.kernel == (1, 1) else self._tap(weight).contiguous()
        return product(matrix, x), (x, matrix)

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        x, matrix = kept
        grad_x = product(matrix.t(), grad) if of_x else None
        if not of_weight:
            return grad_x, None
        grad_matrix = product(grad, x.t())
        if self.geometry.kernel == (1, 1):
            return grad_x, grad_matrix.view(*grad_matrix.shape, 1, 1)
        grad_weight = grad.new_zeros(*grad_matrix.shape, *self.geometry.kernel)
        self._tap(grad_weight).copy_(grad_matrix)
        return grad_x, grad_weight

    def _tap(self, weight: Tensor) -> Tensor:
        return weight.flatten(2)[:, :, self.geometry.taps[0].index]


@dataclass(frozen=True)
class Columns:
    """A dense convolution as one matrix product with the stack of what every tap reads."""

    geometry: Geometry

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        maps, batch = _maps_and_batch(x, self.geometry.size)
        views = _views(self.geometry, maps, batch)
        columns = x.new_zeros(len(views), maps, area(self.geometry.out) * batch)
        for column, (_, target, source) in zip(columns, views, strict=True):
            column.as_strided(target[0], target[1], target[2] + column.storage_offset()).copy_(x.as_strided(*source))
        columns = columns.view(len(views) * maps, -1)
        indices = [index for index, _, _ in views]
        matrix = weight.flatten(2)[:, :, indices].transpose(1, 2).reshape(len(weight), -1)
        return product(matrix, columns), (columns, matrix)

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        columns, matrix = kept
        grad = grad.view(len(matrix), -1)
        taps = len(self.geometry.taps)
        maps, batch = len(columns) // taps, grad.shape[1] // area(self.geometry.out)
        views = _views(self.geometry, maps, batch)
        grad_x = grad_weight = None
        if of_x:
            grad_x = grad.new_zeros(maps, area(self.geometry.size) * batch)
            grad_columns = product(matrix.t(), grad).view(taps, maps, -1)
            for column, (_, target, source) in zip(grad_columns, views, strict=True):
                reached = column.as_strided(target[0], target[1], target[2] + column.storage_offset())
                grad_x.as_strided(*source).add_(reached)
        if of_weight:
            indices = [index for index, _, _ in views]
            grad_weight = grad.new_zeros(len(matrix), maps, *self.geometry.kernel)
            grad_weight.flatten(2)[:, :, indices] = product(grad, columns.t()).view(-1, taps, maps).transpose(1, 2)
        return grad_x, grad_weight


@dataclass(frozen=True)
class Scale:
    """A depthwise convolution from 1 x 1 to 1 x 1: one tap, a factor for each channel."""

    geometry: Geometry

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        factor = _factor(weight, self.geometry.taps[0].index, 2)
        return x * factor, (x, factor)

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        x, factor = kept
        grad_weight = None
        if of_weight:
            grad_weight = grad.new_zeros(len(grad), 1, *self.geometry.kernel)
            torch.sum(grad * x, 1, True, out=_factor(grad_weight, self.geometry.taps[0].index, 2))
        return grad * factor if of_x else None, grad_weight


@dataclass(frozen=True)
class Banded:
    """A depthwise convolution as one banded (H'W', HW) matrix for each channel, linear in the channel's taps."""

    geometry: Geometry

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        maps, positions = len(x), area(self.geometry.size)
        bands = product(weight.view(maps, -1), _spread(self.geometry, x.dtype)).view(maps, -1, positions)
        x = x.view(maps, positions, -1)
        return torch.bmm(bands, x), (x, bands)

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        x, bands = kept
        maps = len(x)
        grad_x = torch.bmm(bands.transpose(1, 2), grad).view(maps, -1) if of_x else None
        if not of_weight:
            return grad_x, None
        grad_bands = torch.bmm(grad, x.transpose(1, 2)).view(maps, -1)
        grad_weight = product(grad_bands, _spread(self.geometry, x.dtype).t())
        return grad_x, grad_weight.view(maps, 1, *self.geometry.kernel)


@lru_cache(maxsize=64)
def _spread(geometry: Geometry, dtype: torch.dtype) -> Tensor:
    """The constant 0/1 matrix S, (kernel taps) x (output positions * input positions), with bands = weight S."""
    spread = torch.zeros(geometry.kernel[0] * geometry.kernel[1], *geometry.out, *geometry.size, dtype=dtype)
    for tap in geometry.taps:
        for i, y in zip(tap.rows_out, tap.rows_in, strict=True):
            for j, x in zip(tap.columns_out, tap.columns_in, strict=True):
                spread[tap.index, i, j, y, x] = 1
    return spread.view(len(spread), -1)


@dataclass(frozen=True)
class Taps:
    """A depthwise convolution as a sum over taps of shifted and scaled inputs."""

    geometry: Geometry

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Kept]:
        maps, batch = _maps_and_batch(x, self.geometry.size)
        y = x.new_zeros(maps, area(self.geometry.out) * batch)
        factors = weight.view(maps, -1, 1, 1, 1).unbind(1)
        for index, target, source in _views(self.geometry, maps, batch):
            y.as_strided(*target).addcmul_(x.as_strided(*source), factors[index])
        return y, (x, weight)

    def backward(self, grad: Tensor, kept: Kept, of_x: bool, of_weight: bool) -> Gradients:
        x, weight = kept
        maps, batch = _maps_and_batch(x, self.geometry.size)
        factors = weight.view(maps, -1, 1, 1, 1).unbind(1)
        grad_x = torch.zeros_like(x) if of_x else None
        grad_weight = weight.new_zeros(len(factors), maps) if of_weight else None
        grad_factors = () if grad_weight is None else grad_weight.unbind(0)
        for index, target, source in _views(self.geometry, maps, batch):
            reached = grad.as_strided(*target)
            if grad_x is not None:
                grad_x.as_strided(*source).addcmul_(reached, factors[index])
            if grad_weight is not None:
                torch.sum(x.as_strided(*source) * reached, (1, 2, 3), out=grad_factors[index])
        return grad_x, None if grad_weight is None else grad_weight.t().reshape(weight.shape)


def _maps_and_batch(x: Tensor, size: Pair) -> tuple[int, int]:
    return x.shape[0], x.shape[1] // area(size)


def _factor(weight: Tensor, index: int, dimensions: int) -> Tensor:
    """One tap of a depthwise weight as (C, 1, ...)."""
    ones = (1,) * (dimensions - 1)
    return weight.as_strided((weight.shape[0], *ones), (weight.stride(0), *ones), weight.storage_offset() + index)


@lru_cache(maxsize=256)
def _views(geometry: Geometry, maps: int, batch: int) -> tuple[tuple[int, View, View], ...]:
    """For each tap its index, the part of the output that it reaches and the part of the input that it reads."""
    return tuple(
        (
            tap.index,
            _part(maps, geometry.out, batch, tap.rows_out, tap.columns_out),
            _part(maps, geometry.size, batch, tap.rows_in, tap.columns_in),
        )
        for tap in geometry.taps
    )


# by the names of borders.CONVOLUTIONS
WAYS: dict[str, Callable[[Geometry], Way]] = {
    "product": Product,
    "columns": Columns,
    "scale": Scale,
    "banded": Banded,
    "taps": Taps,
}
