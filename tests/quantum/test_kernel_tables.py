"""What the kernel is handed: a polynomial as tables, worked out by hand, and bands that fit the cache."""

from __future__ import annotations

import numpy as np
import pytest

from qlcnet import config
from qlcnet.quantum import kernel
from qlcnet.quantum.kernel_tables import CACHE_BYTES, MOST_FLOAT32_TERMS, make_tables, make_workspace
from qlcnet.quantum.patches import lay_patches
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import prepare

COS, SIN = 1, 2  # numbers of the basis functions; 0 is the constant 1


def few_terms() -> TrigPolynomial:
    """Outputs 0.25 + cos(d) and 2 cos(a) cos(c) + 3 cos(a) sin(b), for pixels a b over c d."""
    coefficients = np.zeros((2, 3, 3, 3, 3))
    coefficients[0, 0, 0, 0, 0], coefficients[0, 0, 0, 0, COS] = 0.25, 1
    coefficients[1, COS, 0, COS, 0], coefficients[1, COS, SIN, 0, 0] = 2, 3
    return TrigPolynomial(coefficients)


def test_tables_by_hand_where_patches_share_pixels() -> None:
    tables, geometry = make_tables(few_terms(), lay_patches(3, 4))
    # a row of 4 patches has 5 pixels; 3 rows of patches have 4; planes start at multiples of 16, with 16 to spare
    assert geometry._asdict() == {
        **{"stride": 1, "before": 0, "after": 1, "columns": 4, "wide": 5, "pitch": 5, "room": 48, "bottom": 5},
        "most": 3,
    }
    angles = np.arange(256) / 255 * np.pi
    np.testing.assert_allclose(tables.basis, [np.cos(angles), np.sin(angles)], atol=1e-7)
    assert tables.pairs.tolist() == [[0, 48 + 1, 96]]  # cos at the left, sin one pixel to the right, their product
    assert tables.constants.tolist() == [0.25, 0]
    assert (tables.singles.tolist(), tables.single_at.tolist()) == ([1, 3], [[0, 5 + 1], [1, 96]])
    assert (tables.products.tolist(), tables.product_at.tolist()) == ([2], [[1, 0, 5]])
    assert (tables.quads.shape, tables.quad_at.shape) == ((0, 4), (0, 6))


def test_tables_by_hand_where_patches_are_apart() -> None:
    tables, geometry = make_tables(few_terms(), lay_patches(4, 6, stride=2))
    assert (geometry.columns, geometry.pitch, geometry.wide, geometry.most, geometry.bottom) == (3, 3, 6, 2, 6)
    right = 2 * geometry.room  # the planes of right pixels follow those of left ones: cos, sin, cos, sin, product
    assert tables.pairs.tolist() == [[0, right + geometry.room, 2 * right]]
    assert tables.single_at.tolist() == [[0, right + 6], [1, 2 * right]]


def test_products_with_a_plane_in_common_are_summed_by_four() -> None:
    coefficients = np.zeros((1, 3, 3, 3, 3))
    for value, low in enumerate([(0, COS), (0, SIN), (COS, 0), (SIN, 0), (COS, COS)], start=1):
        coefficients[0, COS, 0, low[0], low[1]] = value
    tables, _ = make_tables(TrigPolynomial(coefficients), lay_patches(3, 4))
    assert len(tables.quads) == len(tables.products) == 1
    assert sorted([*tables.quads[0], *tables.products]) == [1, 2, 3, 4, 5]
    assert tables.quad_at[0, 1] == tables.product_at[0, 1] == 0  # all of them with cos(a)


@pytest.mark.parametrize(("stride", "sides"), [(1, 1), (2, 2)])
def test_a_band_fits_the_cache_and_its_workspace_holds_it(stride: int, sides: int) -> None:
    circuit = prepare(config.Circuit(ansatz="entangled"))
    patches = lay_patches(600, 800, stride)
    tables, geometry = make_tables(circuit.polynomial, patches)
    work = make_workspace(tables, geometry)
    assert 1 <= geometry.most < patches.rows
    positions = (geometry.most + 1 if stride == 1 else 2 * geometry.most) * geometry.pitch
    assert positions <= geometry.room
    assert work.sums.shape == (4, geometry.room)
    assert len(work.planes) == (sides * len(tables.basis) + len(tables.pairs)) * geometry.room
    row_bytes = 4 * geometry.pitch * sides * (len(work.planes) // geometry.room + 4)
    assert geometry.most == max(1, CACHE_BYTES // row_bytes)


def test_many_terms_are_summed_in_float64() -> None:
    coefficients = np.ones((1, 7, 7, 7, 7))
    tables, geometry = make_tables(TrigPolynomial(coefficients), lay_patches(4, 4))
    assert coefficients.size > MOST_FLOAT32_TERMS
    assert {a.dtype for a in (tables.basis, tables.singles, tables.products, tables.quads)} == {np.dtype(np.float64)}
    assert make_workspace(tables, geometry).sums.dtype == np.float64


def test_other_circuits_and_sizes_compile_nothing_anew() -> None:
    def run(side: int, **params: int | str) -> None:
        prepare(config.Circuit(**params))(np.zeros((1, side, side, 1), np.uint8))  # type: ignore[arg-type]

    run(8)
    before = len(kernel.run_packed.signatures)
    run(8, stride=2)
    run(31, ansatz="entangled", padding=2)
    run(9, storage="uint8")
    assert len(kernel.run_packed.signatures) == before


def test_a_field_that_moves_puts_compiled_code_out_of_date() -> None:
    """numba compares the time of the kernels' file alone, and takes a named tuple with moved fields for the same."""
    for named in (kernel.KernelTables, kernel.KernelGeometry, kernel.KernelWorkspace):
        assert named.__module__ == kernel.run_packed.py_func.__module__ == kernel.run_float.py_func.__module__
