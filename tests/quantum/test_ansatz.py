"""Ansätze as data: their gates, their stability, and PennyLane's reading of them."""

from __future__ import annotations

import json

import numpy as np
import pennylane as qml
import pytest

from qlcnet.quantum.ansatz import ANSAETZE, Ansatz, Gate, apply_ansatz, build_ansatz, linked_qubits


@pytest.mark.parametrize("kind", ANSAETZE)
def test_json_gives_the_same_ansatz(kind: str) -> None:
    ansatz = build_ansatz(kind, qubits=3, layers=2, seed=5)
    assert Ansatz.from_data(json.loads(json.dumps(ansatz.to_data()))) == ansatz


def test_random_gates_are_fixed_by_the_seed_for_ever() -> None:
    """Written down once: a release of numpy or PennyLane that changed them would change published results."""
    ansatz = build_ansatz("random", seed=42)
    assert [(g.name, *g.wires) for g in ansatz.gates] == [
        ("RZ", 1), ("RZ", 3), ("CNOT", 1, 3), ("CNOT", 0, 3), ("RZ", 0), ("RX", 1),
    ]  # fmt: skip
    np.testing.assert_allclose(
        ansatz.angles, [5.7238980451164725, 1.1001516896189174, 0.5057838864195572, 3.1929860461141883], rtol=1e-15
    )


def test_seeds_and_streams_differ() -> None:
    ansaetze = [build_ansatz("random", seed=seed, stream=stream) for seed in range(4) for stream in range(2)]
    assert len({a.angles for a in ansaetze}) == 8


def test_random_has_as_many_rotations_as_asked_for_in_each_layer() -> None:
    ansatz = build_ansatz("random", layers=3, rotations=7)
    assert len(ansatz.angles) == 21
    assert sum(g.name == "CNOT" for g in ansatz.gates) > 0
    assert all(len(set(g.wires)) == len(g.wires) for g in ansatz.gates)


@pytest.mark.parametrize(("qubits", "layers"), [(1, 2), (2, 3), (4, 1), (4, 4), (5, 6)])
def test_entangled_is_pennylanes_strongly_entangling_layers(qubits: int, layers: int) -> None:
    ansatz = build_ansatz("entangled", qubits, layers, seed=3)
    wires = range(qubits)
    device = qml.device("default.qubit", wires=qubits)

    @qml.qnode(device)
    def ours() -> object:
        apply_ansatz(ansatz.gates, ansatz.angles)
        return qml.state()

    @qml.qnode(device)
    def theirs() -> object:
        qml.StronglyEntanglingLayers(np.reshape(ansatz.angles, (layers, qubits, 3)), wires=wires)
        return qml.state()

    np.testing.assert_allclose(ours(), theirs(), atol=1e-12)


def test_linked_qubits_follow_chains_of_cnots() -> None:
    gates = [Gate("CNOT", (0, 3)), Gate("RX", (1,), 0), Gate("CNOT", (3, 4))]
    assert linked_qubits(gates, 5) == ((0, 3, 4), (1,), (2,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "swirl"}, "unknown; choose one of none, ry, random, entangled"),
        ({"kind": "random", "layers": 0}, "layers must be at least 1, not 0"),
        ({"kind": "ry", "qubits": 0}, "qubits must be at least 1"),
    ],
)
def test_impossible_ansatz(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_ansatz(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "gate", [["RX", [4], 0], ["RX", [0], 1], ["CNOT", [1, 1], None], ["SWAP", [0, 1], None], ["RY", [0], None]]
)
def test_a_gate_that_cannot_be_is_refused_when_read(gate: list[object]) -> None:
    with pytest.raises(ValueError, match=r"expected|wires must be"):
        Ansatz.from_data({"qubits": 4, "gates": [gate], "angles": [0.1]})
