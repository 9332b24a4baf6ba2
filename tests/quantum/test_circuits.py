"""Circuits of params: encodings worked out by hand, noise, devices, words, OpenQASM read back and simulated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest

from qlcnet import config
from qlcnet.quantum.circuits import (
    PatchCircuit,
    all_words,
    build_circuit,
    draw,
    joint_words,
    make_qnode,
    queue_circuit,
)
from qlcnet.quantum.qasm import to_openqasm
from qlcnet.quantum.quanvolution import prepare

ANGLES = np.array([0.3, 1.1, 2.0, 2.9])
FAMILIES = config.load_params(Path(__file__).resolve().parents[2] / "studies" / "circuit-families.yaml").circuits


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ry", np.cos(ANGLES)),
        ("rx", np.cos(ANGLES)),
        ("rxy", np.cos(ANGLES) ** 2),  # RX leaves Z = cos t; RY turns it towards X
        ("ryx", np.cos(ANGLES) ** 2),
    ],
)
def test_encodings_without_ansatz(encoding: str, expected: np.ndarray) -> None:
    circuit = build_circuit(config.Circuit(encoding=encoding, ansatz="none"))  # type: ignore[arg-type]
    np.testing.assert_allclose(make_qnode(circuit)(ANGLES), expected, atol=1e-12)


def test_uploads_have_an_ansatz_each() -> None:
    circuit = build_circuit(config.Circuit(uploads=3))
    assert len({block.angles for block in circuit.blocks}) == 3
    assert circuit.degree == 3
    assert build_circuit(config.Circuit(uploads=2, encoding="rxy")).degree == 4


@pytest.mark.parametrize("name", FAMILIES)
def test_the_papers_families_run(name: str) -> None:
    values = np.array(make_qnode(build_circuit(FAMILIES[name]))(ANGLES))
    assert values.shape == (4,)
    assert np.abs(values).max() <= 1


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ({"depolarizing": 0.3}, 0.6 * np.cos(ANGLES)),  # 1 - 4/3 p
        ({"amplitude_damping": 0.3}, 0.7 * np.cos(ANGLES) + 0.3),
        ({"phase_damping": 0.3}, np.cos(ANGLES)),
        ({"readout_flip": 0.3}, 0.4 * np.cos(ANGLES)),
    ],
)
def test_noise_of_a_product_state_by_hand(noise: dict[str, float], expected: np.ndarray) -> None:
    circuit = build_circuit(config.Circuit(ansatz="none", noise=config.Noise(**noise)))
    np.testing.assert_allclose(make_qnode(circuit)(ANGLES), expected, atol=1e-12)


def test_noise_needs_a_device_that_can() -> None:
    noisy = build_circuit(config.Circuit(noise=config.Noise(depolarizing=0.1)))
    with pytest.raises(ValueError, match=r"'lightning.qubit' cannot run noise channels; leave `device` out"):
        make_qnode(noisy, "lightning.qubit")
    with pytest.raises(ValueError, match=r"no device 'no.such' here.*Install its plugin or name another"):
        make_qnode(build_circuit(config.Circuit()), "no.such")


def test_words_are_products_of_pauli_z() -> None:
    assert joint_words(((0, 1), (3,))) == ((0,), (1,), (0, 1), (3,))
    assert len(all_words()) == 15
    circuit = build_circuit(config.Circuit(ansatz="entangled"))

    @qml.qnode(qml.device("default.qubit", wires=4))
    def probabilities(angles: np.ndarray) -> object:
        queue_circuit(circuit, angles)
        return qml.probs(wires=range(4))

    p = np.asarray(probabilities(ANGLES)).reshape(2, 2, 2, 2)
    signs = [np.array([1, -1]).reshape([2 if axis == q else 1 for axis in range(4)]) for q in range(4)]
    for word, value in zip(all_words(), make_qnode(circuit, words=all_words())(ANGLES), strict=True):
        assert value == pytest.approx((p * np.prod([signs[q] + 0 * p for q in word], axis=0)).sum(), abs=1e-12)


def test_json_gives_the_same_circuit() -> None:
    circuit = build_circuit(config.Circuit(uploads=2, encoding="ryx", noise=config.Noise(phase_damping=0.1)))
    assert PatchCircuit.from_data(json.loads(json.dumps(circuit.to_data()))) == circuit


def test_drawing_names_inputs_gates_and_noise() -> None:
    text = draw(build_circuit(config.Circuit(noise=config.Noise(depolarizing=0.1))))
    assert len(text.splitlines()) == 4
    assert all(word in text for word in ("RY(t0)", "RX(3.19)", "DepolarizingChannel(0.10)", "<Z>"))


LINE = re.compile(
    r"""OPENQASM\ 3\.0; | include\ "stdgates\.inc"; | //.* | input\ float\[64\]\ t\d; | qubit\[4\]\ q; | bit\[4\]\ c;
    | (?P<gate>r[xyz])\((?P<angle>t\d|-?\d+(\.\d+)?(e-?\d+)?)\)\ q\[(?P<wire>\d)\];
    | cx\ q\[(?P<c>\d)\],\ q\[(?P<t>\d)\]; | c\ =\ measure\ q; | """,
    re.VERBOSE,
)


def simulate_openqasm(text: str, inputs: np.ndarray) -> np.ndarray:
    """Expectation values of Z: a reader of the subset of OpenQASM 3 that the export may use, and a state vector."""
    state = np.zeros((2, 2, 2, 2), complex)
    state[0, 0, 0, 0] = 1
    axes = {"rx": [[0, 1], [1, 0]], "ry": [[0, -1j], [1j, 0]], "rz": [[1, 0], [0, -1]]}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match, f"not in the subset: {line!r}"
        if match["gate"]:
            angle = inputs[int(match["angle"][1:])] if match["angle"][0] == "t" else float(match["angle"])
            gate = np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * np.array(axes[match["gate"]])
            wire = int(match["wire"])
            state = np.moveaxis(np.tensordot(gate, state, (1, wire)), 0, wire)
        elif match["c"]:
            control, target = int(match["c"]), int(match["t"])
            ones = np.moveaxis(state, control, 0)[1]
            axis = target - (target > control)
            ones[...] = np.flip(ones, axis).copy()
    p = np.abs(state) ** 2
    return np.array([np.moveaxis(p, q, 0)[0].sum() - np.moveaxis(p, q, 0)[1].sum() for q in range(4)])


@pytest.mark.parametrize(
    "params",
    [config.Circuit(), config.Circuit(encoding="rxy", ansatz="entangled", layers=3, uploads=2), FAMILIES["xy"]],
)
def test_openqasm_computes_what_the_circuit_computes(params: config.Circuit) -> None:
    circuit = build_circuit(params)
    values = simulate_openqasm(to_openqasm(circuit), ANGLES)
    np.testing.assert_allclose(values, make_qnode(circuit)(ANGLES), atol=1e-12)


def test_openqasm_states_noise_in_comments() -> None:
    noisy = build_circuit(config.Circuit(noise=config.Noise(readout_flip=0.125)))
    assert "// noise, not part of the program: readout_flip 0.125" in to_openqasm(noisy)


@pytest.mark.parametrize("device", ["default.tensor", "default.clifford", "default.qutrit", "default.gaussian"])
@pytest.mark.filterwarnings("ignore")
def test_a_device_that_cannot_run_the_circuit_is_named_with_its_reason(device: str) -> None:
    with pytest.raises(ValueError, match=rf"device '?{device}") as raised:
        prepare(config.Circuit(device=device))
    assert "name another" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_device_that_computes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device 'null.qubit' gives 0 for every expectation value"):
        prepare(config.Circuit(device="null.qubit"))
