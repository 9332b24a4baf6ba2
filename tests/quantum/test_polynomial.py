"""Polynomials worked out by hand: values, formulas, which inputs matter."""

from __future__ import annotations

import numpy as np
import pytest

from qlcnet.quantum.polynomial import TrigPolynomial


def made_of(*terms: tuple[tuple[int, ...], float], degree: int = 1) -> TrigPolynomial:
    coefficients = np.zeros((1, *[2 * degree + 1] * 4))
    for index, value in terms:
        coefficients[(0, *index)] = value
    return TrigPolynomial(coefficients)


def test_value_of_a_polynomial_by_hand() -> None:
    """0.5 + 2 cos(t0) sin(t3) - 3 sin(2 t2) at t = (0.1, 0.2, 0.3, 0.4)."""
    polynomial = made_of(((0, 0, 0, 0), 0.5), ((1, 0, 0, 2), 2.0), ((0, 0, 4, 0), -3.0), degree=2)
    value = 0.5 + 2 * np.cos(0.1) * np.sin(0.4) - 3 * np.sin(0.6)
    assert polynomial(np.array([0.1, 0.2, 0.3, 0.4]))[0] == pytest.approx(value, abs=1e-15)
    assert polynomial(np.full((2, 5, 4), 0.1)).shape == (2, 5, 1)


def test_formula_dependence_and_trimming() -> None:
    polynomial = made_of(((0, 0, 0, 0), 0.5), ((1, 0, 0, 2), 1.0), ((0, 0, 2, 0), -0.25), degree=3)
    assert polynomial.formula(0) == "cos(t0) sin(t3) + 0.5 - 0.25 sin(t2)"
    assert polynomial.formula(0, most=1) == "cos(t0) sin(t3) + … (2 smaller terms)"
    assert polynomial.depends_on(0) == (0, 2, 3)
    assert polynomial.trimmed().degree == 1
    assert polynomial.trimmed().formula(0) == polynomial.formula(0)
    assert made_of().formula(0) == "0"
    assert made_of(((0, 0, 0, 0), -1.0)).formula(0) == "-1"
    assert made_of(((0, 0, 0, 0), -1.0)).depends_on(0) == ()
    assert made_of(((0, 4, 0, 0), -1.0), degree=2).formula(0) == "-sin(2t1)"


def test_shapes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="the last axis must hold the 4 inputs"):
        made_of()(np.zeros((7, 3)))
    with pytest.raises(ValueError, match="expected"):
        TrigPolynomial(np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        TrigPolynomial(np.full((1, 3), np.nan))
