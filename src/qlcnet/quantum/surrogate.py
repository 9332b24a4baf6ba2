"""The exact surrogate of a circuit: each expectation value as a trigonometric polynomial of the input angles.

An input angle t that enters a circuit d times through Pauli rotations acts on an expectation value as a trigonometric
polynomial of degree d in t, whatever the other gates, the noise channels or the device (Schuld, Sweke and Meyer 2021,
arXiv 2008.08605). So (2d + 1)^n evaluations on a grid fix the function of n inputs for ever. `fit_polynomial` checks
this on random angles each time (tests/quantum/test_polynomial.py proves it against PennyLane).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.polynomial import NEGLIGIBLE, TrigPolynomial, trig_basis

CHECK_POINTS = 16  # random angles on which a fit is checked
MOST_REASON = 200  # characters of a device's message
_BATCH = 4096  # grid points evaluated at a time: default.mixed needs 4 KiB for each

Expectations = Callable[[NDArray[np.float64]], Any]


class DegreeError(ValueError):
    """The circuit is no polynomial of the declared degree; the message says how far off, and what to do."""


def reason_of(error: Exception) -> str:
    """What a device says, on one line, and not more than a reader bears."""
    return " ".join(str(error).split())[:MOST_REASON]


class DeviceError(ValueError):
    """A circuit that its device cannot run; the message has the device and its reason."""

    def __init__(self, qnode: Any, error: Exception) -> None:
        device = getattr(getattr(qnode, "device", None), "name", "of this QNode")
        super().__init__(
            f"the device {device} cannot run this circuit ({type(error).__name__}: {reason_of(error)}); name another "
            "one under `device`, such as default.qubit or lightning.qubit"
        )


def fit_polynomial(
    qnode: Expectations,
    n_inputs: int = 4,
    degree: int = 1,
    *,
    tolerance: float = 1e-8,
    seed: int = 0,
    is_sampled: bool = False,
) -> TrigPolynomial:
    """The exact polynomial of every expectation value that a QNode returns, from (2d+1)^n evaluations on a grid.

    `qnode` takes angles in radians of shape (n_inputs,), so that `angles[i]` is input i, and returns one or several
    expectation values, each within [-1, 1] or of that order. Where it accepts (n_inputs, points), as QNodes on most
    simulators do, the grid is one broadcast call; else it is a loop. `degree`: how often an input enters at most.
    `is_sampled`: the QNode draws finite shots, so that no two calls agree and a broadcast is trusted as it is.
    Raises DegreeError when the outputs at random angles differ from the polynomial by more than `tolerance`.
    """
    if n_inputs < 1 or degree < 1:
        raise ValueError(f"n_inputs = {n_inputs} and degree = {degree} must both be at least 1")
    size = 2 * degree + 1
    if size**n_inputs > 2_000_000:
        raise ValueError(f"degree {degree} in {n_inputs} inputs needs {size**n_inputs:,} evaluations; lower either")
    nodes = 2 * np.pi * np.arange(size) / size
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * n_inputs, indexing="ij")])
    values = evaluate(qnode, grid, compare=not is_sampled)
    # Equidistant nodes: the inverse of the basis matrix is its transpose, rows weighted 1/m, 2/m, 2/m, …
    inverse = trig_basis(nodes, degree).T * np.where(np.arange(size) == 0, 1.0, 2.0)[:, None] / size
    coefficients = values.reshape(-1, *[size] * n_inputs)
    for axis in range(1, n_inputs + 1):
        coefficients = np.moveaxis(np.tensordot(inverse, coefficients, axes=(1, axis)), 0, axis)
    coefficients = np.where(np.abs(coefficients) < NEGLIGIBLE, 0.0, coefficients)
    polynomial = TrigPolynomial(np.ascontiguousarray(coefficients))
    _check(qnode, polynomial, tolerance, seed, is_sampled)
    return polynomial.trimmed()


def _check(qnode: Expectations, polynomial: TrigPolynomial, tolerance: float, seed: int, is_sampled: bool) -> None:
    points = np.random.default_rng(seed).uniform(0, 2 * np.pi, (polynomial.inputs, CHECK_POINTS))
    error = float(np.abs(evaluate(qnode, points, compare=not is_sampled) - polynomial(points.T).T).max())
    if not error <= tolerance:
        d = polynomial.degree
        raise DegreeError(
            f"the circuit's outputs are no trigonometric polynomial of degree {d} in each input: at random angles they "
            f"differ by {error:.1e} (allowed {tolerance:.0e}). Declare a higher degree (a Pauli rotation by an input "
            "counts 1, by k times an input k), let inputs enter through Pauli rotations only, or, where the device "
            "samples its results, raise the tolerance above their noise"
        )


def evaluate(qnode: Expectations, points: NDArray[np.float64], compare: bool = True) -> NDArray[np.float64]:
    """Values (outputs, points) of a QNode at angles (inputs, points): broadcast where the QNode can, else in a loop.

    `compare`: trust a broadcast only if its ends equal two single calls (never so where the device samples). Raises
    DeviceError where the QNode cannot be evaluated at all.
    """
    try:
        ends_of_qnode = qnode(points[:, 0]), qnode(points[:, -1])
    except Exception as error:  # devices that cannot run a circuit say so in many ways
        raise DeviceError(qnode, error) from error
    first, last = map(_single, ends_of_qnode)
    parts = []
    for start in range(0, points.shape[1], _BATCH):
        part = _broadcast(qnode, points[:, start : start + _BATCH], len(first))
        if part is None:
            break
        parts.append(part)
    else:
        values = np.concatenate(parts, axis=1)
        # a QNode that reads the batch axis as something else may still return an array of the right shape
        ends = np.stack([first, last], axis=1)
        if not compare or np.allclose(values[:, [0, -1]], ends, atol=1e-9):
            return _finite(values)
    middle = [_single(qnode(points[:, i])) for i in range(1, points.shape[1] - 1)]
    return _finite(np.stack([first, *middle, last][: points.shape[1]], axis=1))


def _broadcast(qnode: Expectations, points: NDArray[np.float64], outputs: int) -> NDArray[np.float64] | None:
    """Values (outputs, points) of one broadcast call, or None where the QNode cannot."""
    try:
        result = qnode(points)
        values = np.stack([np.asarray(r) for r in result]) if isinstance(result, list | tuple) else np.asarray(result)
        values = np.asarray(values, dtype=np.float64)
    except Exception:  # devices refuse a batch in many ways; the loop then shows a real error as it is
        return None
    if values.shape == (points.shape[1],) and outputs == 1:
        values = values[None]
    if values.shape == (points.shape[1], outputs) and not isinstance(result, list | tuple):
        values = values.T
    return values if values.shape == (outputs, points.shape[1]) else None


def _single(result: Any) -> NDArray[np.float64]:
    values = np.stack([np.asarray(r) for r in result]) if isinstance(result, list | tuple) else np.asarray(result)
    values = np.atleast_1d(values).astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"the QNode returned an array of shape {values.shape}; expected a few expectation values")
    return values


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        raise ValueError("the QNode returned NaN or infinity; check its angles and its device")
    return values
