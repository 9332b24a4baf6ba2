"""Convolution and batch norm on CPU for small maps in batch-last layout (channels, height, width, batch).

With the batch innermost every loop runs over at least one full batch of consecutive numbers, whatever the map's size
and however few its channels: a 1 x 1 convolution is one matrix product of (out, in) with (in, H*W*B), batch
statistics are sums over contiguous rows, and a depthwise tap is one scaled addition of contiguous runs.

All functions are exact: taps that only ever meet the zero padding are left out, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]

TOEPLITZ_LIMIT = 49 * 49  # output positions x input positions: above it taps are cheaper than a banded matrix


def to_batch_last(x: Tensor) -> Tensor:
    """(B, C, H, W) in any layout to (C, H, W, B) with B contiguous and C, H, W in any order. A copy where needed."""
    batch, channels, height, width = x.shape
    if x.is_contiguous():  # a plain matrix transpose is several times faster than a four-dimensional permutation
        return x.reshape(batch, -1).t().contiguous().view(channels, height, width, batch)
    pixels_first = x.permute(0, 2, 3, 1)
    if pixels_first.is_contiguous():
        last = pixels_first.reshape(batch, -1).t().contiguous()
        return last.view(height, width, channels, batch).permute(2, 0, 1, 3)
    return x.permute(1, 2, 3, 0).contiguous()


def is_batch_last(x: Tensor) -> bool:
    """Whether the (B, C, H, W) tensor x is dense as (C, H, W, B)."""
    batch, channels, height, width = x.shape
    return x.stride() == (1, height * width * batch, width * batch, batch)


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Height and width of a convolution's output (dilation 1)."""
    height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return height, width


