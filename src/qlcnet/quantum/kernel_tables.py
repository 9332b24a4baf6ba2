"""What the kernel is to compute: a polynomial as tables, planes and terms, and where a band of patches lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.images import ANGLES
from qlcnet.quantum.kernel import KernelGeometry, KernelTables, KernelWorkspace
from qlcnet.quantum.patches import Patches

CACHE_BYTES = 96 * 1024  # of planes and sums at a time: between the first and second cache level of today's cores

MOST_FLOAT32_TERMS = 700  # more terms an output are summed in float64, so that rounding stays far below 1e-6


class PatchFunction(Protocol):
    """Sums of products of functions of single pixels, for example a TrigPolynomial; its methods are as there."""

    @property
    def inputs(self) -> int: ...

    @property
    def outputs(self) -> int: ...

    def basis(self, angles: NDArray[Any]) -> NDArray[np.float64]: ...

    def terms(self, output: int) -> Iterator[tuple[tuple[int, ...], float]]: ...


def make_tables(polynomial: PatchFunction, patches: Patches) -> tuple[KernelTables, KernelGeometry]:
    """What the kernel needs of a polynomial, and of patches in images of one size.

    Raises ValueError for a polynomial that is not one of four angles.
    """
    if polynomial.inputs != 4:
        raise ValueError(f"a 2 x 2 patch has 4 pixels, but the circuit has {polynomial.inputs} inputs")
    outputs = [list(polynomial.terms(q)) for q in range(polynomial.outputs)]
    real = np.float32 if max(map(len, outputs)) <= MOST_FLOAT32_TERMS else np.float64
    basis = sorted({i for terms in outputs for index, _ in terms for i in index if i})
    pairs = {half for terms in outputs for index, _ in terms for half in (index[:2], index[2:]) if all(half)}
    geometry = _lay_bands(patches, len(basis), len(pairs), polynomial.outputs, np.dtype(real).itemsize)

    planes, constants, sums = _Planes(basis, geometry), np.zeros(polynomial.outputs, real), _Sums()
    for q, terms in enumerate(outputs):
        joint = []
        for index, value in terms:
            top, low = planes.start_of(*index[:2]), planes.start_of(*index[2:])
            starts = [top] if top is not None else []
            starts += [low + geometry.bottom] if low is not None else []
            if len(starts) == 2:
                joint.append((starts[0], starts[1], value))
            elif starts:
                sums.singles.append(value)
                sums.single_at.append((q, starts[0]))
            else:
                constants[q] = value
        sums.add_joint(q, joint)
    table = polynomial.basis(ANGLES)[:, basis].T if basis else np.zeros((0, 256))
    tables = KernelTables(
        basis=_array(table, real, 256),
        pairs=_array(planes.products(), np.int64, 3),
        constants=constants,
        singles=np.array(sums.singles, real),
        single_at=_array(sums.single_at, np.int64, 2),
        products=np.array(sums.products, real),
        product_at=_array(sums.product_at, np.int64, 3),
        quads=_array(sums.quads, real, 4),
        quad_at=_array(sums.quad_at, np.int64, 6),
    )
    return tables, geometry


def make_workspace(tables: KernelTables, geometry: KernelGeometry) -> KernelWorkspace:
    """Arrays for one thread to run the kernel in."""
    sides = 1 if geometry.stride == 1 else 2
    padded_rows = (geometry.most - 1) * geometry.stride + 2
    planes = sides * len(tables.basis) + len(tables.pairs)
    real = tables.basis.dtype
    return KernelWorkspace(
        pixels=np.zeros(2 * geometry.room + padded_rows * geometry.wide, np.uint8),
        planes=np.zeros(planes * geometry.room, real),
        sums=np.zeros((len(tables.constants), geometry.room), real),
        packed=np.zeros(2 * geometry.room, np.uint32),
    )


def _lay_bands(patches: Patches, functions: int, pairs: int, outputs: int, item_bytes: int) -> KernelGeometry:
    """Bands of as many rows as the cache holds of all planes and sums."""
    shared = patches.stride == 1  # the right pixel of a patch is the left one of the next
    pitch = patches.columns + 1 if shared else patches.columns
    arrays = functions * (1 if shared else 2) + pairs + outputs
    row_bytes = item_bytes * pitch * arrays * (1 if shared else 2)
    most = int(min(patches.rows, max(1, CACHE_BYTES // max(row_bytes, 1))))
    return KernelGeometry(
        stride=patches.stride,
        before=patches.before,
        after=patches.after[1],
        columns=patches.columns,
        wide=patches.before + patches.width + patches.after[1],
        pitch=pitch,
        room=-(-((most + 1) * pitch if shared else 2 * most * pitch) // 16) * 16 + 16,
        bottom=pitch if shared else most * pitch,
        most=most,
    )


@dataclass
class _Planes:
    """Numbers the planes (arrays of one value a position) that terms refer to."""

    basis: list[int]  # the basis numbers, from 1, that occur at all
    geometry: KernelGeometry
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)  # (left, right): number of their plane

    def start_of(self, left: int, right: int) -> int | None:
        """Where the plane basis[left](left pixel) x basis[right](right pixel) starts; None: the constant 1."""
        shared, room = self.geometry.stride == 1, self.geometry.room
        if left and right:
            first = len(self.basis) * (1 if shared else 2)
            self.pairs.setdefault((left, right), first + len(self.pairs))
            return self.pairs[left, right] * room
        if right:
            number = self.basis.index(right)
            return number * room + 1 if shared else (len(self.basis) + number) * room
        return self.basis.index(left) * room if left else None

    def products(self) -> list[tuple[int | None, int | None, int]]:
        """For each pair where the planes of its left and its right pixel start, and its own."""
        room = self.geometry.room
        return [(self.start_of(a, 0), self.start_of(0, b), number * room) for (a, b), number in self.pairs.items()]


@dataclass
class _Sums:
    """Terms as `KernelTables` holds them, while they are collected."""

    singles: list[float] = field(default_factory=list)
    single_at: list[tuple[int, ...]] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    product_at: list[tuple[int, ...]] = field(default_factory=list)
    quads: list[list[float]] = field(default_factory=list)
    quad_at: list[tuple[int, ...]] = field(default_factory=list)

    def add_joint(self, q: int, joint: list[tuple[int, int, float]]) -> None:
        """Sort terms value x top x low into sums of four that share a factor (half the loads), and single products."""
        by_side: list[dict[int, list[tuple[int, float]]]] = [defaultdict(list), defaultdict(list)]
        for top, low, value in joint:
            by_side[0][top].append((low, value))
            by_side[1][low].append((top, value))
        for shared, others in min(by_side, key=len).items():
            for start in range(0, len(others), 4):
                four = others[start : start + 4]
                if len(four) == 1:
                    self.products.append(four[0][1])
                    self.product_at.append((q, shared, four[0][0]))
                    continue
                four += [(four[0][0], 0.0)] * (4 - len(four))
                self.quads.append([value for _, value in four])
                self.quad_at.append((q, shared, *(at for at, _ in four)))


def _array(rows: Any, dtype: Any, width: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.array(rows, dtype=dtype).reshape(-1, width))
