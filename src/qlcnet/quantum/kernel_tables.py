"""What the kernel is to compute: where patches lie in an image, and a polynomial as tables, planes and terms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.polynomial import TrigPolynomial, trig_basis

CACHE_BYTES = 96 * 1024  # of planes and sums at a time: between the first and second cache level of today's cores

MOST_FLOAT32_TERMS = 700  # more terms an output are summed in float64, so that rounding stays far below 1e-6

ANGLES = np.arange(256) / 255.0 * np.pi  # radians of the 256 pixel values


@dataclass(frozen=True)
class Patches:
    """2 x 2 patches `stride` apart on images of height x width pixels, borders repeated `before` and `after`."""

    height: int
    width: int
    stride: int
    before: int
    after: tuple[int, int]  # bottom, right

    @property
    def rows(self) -> int:
        return (self.before + self.height + self.after[0] - 2) // self.stride + 1

    @property
    def columns(self) -> int:
        return (self.before + self.width + self.after[1] - 2) // self.stride + 1


def lay_patches(height: int, width: int, stride: int = 1, padding: str | int = "same") -> Patches:
    """Where patches lie. `same`: ceil(side / stride) of them, the last row and column repeated where they are needed;
    `valid`: no padding; a number: so many border pixels repeated on every side.

    Raises ValueError for images below 2 x 2 pixels, a stride or a padding that makes no sense.
    """
    if height < 2 or width < 2:
        raise ValueError(f"images of {height} x {width} pixels hold no 2 x 2 patch; use images of at least 2 x 2")
    if stride < 1:
        raise ValueError(f"stride {stride}: patches must move by at least 1 pixel")
    if padding == "same":
        ends = [max(0, (-(-side // stride) - 1) * stride + 2 - side) for side in (height, width)]
        return Patches(height, width, stride, 0, (ends[0], ends[1]))
    if padding == "valid":
        return Patches(height, width, stride, 0, (0, 0))
    if isinstance(padding, int) and padding >= 0:
        return Patches(height, width, stride, padding, (padding, padding))
    raise ValueError(f"padding {padding!r}: use 'same', 'valid' or a number of pixels from 0")


@dataclass
class _Planes:
    """Numbers the planes (arrays of one value a patch position) that terms refer to."""

    degree: int
    basis: list[int]  # the basis numbers, from 1, that occur at all
    right_start: int | None  # the first right-hand plane; None: right pixels are left ones, one further
    room: int
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)

    def of(self, left: int, right: int) -> int | None:
        """Offset of the plane basis[left](left pixel) x basis[right](right pixel); None: the constant 1."""
        if left and right:
            first = len(self.basis) * (1 if self.right_start is None else 2)
            self.pairs.setdefault((left, right), first + len(self.pairs))
            return self.pairs[left, right] * self.room
        if right:
            number = self.basis.index(right)
            return number * self.room + 1 if self.right_start is None else (self.right_start + number) * self.room
        return self.basis.index(left) * self.room if left else None


def make_plan(polynomial: TrigPolynomial, patches: Patches) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """(plan, geometry) for the kernel: arrays of tables, pairs, constants and terms; integers that place them.

    Raises ValueError for a polynomial that is not one of four angles.
    """
    if polynomial.inputs != 4:
        raise ValueError(f"a 2 x 2 patch has 4 pixels, but the circuit has {polynomial.inputs} inputs")
    terms = [list(polynomial.terms(q)) for q in range(polynomial.outputs)]
    real = np.float32 if max(map(len, terms)) <= MOST_FLOAT32_TERMS else np.float64
    basis = sorted({i for output in terms for index, _ in output for i in index if i})
    shared = patches.stride == 1
    pitch = patches.columns + 1 if shared else patches.columns
    pair_count = len({p for output in terms for index, _ in output for p in (index[:2], index[2:]) if all(p)})
    planes_count = len(basis) * (1 if shared else 2) + pair_count + polynomial.outputs
    row_bytes = np.dtype(real).itemsize * pitch * planes_count * (1 if shared else 2)
    most = int(min(patches.rows, max(1, CACHE_BYTES // max(row_bytes, 1))))
    bottom = pitch if shared else most * pitch
    room = -(-((most + 1) * pitch if shared else 2 * most * pitch) // 16) * 16 + 16
    planes = _Planes(polynomial.degree, basis, None if shared else len(basis), room)

    constants = np.zeros(polynomial.outputs, real)
    singles: list[tuple[float, int, int]] = []
    products: list[tuple[float, int, int, int]] = []
    quads: list[tuple[list[float], list[int]]] = []
    for q, output in enumerate(terms):
        joint = []
        for index, value in output:
            top, low = planes.of(*index[:2]), planes.of(*index[2:])
            low = None if low is None else low + bottom
            if top is None and low is None:
                constants[q] = value
            elif top is None or low is None:
                singles.append((value, q, low if top is None else top))  # type: ignore[arg-type]
            else:
                joint.append((top, low, value))
        _group(q, joint, products, quads)
    table = trig_basis(ANGLES, polynomial.degree)[:, basis].T if basis else np.zeros((0, 256))
    numbers = [
        (planes.of(left, 0), planes.of(0, right), number * room) for (left, right), number in planes.pairs.items()
    ]
    plan = (
        _array(table, real, 256),
        _array(numbers, np.int64, 3),
        constants,
        np.array([s[0] for s in singles], real),
        _array([s[1:] for s in singles], np.int64, 2),
        np.array([p[0] for p in products], real),
        _array([p[1:] for p in products], np.int64, 3),
        _array([c for c, _ in quads], real, 4),
        _array([at for _, at in quads], np.int64, 6),
    )
    geometry = (patches.stride, patches.before, patches.after[1], patches.columns, pitch, room, bottom, most)
    return plan, geometry


def make_workspace(plan: tuple[Any, ...], geometry: tuple[int, ...], width: int) -> tuple[NDArray[Any], ...]:
    """Arrays that one thread of the kernel works in: pixels, planes, sums, packed results."""
    tables, pairs, constants = plan[:3]
    stride, before, after, _, _, room, _, most = geometry
    sides = 1 if stride == 1 else 2
    pixels = 2 * room + ((most - 1) * stride + 2) * (before + width + after)
    return (
        np.zeros(pixels, np.uint8),
        np.zeros((sides * len(tables) + len(pairs)) * room, tables.dtype),
        np.zeros((len(constants), room), tables.dtype),
        np.zeros(2 * room, np.uint32),
    )


def _group(
    q: int,
    joint: list[tuple[int, int, float]],
    products: list[tuple[float, int, int, int]],
    quads: list[tuple[list[float], list[int]]],
) -> None:
    """Sort terms c x top x low into sums of four that share a factor (half the loads), and single products."""
    by_side: list[dict[int, list[tuple[int, float]]]] = [defaultdict(list), defaultdict(list)]
    for top, low, value in joint:
        by_side[0][top].append((low, value))
        by_side[1][low].append((top, value))
    for shared, others in min(by_side, key=len).items():
        for start in range(0, len(others), 4):
            four = others[start : start + 4]
            if len(four) == 1:
                products.append((four[0][1], q, shared, four[0][0]))
                continue
            four += [(four[0][0], 0.0)] * (4 - len(four))
            quads.append(([value for _, value in four], [q, shared, *(at for at, _ in four)]))


def _array(rows: Any, dtype: Any, width: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.array(rows, dtype=dtype).reshape(-1, width))
