"""Fitted polynomials against the QNodes that they stand for, any QNode, and refusal of what is no such polynomial."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pennylane as qml
import pytest

from qlcnet import config
from qlcnet.quantum.circuits import build_circuit, make_qnode
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.surrogate import DegreeError, evaluate, fit_polynomial

NOISE = config.Noise(depolarizing=0.05, amplitude_damping=0.1, phase_damping=0.15, readout_flip=0.02)
ENCODINGS = ("ry", "rx", "rxy", "ryx")


def fresh_angles(points: int = 40, inputs: int = 4) -> np.ndarray:
    return np.random.default_rng(99).uniform(-10, 10, (points, inputs))


@pytest.mark.parametrize(("encoding", "ansatz"), list(itertools.product(ENCODINGS, ("none", "random", "entangled"))))
def test_polynomial_equals_the_qnode(encoding: str, ansatz: str) -> None:
    circuit = build_circuit(config.Circuit(encoding=encoding, ansatz=ansatz, layers=2, rotations=6))  # type: ignore[arg-type]
    qnode = make_qnode(circuit)
    polynomial = fit_polynomial(qnode, 4, circuit.degree)
    angles = fresh_angles()
    np.testing.assert_allclose(polynomial(angles), np.stack([qnode(a) for a in angles]), atol=1e-12)


@pytest.mark.parametrize(("uploads", "noise"), [(2, config.Noise()), (3, config.Noise()), (1, NOISE), (2, NOISE)])
def test_re_uploading_and_noise_are_in_the_polynomial(uploads: int, noise: config.Noise) -> None:
    circuit = build_circuit(config.Circuit(uploads=uploads, ansatz="entangled", noise=noise))
    polynomial = fit_polynomial(make_qnode(circuit), 4, circuit.degree)
    angles = fresh_angles(10)
    assert polynomial.degree == uploads
    np.testing.assert_allclose(polynomial(angles), evaluate(make_qnode(circuit), angles.T).T, atol=1e-12)


def test_coefficients_are_those_of_qml_fourier() -> None:
    """The complex Fourier coefficients of PennyLane's own routine, turned into cosines and sines."""
    circuit = build_circuit(config.Circuit(ansatz="entangled"))
    qnode = make_qnode(circuit)
    polynomial = fit_polynomial(qnode, 4, 1)
    fourier = qml.fourier.coefficients(lambda x: qnode(x)[3], 4, 1)
    # 1, cos t, sin t in terms of c_0, c_1, c_-1: a = c_1 + c_-1, b = i (c_1 - c_-1)
    turn = np.array([[1, 0, 0], [0, 1, 1], [0, 1j, -1j]])
    expected = np.einsum("ai,bj,ck,dl,ijkl->abcd", turn, turn, turn, turn, fourier)
    np.testing.assert_allclose(polynomial.coefficients[3], expected.real, atol=1e-12)


@pytest.mark.parametrize("device", ["lightning.qubit", "default.mixed", "reference.qubit"])
def test_any_device_gives_the_same_polynomial(device: str) -> None:
    circuit = build_circuit(config.Circuit(ansatz="entangled"))
    first, second = (fit_polynomial(make_qnode(circuit, name), 4, 1) for name in ("default.qubit", device))
    np.testing.assert_allclose(first.coefficients, second.coefficients, atol=1e-12)


def test_any_qnode_of_any_shape_of_result() -> None:
    """A user's own circuit: template, other observables, three inputs, results as probabilities."""
    device = qml.device("default.qubit", wires=3)

    @qml.qnode(device)
    def probabilities(x: Any) -> Any:
        for i in range(3):
            qml.PauliRot(x[i], "XY"[i % 2] + "Z", wires=[i, (i + 1) % 3])
            qml.Hadamard(i)
        qml.IsingXX(0.3, wires=[0, 2])
        return qml.probs(wires=[0, 1])

    @qml.qnode(device)
    def refuses_batches(x: Any) -> Any:
        qml.AngleEmbedding(x, wires=range(3))  # reads (points, inputs), not (inputs, points)
        qml.CNOT([0, 1])
        return qml.expval(qml.X(1) @ qml.Z(2))

    for qnode in (probabilities, refuses_batches):
        polynomial = fit_polynomial(qnode, 3, 1)
        angles = fresh_angles(5, 3)
        expected = np.stack([np.atleast_1d(qnode(a)) for a in angles])
        np.testing.assert_allclose(polynomial(angles), expected, atol=1e-12)


@pytest.mark.parametrize(
    "degree_two",
    [
        lambda x: (qml.RX(x[0], 0), qml.RY(x[0], 0)),
        lambda x: (qml.RY(2 * x[0], 0),),
        lambda x: (qml.RY(x[0] ** 2, 0),),
    ],
)
def test_a_degree_over_the_declared_is_refused(degree_two: Any) -> None:
    @qml.qnode(qml.device("default.qubit", wires=1))
    def qnode(x: Any) -> Any:
        degree_two(x)
        return qml.expval(qml.Z(0))

    with pytest.raises(DegreeError, match=r"no trigonometric polynomial of degree 1 .*Declare a higher degree"):
        fit_polynomial(qnode, 1, 1)


def test_a_device_that_samples_is_refused_with_the_way_out() -> None:
    circuit = build_circuit(config.Circuit())
    with pytest.raises(DegreeError, match="samples its results, raise the tolerance"):
        fit_polynomial(make_qnode(circuit, shots=100, seed=1), 4, 1)
    rough = fit_polynomial(make_qnode(circuit, shots=2000, seed=1), 4, 1, tolerance=0.3)
    exact = fit_polynomial(make_qnode(circuit), 4, 1)
    assert np.abs(rough.coefficients - exact.coefficients).max() < 0.1


def test_params_can_ask_for_a_sampled_grid() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 1), dtype=np.uint8)
    with pytest.raises(DegreeError, match="raise the tolerance"):
        prepare(config.Circuit(device_shots=2000))
    sampled = prepare(config.Circuit(device_shots=2000, tolerance=0.3))
    exact = prepare(config.Circuit())
    error = np.abs(sampled(images).astype(float) - exact(images)).max()
    assert 1e-3 < error < 0.2
    assert np.array_equal(sampled(images), prepare(config.Circuit(device_shots=2000, tolerance=0.3))(images))


def test_nan_and_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_polynomial(lambda x: np.nan * x[0], 1, 1)
    with pytest.raises(ValueError, match="at least 1"):
        fit_polynomial(lambda x: x[0], 1, 0)
    with pytest.raises(ValueError, match="evaluations; lower either"):
        fit_polynomial(lambda x: x[0], 8, 3)


def test_json_keeps_every_bit() -> None:
    circuit = build_circuit(config.Circuit(encoding="rxy", ansatz="entangled"))
    polynomial = fit_polynomial(make_qnode(circuit), 4, 2)
    again = TrigPolynomial.from_data(json.loads(json.dumps(polynomial.to_data())))
    assert np.array_equal(again.coefficients, polynomial.coefficients)
