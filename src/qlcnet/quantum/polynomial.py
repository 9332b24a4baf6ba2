"""Trigonometric polynomials of several angles: values, which inputs matter, formulas, JSON data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-12  # coefficients below this are rounding errors of the simulator and become zero


@dataclass(frozen=True, eq=False)
class TrigPolynomial:
    """`coefficients` float64 (outputs, 2d+1, …, 2d+1), one axis an input; basis 1, cos t, sin t, cos 2t, sin 2t, …"""

    coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.coefficients.shape
        if len(shape) < 2 or len(set(shape[1:])) != 1 or shape[1] % 2 == 0:
            raise ValueError(f"coefficients of shape {shape}; expected (outputs, 2d+1, …, 2d+1)")
        if not np.isfinite(self.coefficients).all():
            raise ValueError("coefficients hold NaN or infinity")

    @property
    def outputs(self) -> int:
        return int(self.coefficients.shape[0])

    @property
    def inputs(self) -> int:
        return self.coefficients.ndim - 1

    @property
    def degree(self) -> int:
        return int(self.coefficients.shape[1] - 1) // 2

    def __call__(self, angles: NDArray[Any]) -> NDArray[np.float64]:
        """Values (…, outputs) at angles (…, inputs) in radians."""
        angles = np.asarray(angles)
        if angles.ndim == 0 or angles.shape[-1] != self.inputs:
            raise ValueError(f"angles of shape {angles.shape}; the last axis must hold the {self.inputs} inputs")
        flat = angles.reshape(-1, self.inputs).astype(np.float64)
        basis = trig_basis(flat, self.degree)  # (points, inputs, 2d+1)
        left = self.inputs - self.inputs // 2  # two outer products meet in one matrix product
        first, second = _products(basis[:, :left]), _products(basis[:, left:])
        matrix = self.coefficients.reshape(self.outputs, first.shape[1], second.shape[1])
        values = np.empty((len(flat), self.outputs))
        for q in range(self.outputs):
            values[:, q] = np.einsum("pk,pk->p", first, second @ matrix[q].T)
        return values.reshape(*angles.shape[:-1], self.outputs)

    def basis(self, angles: NDArray[Any]) -> NDArray[np.float64]:
        """The functions of one input that terms are products of, on a new last axis: 1, cos t, sin t, …"""
        return trig_basis(angles, self.degree)

    def terms(self, output: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Non-zero terms of one output: basis number of each input, coefficient."""
        for index in np.argwhere(self.coefficients[output]):
            yield tuple(int(i) for i in index), float(self.coefficients[output][tuple(index)])

    def depends_on(self, output: int) -> tuple[int, ...]:
        """The inputs that really change this output; none for a dead (constant) one."""
        nonzero = self.coefficients[output] != 0
        axes = range(self.inputs)
        return tuple(i for i in axes if np.moveaxis(nonzero, i, 0)[1:].any())

    def trimmed(self) -> TrigPolynomial:
        """The same polynomial in the lowest degree that holds it."""
        degree = self.degree
        while degree and not any(
            np.moveaxis(self.coefficients, i + 1, 0)[2 * degree - 1 :].any() for i in range(self.inputs)
        ):
            degree -= 1
        keep = (slice(None), *[slice(0, 2 * degree + 1)] * self.inputs)
        return TrigPolynomial(np.ascontiguousarray(self.coefficients[keep]))

    def formula(self, output: int, digits: int = 4, most: int = 12) -> str:
        """The output as text, largest terms first, with t0, t1, … for the input angles (pixel value / 255 times pi)."""
        terms = sorted(self.terms(output), key=lambda term: (-abs(term[1]), term[0]))
        pieces = []
        for position, (index, value) in enumerate(terms[:most]):
            factors = [_factor(basis, i) for i, basis in enumerate(index) if basis]
            size = f"{abs(value):.{digits}g}"
            body = " ".join(factors if size == "1" and factors else [size, *factors])
            sign = ("-" if value < 0 else "") if position == 0 else (" - " if value < 0 else " + ")
            pieces.append(sign + body)
        if len(terms) > most:
            pieces.append(f" + … ({len(terms) - most} smaller terms)")
        return "".join(pieces) or "0"

    def to_data(self) -> dict[str, Any]:
        """JSON data; only the non-zero terms: for each output basis numbers of the inputs, as text -> coefficient."""
        terms = [{" ".join(map(str, index)): value for index, value in self.terms(q)} for q in range(self.outputs)]
        return {"inputs": self.inputs, "degree": self.degree, "terms": terms}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> TrigPolynomial:
        """The inverse of `to_data`."""
        size, inputs = 2 * int(data["degree"]) + 1, int(data["inputs"])
        coefficients = np.zeros((len(data["terms"]), *[size] * inputs))
        for q, terms in enumerate(data["terms"]):
            for index, value in terms.items():
                coefficients[(q, *map(int, index.split()))] = value
        return cls(coefficients)


def trig_basis(angles: NDArray[Any], degree: int) -> NDArray[np.float64]:
    """1, cos t, sin t, …, cos dt, sin dt on a new last axis of 2d+1."""
    columns = [np.ones_like(angles)]
    for k in range(1, degree + 1):
        columns += [np.cos(k * angles), np.sin(k * angles)]
    return np.stack(columns, axis=-1)


def _products(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """(points, inputs, m) -> (points, m^inputs), the last input fastest."""
    result = np.ones((len(basis), 1))
    for i in range(basis.shape[1]):
        result = (result[:, :, None] * basis[:, i, None, :]).reshape(len(basis), -1)
    return result


def _factor(basis: int, i: int) -> str:
    multiple = (basis + 1) // 2
    return f"{'cos' if basis % 2 else 'sin'}({'' if multiple == 1 else multiple}t{i})"
