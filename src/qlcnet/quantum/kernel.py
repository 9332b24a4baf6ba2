"""The polynomial over uint8 images as one fused numba kernel: tables of 256 angles, shared products, compact output.

All arithmetic is float32 multiplications and additions in a fixed order, never contracted or reassociated, so the bytes
are the same on every machine and for every number of threads. For each band of rows that fits the cache:

1. each basis function (cos t, sin t, …) of each pixel, from its table;
2. the products of horizontal pixel pairs that the terms need: each serves the patch above and the patch below;
3. the terms, coefficient x top pair x bottom pair, as long vector loops over all patches of the band;
4. conversion to the stored type and interleaving of the four channels.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import NDArray

from qlcnet.compiled import compiled

F32, U8, U16, U32, U64, I32 = np.float32, np.uint8, np.uint16, np.uint32, np.uint64, np.int32


# These three stand in the file of the functions that read them: numba compiles a field to its position, and looks only
# at the file of a function to see whether its code on disk is out of date.
class KernelTables(NamedTuple):
    """A polynomial of four pixels as coefficients and the planes that they belong to.

    A plane is one value for each position of a band, and is named by where it starts in `KernelWorkspace.planes`.
    """

    basis: NDArray[Any]  # (functions, 256): cos t, sin t, … of every pixel value; first the planes of left pixels
    pairs: NDArray[np.int64]  # (pairs, 3): a left plane, a right plane, the plane of their product
    constants: NDArray[Any]  # (outputs,)
    singles: NDArray[Any]  # (terms,): coefficients of terms with one plane
    single_at: NDArray[np.int64]  # (terms, 2): output, plane
    products: NDArray[Any]  # (terms,): of terms with two planes, of the top pixels and the bottom ones
    product_at: NDArray[np.int64]  # (terms, 3): output, plane, plane
    quads: NDArray[Any]  # (sums, 4): of four products that share a plane
    quad_at: NDArray[np.int64]  # (sums, 6): output, shared plane, the four others


class KernelGeometry(NamedTuple):
    """Where patches lie in an image, and where a band of them lies in the workspace."""

    stride: int  # pixels from patch to patch
    before: int  # pixels that repeat the border on the left, and on top
    after: int  # on the right
    columns: int  # patches in a row
    wide: int  # pixels in a padded row
    pitch: int  # positions from one row of patches to the next
    room: int  # elements from plane to plane
    bottom: int  # positions from a patch's top pixels to its bottom ones
    most: int  # rows of patches in a band


class KernelWorkspace(NamedTuple):
    """Arrays that one thread of the kernel works in."""

    pixels: NDArray[np.uint8]  # left and right pixels of a band; where those are apart, its padded rows behind them
    planes: NDArray[Any]  # (planes x room,)
    sums: NDArray[Any]  # (outputs, room)
    packed: NDArray[np.uint32]  # (2 x room,): four outputs of a position as stored


def _has_half_instructions() -> bool:
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES"):
        return False  # code for another machine: stay portable
    triple = llvmlite.binding.get_default_triple()
    return triple.startswith("aarch64") or bool(llvmlite.binding.get_host_cpu_features().get("f16c"))


def _bitcast(target: Any, ir_type: Any) -> Any:
    @intrinsic
    def cast(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], ir_type)

        return target(value), generate

    return cast


_bits_of = _bitcast(numba.types.uint32, ir.IntType(32))
_float_of = _bitcast(numba.types.float32, ir.FloatType())


@intrinsic
def _half_instruction(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return numba.types.uint16(numba.types.float32), generate


@compiled
def _half_portable(value):  # type: ignore[no-untyped-def]
    """float32 in [-65504, 65504] -> the bits of the nearest float16, ties to even, in integer arithmetic."""
    bits = _bits_of(F32(value))
    size = bits & U32(0x7FFFFFFF)
    # from 2^-14: move the exponent's bias from 127 to 15, round the 13 mantissa bits that go
    normal = (size + U32(0xC8000FFF) + ((size >> U32(13)) & U32(1))) >> U32(13)
    # below: adding 0.5 leaves the value in steps of 2^-24, rounded, in the mantissa
    small = _bits_of(_float_of(U32(size)) + F32(0.5)) - U32(0x3F000000)
    return U16(((bits >> U32(16)) & U32(0x8000)) | (normal if size >= U32(0x38800000) else small))


_half = _half_instruction if _has_half_instructions() else _half_portable


@compiled
def _grey_row(line, colours, channel, middle):  # type: ignore[no-untyped-def]
    """One row of pixels: the only channel, a given one, or (channel -1) the luma of red, green and blue."""
    width = middle.shape[0]
    if channel >= 0:
        for x in range(width):
            middle[x] = line[x * colours + channel]
    else:  # ITU-R 601 in 16-bit fixed point, as Pillow's convert("L")
        for x in range(width):
            red, green, blue = U32(line[3 * x]), U32(line[3 * x + 1]), U32(line[3 * x + 2])
            middle[x] = U8((red * U32(19595) + green * U32(38470) + blue * U32(7471) + U32(32768)) >> U32(16))


@compiled
def _fill_rows(image, channel, first, count, geometry, target):  # type: ignore[no-untyped-def]
    """`count` padded rows of grey pixels of an image, from padded row `first` on, to the start of target."""
    height, width, colours = image.shape
    flat = image.reshape(image.size)  # a row as (width, colours) makes colour a third slower
    before, after, wide = geometry.before, geometry.after, geometry.wide
    for r in range(count):
        row = min(max(first + r - before, 0), height - 1)
        line = flat[row * width * colours : (row + 1) * width * colours]
        at = r * wide
        middle = target[at + before : at + before + width]
        if colours == 1:
            for x in range(width):
                middle[x] = line[x]
        else:
            _grey_row(line, colours, channel, middle)
        for x in range(before):
            target[at + x] = middle[0]
        for x in range(after):
            target[at + before + width + x] = middle[width - 1]


@compiled
def _run_band(image, channel, first, rows, tables, geometry, work):  # type: ignore[no-untyped-def]
    """Values of output rows `first` … `first` + rows - 1 of one image into work.sums, before conversion.

    Cut into a function a step, and with fields looked up in its loops, it took 5 to 10 % longer on small images.
    """
    pixels, planes, sums = work.pixels, work.planes, work.sums
    basis, pairs, constants = tables.basis, tables.pairs, tables.constants
    singles, single_at = tables.singles, tables.single_at
    products, product_at = tables.products, tables.product_at
    quads, quad_at = tables.quads, tables.quad_at
    stride, columns, wide = geometry.stride, geometry.columns, geometry.wide
    pitch, room, bottom = geometry.pitch, geometry.room, geometry.bottom
    if stride == 1:  # rows are shared: the bottom pair of one patch is the top pair of the next
        _fill_rows(image, channel, first, rows + 1, geometry, pixels)
        used = (rows + 1) * pitch
    else:
        padded = pixels[2 * room :]
        _fill_rows(image, channel, first * stride, (rows - 1) * stride + 2, geometry, padded)
        for half in range(2):
            for r in range(rows):
                at, start = (r * stride + half) * wide, half * bottom + r * pitch
                line, left = padded[at : at + wide], pixels[start : start + columns]
                right = pixels[room + start : room + start + columns]
                for x in range(columns):
                    left[x] = line[x * stride]
                    right[x] = line[x * stride + 1]
        used = bottom + rows * pitch
    for side in range(1 if stride == 1 else 2):
        grey = pixels[side * room : side * room + used]
        for f in range(basis.shape[0]):
            start = (side * basis.shape[0] + f) * room
            table, plane = basis[f], planes[start : start + used]
            for i in range(used):
                plane[i] = table[grey[i]]
    for p in range(pairs.shape[0]):
        left = planes[pairs[p, 0] : pairs[p, 0] + used]
        right = planes[pairs[p, 1] : pairs[p, 1] + used]
        plane = planes[pairs[p, 2] : pairs[p, 2] + used]
        for i in range(used):
            plane[i] = left[i] * right[i]
    n = rows * pitch
    for q in range(constants.shape[0]):
        total, c = sums[q], constants[q]
        for i in range(n):
            total[i] = c
    for t in range(singles.shape[0]):
        c, total = singles[t], sums[single_at[t, 0]]
        a = planes[single_at[t, 1] : single_at[t, 1] + n]
        for i in range(n):
            total[i] += c * a[i]
    for t in range(products.shape[0]):
        c, total = products[t], sums[product_at[t, 0]]
        a = planes[product_at[t, 1] : product_at[t, 1] + n]
        b = planes[product_at[t, 2] : product_at[t, 2] + n]
        for i in range(n):
            total[i] += c * a[i] * b[i]
    for t in range(quads.shape[0]):
        c0, c1, c2, c3 = quads[t, 0], quads[t, 1], quads[t, 2], quads[t, 3]
        total = sums[quad_at[t, 0]]
        shared = planes[quad_at[t, 1] : quad_at[t, 1] + n]
        a0 = planes[quad_at[t, 2] : quad_at[t, 2] + n]
        a1 = planes[quad_at[t, 3] : quad_at[t, 3] + n]
        a2 = planes[quad_at[t, 4] : quad_at[t, 4] + n]
        a3 = planes[quad_at[t, 5] : quad_at[t, 5] + n]
        for i in range(n):
            total[i] += shared[i] * ((c0 * a0[i] + c1 * a1[i]) + (c2 * a2[i] + c3 * a3[i]))


@compiled
def _pack_half(sums, packed, n):  # type: ignore[no-untyped-def]
    a, b, c, d = sums[0], sums[1], sums[2], sums[3]
    for i in range(n):
        packed[2 * i] = U32(_half(F32(a[i]))) | (U32(_half(F32(b[i]))) << U32(16))
        packed[2 * i + 1] = U32(_half(F32(c[i]))) | (U32(_half(F32(d[i]))) << U32(16))


@compiled
def _pack_byte(sums, packed, n):  # type: ignore[no-untyped-def]
    k, half = F32(127.5), F32(128.0)  # (value + 1) x 127.5, rounded
    a, b, c, d = sums[0], sums[1], sums[2], sums[3]
    for i in range(n):
        low = U32(I32(F32(a[i]) * k + half)) | (U32(I32(F32(b[i]) * k + half)) << U32(8))
        packed[i] = low | (U32(I32(F32(c[i]) * k + half)) << U32(16)) | (U32(I32(F32(d[i]) * k + half)) << U32(24))


@compiled
def run_packed(images, grey, tables, geometry, work, out):  # type: ignore[no-untyped-def]
    """Four outputs as float16 or bytes: out uint32 (images, rows, columns, 1 or colours, 2 or 1).

    Two words hold four float16 values, one word holds four bytes, each (value + 1) x 127.5 rounded.
    """
    count, height, columns, channels, words = out.shape
    target, sums, packed = out.reshape(out.size), work.sums, work.packed
    most, pitch, wide = geometry.most, geometry.pitch, columns * channels * words
    for im in range(count):
        for channel in range(channels):
            for y0 in range(0, height, most):
                rows = min(most, height - y0)
                _run_band(images[im], -1 if grey else channel, y0, rows, tables, geometry, work)
                if words == 2:
                    _pack_half(sums, packed, rows * pitch)
                else:
                    _pack_byte(sums, packed, rows * pitch)
                for r in range(rows):
                    line = packed[r * pitch * words : (r * pitch + columns) * words]
                    at = (im * height + y0 + r) * wide
                    row = target[at : at + wide]
                    if channels == 1:
                        for x in range(wide):
                            row[x] = line[x]
                    else:
                        for x in range(columns):
                            for w in range(words):
                                row[(x * channels + channel) * words + w] = line[x * words + w]


@compiled
def run_float(images, grey, tables, geometry, work, out):  # type: ignore[no-untyped-def]
    """Any number of outputs as float32: out (images, rows, columns, (1 or colours) x outputs)."""
    count, height, columns, channels = out.shape
    sums, most, pitch = work.sums, geometry.most, geometry.pitch
    outputs = sums.shape[0]
    for im in range(count):
        for channel in range(channels // outputs):
            for y0 in range(0, height, most):
                rows = min(most, height - y0)
                _run_band(images[im], -1 if grey else channel, y0, rows, tables, geometry, work)
                for r in range(rows):
                    for q in range(outputs):
                        line = sums[q, r * pitch : r * pitch + columns]
                        for x in range(columns):
                            out[im, y0 + r, x, channel * outputs + q] = line[x]