def _reach(n_in: int, n_out: int, tap: int, stride: int, padding: int) -> tuple[slice, slice] | None:
    """Along one axis: the outputs that tap `tap` of the kernel reaches, and the inputs it reads for them."""
    shift = tap - padding
    first = max(0, -(shift // stride))
    last = min(n_out - 1, (n_in - 1 - shift) // stride)
    if last < first:
        return None
    start = first * stride + shift
    return slice(first, last + 1), slice(start, last * stride + shift + 1, stride)


Tap = tuple[int, tuple[slice, slice, slice], tuple[slice, slice, slice]]


@lru_cache(maxsize=256)
def reaching_taps(size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Tap, ...]:
    """Taps that meet at least one pixel: (index in the kernel, slices of the output, slices of the input)."""
    taps: list[Tap] = []
    for row in range(kernel[0]):
        rows = _reach(size[0], out[0], row, stride[0], padding[0])
        for column in range(kernel[1]):
            columns = _reach(size[1], out[1], column, stride[1], padding[1])
            if rows and columns:
                everything = slice(None)
                taps.append(
                    (row * kernel[1] + column, (everything, rows[0], columns[0]), (everything, rows[1], columns[1]))
                )
    return tuple(taps)


@lru_cache(maxsize=64)
def _toeplitz_map(size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair, dtype: torch.dtype) -> Tensor:
    """The constant 0/1 matrix S, (kernel taps) x (output positions * input positions), with banded matrix = w S."""
    spread = torch.zeros(kernel[0] * kernel[1], *out, *size, dtype=dtype)
    for tap, (_, rows_out, columns_out), (_, rows_in, columns_in) in reaching_taps(size, out, kernel, stride, padding):
        for i, y in _paired(rows_out, rows_in):
            for j, x in _paired(columns_out, columns_in):
                spread[tap, i, j, y, x] = 1
    return spread.view(kernel[0] * kernel[1], -1)


def _paired(out: slice, source: slice) -> Iterator[tuple[int, int]]:
    return zip(range(out.start, out.stop), range(source.start, source.stop, source.step), strict=True)


def depthwise(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Depthwise convolution of x (C, H, W, B) with weight (C, 1, kh, kw); gives (C, H', W', B).

    On small maps a channel's convolution is a banded (H'W', HW) matrix, linear in its taps, and all channels are one
    batched matrix product; on larger ones a sum of shifted copies, one for each tap.
    """
    channels, height, width, batch = x.shape
    size, kernel = (height, width), (weight.shape[2], weight.shape[3])
    out = output_size(size, kernel, stride, padding)
    inputs, outputs = height * width, out[0] * out[1]
    if inputs == outputs == 1:
        return x * weight[:, :, padding[0], padding[1]].view(channels, 1, 1, 1)
    if inputs * outputs <= TOEPLITZ_LIMIT:
        spread = _toeplitz_map(size, out, kernel, stride, padding, x.dtype)
        banded = (weight.view(channels, -1) @ spread).view(channels, outputs, inputs)
        return torch.bmm(banded, x.reshape(channels, inputs, batch)).view(channels, *out, batch)
    return DepthwiseByTaps.apply(x, weight, out, stride, padding)


class DepthwiseByTaps(torch.autograd.Function):
    """Depthwise convolution as a sum over taps of shifted, scaled inputs. Shapes as in `depthwise`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, out: Pair, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        taps = reaching_taps((x.shape[1], x.shape[2]), out, (weight.shape[2], weight.shape[3]), stride, padding)
        ctx.taps = taps
        scales = weight.detach().view(x.shape[0], -1, 1, 1, 1)
        y = x.new_zeros(x.shape[0], *out, x.shape[3])
        for tap, target, source in taps:
            y[target].addcmul_(x[source], scales[:, tap])
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        scales = weight.view(x.shape[0], -1, 1, 1, 1)
        grad_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = x.new_zeros(scales.shape[1], scales.shape[0]) if ctx.needs_input_grad[1] else None
        for tap, target, source in ctx.taps:
            if grad_x is not None:
                grad_x[source].addcmul_(grad[target], scales[:, tap])
            if grad_weight is not None:
                torch.sum(x[source] * grad[target], (1, 2, 3), out=grad_weight[tap])
        return grad_x, None if grad_weight is None else grad_weight.t().reshape(weight.shape), None, None, None


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Convolution of x (I, H, W, B), B contiguous, with weight (O, I, kh, kw); gives (O, H', W', B)."""
    height, width, batch = x.shape[1:]
    kernel = (weight.shape[2], weight.shape[3])
    out = output_size((height, width), kernel, stride, padding)
    taps = reaching_taps((height, width), out, kernel, stride, padding)
    if len(taps) == 1 and taps[0][1][1:] == (slice(0, out[0]), slice(0, out[1])):
        tap, _, source = taps[0]  # one tap for every pixel: a matrix product without copies
        matrix = weight.flatten(2)[:, :, tap]
        columns = x[source].reshape(x.shape[0], -1)
    else:
        matrix = weight.flatten(2)[:, :, [tap for tap, _, _ in taps]].transpose(1, 2).reshape(weight.shape[0], -1)
        columns = Columns.apply(x, out, taps)
    y = matrix @ columns if bias is None else torch.addmm(bias[:, None], matrix, columns)
    return y.view(weight.shape[0], *out, batch)


class Columns(torch.autograd.Function):
    """Stack what every tap reads: x (I, H, W, B) to (taps * I, H' * W' * B), zeros where a tap meets the padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Pair, taps: tuple[Tap, ...]) -> Tensor:
        ctx.shape, ctx.out, ctx.taps = x.shape, out, taps
        columns = x.new_zeros(len(taps), x.shape[0], *out, x.shape[3])
        for column, (_, target, source) in zip(columns, taps, strict=True):
            column[target] = x[source]
        return columns.view(len(taps) * x.shape[0], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = grad.reshape(len(ctx.taps), ctx.shape[0], *ctx.out, ctx.shape[3])
        grad_x = grad.new_zeros(ctx.shape)
        for column, (_, target, source) in zip(grad, ctx.taps, strict=True):
            grad_x[source] += column[target]
        return grad_x, None, None


def normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with batch statistics of x (C, n): output, mean (C), 1 / sqrt(biased variance + eps) (C).

    A group norm whose groups are the rows is the same function, and its kernel is 2 to 5 times as fast.
    """
    rows, count = x.shape
    y, mean, rstd = torch.native_group_norm(x, weight, bias, 1, rows, count, rows, eps)
    return y, mean[0], rstd[0]


def normalise_by(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Batch norm with given statistics of x (C, n)."""
    return F.batch_norm(x[None], mean, variance, weight, bias, False, 0.0, eps)[0]
