"""The trainable quantum layer against PennyLane, against finite differences, and as a torch module."""

from __future__ import annotations

import copy
import math
from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor, nn

from qlcnet.config import Noise
from qlcnet.quantum.adjoint import BLOCK, LARGEST_MATRIX, CompiledAnsatz
from qlcnet.quantum.ansatz import Gate, build_ansatz
from qlcnet.quantum.head import QuantumLayer, readout

ANSAETZE = ("ry", "random", "entangled")
# qubits, layers: one matrix (up to LARGEST_MATRIX) and the batch's states (above), one block of qubits and two
SIZES = ((2, 1), (3, 2), (4, 1), (4, 2), (4, 3), (4, 4), (5, 2), (6, 1), (7, 3), (8, 2))


def layer(*args: Any, **settings: Any) -> QuantumLayer:
    torch.manual_seed(7)
    return QuantumLayer(*args, **settings)


def angles(batch: int, qubits: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return ((torch.rand(batch, qubits, generator=generator, dtype=dtype) - 0.5) * 4 * math.pi).requires_grad_()


def value_and_gradients(module: nn.Module, inputs: Tensor, upstream: Tensor) -> list[Tensor]:
    values = module(inputs)
    return [values.detach(), *torch.autograd.grad(values, (inputs, *module.parameters()), upstream)]


def test_sizes_cover_both_ways_of_evaluation() -> None:
    assert (
        {qubits <= LARGEST_MATRIX for qubits, _ in SIZES} == {qubits <= BLOCK for qubits, _ in SIZES} == {True, False}
    )
    assert {layers for _, layers in SIZES} == {1, 2, 3, 4}


@pytest.mark.parametrize(("qubits", "layers"), SIZES)
@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_equals_torch_layer(ansatz: str, qubits: int, layers: int) -> None:
    ours = layer(qubits, ansatz, layers, rotations=5, seed=3)
    theirs = qml.qnn.TorchLayer(ours.qnode(), {"weight": ours.weight.shape})
    theirs.load_state_dict({"weight": ours.weight.detach()})
    inputs, upstream = angles(6, qubits), torch.randn(6, qubits)
    for got, expected in zip(
        value_and_gradients(ours, inputs, upstream), value_and_gradients(theirs, inputs, upstream), strict=True
    ):
        assert got.shape == expected.shape
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected.float(), rtol=0, atol=1e-5)


def _hadamard_and_encoding(inputs: Tensor) -> None:
    for qubit in range(inputs.shape[-1]):
        qml.Hadamard(qubit)
        qml.RY(inputs[..., qubit], wires=qubit)


@pytest.mark.parametrize(("qubits", "layers"), [(2, 3), (4, 2), (8, 4)])
def test_entangled_is_pennylanes_template(qubits: int, layers: int) -> None:
    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch")
    def circuit(inputs: Tensor, weight: Tensor) -> list[Any]:
        _hadamard_and_encoding(inputs)
        qml.StronglyEntanglingLayers(weight, wires=range(qubits))
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(qubits)]

    ours, inputs = layer(qubits, "entangled", layers).double(), angles(3, qubits, torch.float64)
    expected = torch.stack(circuit(inputs, ours.weight), dim=1)
    torch.testing.assert_close(ours(inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_papers_circuit_is_a_sine(layers: int) -> None:
    ours, inputs = layer(4, "ry", layers).double(), angles(9, 4, torch.float64)

    @qml.qnode(qml.device("default.qubit", wires=4), interface="torch")
    def circuit(inputs: Tensor, weight: Tensor) -> list[Any]:
        _hadamard_and_encoding(inputs)
        for row in weight:
            for qubit in range(4):
                qml.RY(row[qubit], wires=qubit)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(4)]

    expected = -torch.sin(inputs + ours.weight.sum(0))
    assert torch.equal(ours(inputs), expected)
    torch.testing.assert_close(torch.stack(circuit(inputs, ours.weight), dim=1), expected, rtol=0, atol=1e-12)
    simulated = CompiledAnsatz(build_ansatz("ry", 4, layers).gates, 4).double()(inputs, ours.weight)
    torch.testing.assert_close(simulated, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ansatz", "qubits"), [("ry", 4), ("random", 3), ("entangled", 2)])
def test_gradient_equals_parameter_shift(ansatz: str, qubits: int) -> None:
    ours = layer(qubits, ansatz, 2, rotations=4).double()
    inputs = angles(1, qubits, torch.float64)
    circuit = ours.qnode(diff_method="parameter-shift")
    shifted = torch.stack(circuit(inputs[0], ours.weight))
    for output in range(qubits):
        got = torch.autograd.grad(ours(inputs)[0, output], (inputs, ours.weight))
        expected = torch.autograd.grad(shifted[output], (inputs, ours.weight), retain_graph=True)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("ansatz", "qubits"), [("ry", 3), ("random", 4), ("entangled", 4), ("entangled", 6)])
def test_gradcheck(ansatz: str, qubits: int) -> None:
    module = layer(qubits, ansatz, 2, rotations=6).double()

    def function(inputs: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"weight": weight}, (inputs,))

    assert torch.autograd.gradcheck(function, (angles(2, qubits, torch.float64), module.weight))


# every kind of gate before and behind every other, also twice on one qubit
ORDERS = [
    [Gate("RX", (0,), 0), Gate("RX", (0,), 1), Gate("RZ", (0,), 2), Gate("RX", (1,), 3), Gate("CNOT", (1, 0))],
    [Gate("CNOT", (0, 2)), Gate("RZ", (2,), 0), Gate("CNOT", (2, 0)), Gate("RY", (0,), 1), Gate("RZ", (0,), 2)],
    [Gate("RY", (2,), 0), Gate("CNOT", (2, 1)), Gate("RZ", (1,), 1), Gate("RX", (1,), 2), Gate("CNOT", (0, 1))],
    [Gate("RX", (1,), 0), Gate("CNOT", (1, 2)), Gate("RX", (2,), 1), Gate("CNOT", (2, 0))],  # fixed phases alone
    # a permutation between two mixing steps that is not its own inverse
    [Gate("RY", (0,), 0), Gate("RY", (1,), 1), Gate("CNOT", (0, 1)), Gate("CNOT", (1, 2)), Gate("RY", (2,), 2)],
    [Gate("CNOT", (0, 1)), Gate("CNOT", (1, 2)), Gate("RZ", (2,), 0)],  # no rotation that mixes states
]


@pytest.mark.parametrize("gates", ORDERS)
def test_normal_form_is_the_same_circuit(gates: list[Gate]) -> None:
    from qlcnet.quantum.ansatz import apply_ansatz

    @qml.qnode(qml.device("default.qubit", wires=3), interface="torch")
    def circuit(inputs: Tensor, weight: Tensor) -> list[Any]:
        _hadamard_and_encoding(inputs)
        apply_ansatz(gates, weight)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(3)]

    inputs = angles(4, 3, torch.float64)
    weight = torch.linspace(
        0.3, 2.0, sum(gate.angle is not None for gate in gates), dtype=torch.float64
    ).requires_grad_()
    compiled = CompiledAnsatz(gates, 3).double()
    upstream = torch.randn(4, 3, dtype=torch.float64)
    got, expected = compiled(inputs, weight), torch.stack(circuit(inputs, weight), dim=1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(got, (inputs, weight), upstream),
        torch.autograd.grad(expected, (inputs, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("qubits", [4, 7])
def test_sweep_back_equals_autograd(qubits: int) -> None:
    ours, inputs, upstream = layer(qubits, "entangled", 2).double(), angles(5, qubits, torch.float64), torch.ones(5, 1)
    assert ours.circuit is not None
    adjoint = torch.autograd.grad((ours(inputs) * upstream).sum(), (inputs, ours.weight))
    plain = torch.autograd.grad((ours.circuit.evaluate(inputs, ours.weight)[0] * upstream).sum(), (inputs, ours.weight))
    for one, other in zip(adjoint, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


NOISES = (
    Noise(depolarizing=0.1),
    Noise(amplitude_damping=0.2),
    Noise(phase_damping=0.3),
    Noise(readout_flip=0.05),
    Noise(depolarizing=0.05, amplitude_damping=0.1, phase_damping=0.2, readout_flip=0.03),
)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: ",".join(k for k, v in noise.model_dump().items() if v))
@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_noise_equals_default_mixed(ansatz: str, noise: Noise) -> None:
    ours = layer(3, ansatz, 2, rotations=4, noise=noise).double()
    assert ours.qnode().device.name == "default.mixed"
    inputs, upstream = angles(3, 3, torch.float64), torch.randn(3, 3, dtype=torch.float64)
    got, expected = ours(inputs), torch.stack(ours.qnode()(inputs, ours.weight), dim=1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(got, (inputs, ours.weight), upstream),
        torch.autograd.grad(expected, (inputs, ours.weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_noise_worked_by_hand() -> None:
    assert readout(Noise()) == (1.0, 0.0)
    assert readout(Noise(phase_damping=0.7)) == (1.0, 0.0)
    scale, offset = readout(Noise(depolarizing=0.75, amplitude_damping=0.5, readout_flip=0.25))
    assert (scale, offset) == pytest.approx((0.0, 0.25))  # fully mixed, half of it decays to |0>, a quarter misread


@pytest.mark.parametrize("qubits", [4, 6])
@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_exports_with_a_dynamic_batch(ansatz: str, qubits: int) -> None:
    module = nn.Sequential(nn.Linear(5, qubits), layer(qubits, ansatz, 2, noise=Noise(depolarizing=0.1))).eval()
    program = torch.export.export(module, (torch.randn(4, 5),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    inputs = torch.randn(9, 5)
    torch.testing.assert_close(program.module()(inputs), module(inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_state_dict_round_trip(ansatz: str) -> None:
    one, other = layer(4, ansatz, 2), QuantumLayer(4, ansatz, 2)
    inputs = angles(3, 4)
    assert not torch.equal(one(inputs), other(inputs))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(inputs), other(inputs))
    assert torch.equal(copy.deepcopy(one)(inputs), one(inputs))


def test_loaded_angles_meet_their_gates() -> None:
    stored, other = layer(4, "random", 2, seed=1), layer(4, "random", 2, seed=2)
    inputs = angles(3, 4)
    assert not torch.equal(stored(inputs), other(inputs))
    other.load_state_dict(stored.state_dict())
    assert torch.equal(stored(inputs), other(inputs))
    torch.testing.assert_close(
        torch.stack(other.qnode()(inputs, other.weight), dim=1).float(), stored(inputs), rtol=0, atol=1e-5
    )
    with pytest.raises(ValueError, match="the stored gates turn by 8 angles, this layer by 12"):
        layer(4, "random", 3).load_state_dict(stored.state_dict())


def test_start_comes_from_the_global_generator() -> None:
    weight = layer(8, "entangled", 4).weight
    assert torch.equal(weight, layer(8, "entangled", 4).weight)
    assert 0.0 <= weight.min() < 0.5
    assert 2 * math.pi - 0.5 < weight.max() <= 2 * math.pi


@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_precision(ansatz: str) -> None:
    single = layer(4, ansatz, 2, rotations=6)
    double = copy.deepcopy(single).double()
    inputs = angles(8, 4)
    expected = double(inputs.double())
    assert expected.dtype == torch.float64
    torch.testing.assert_close(single(inputs).double(), expected, rtol=0, atol=2e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(single(inputs), single(inputs.detach()))
        torch.testing.assert_close(single(inputs).double(), expected, rtol=0, atol=2e-6)
    with torch.no_grad():
        assert torch.equal(single(inputs), single(inputs).detach())


def test_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="qubits must be in 2 … 8, not 9"):
        QuantumLayer(9)
    with pytest.raises(ValueError, match="ansatz 'none' has nothing to train; choose one of ry, random, entangled"):
        QuantumLayer(4, "none")
    with pytest.raises(ValueError, match="layers must be at least 1, not 0"):
        QuantumLayer(4, "entangled", 0)
    with pytest.raises(ValueError, match=r"expected angles of shape \(batch, 4\), not \(3, 5\)"):
        QuantumLayer(4)(torch.zeros(3, 5))


@pytest.mark.parametrize(("ansatz", "qubits", "layers"), [("entangled", 4, 2), ("random", 4, 3), ("entangled", 6, 1)])
def test_without_entangling_every_output_depends_on_its_own_angle_alone(ansatz: str, qubits: int, layers: int) -> None:
    """The Jacobian is diagonal, which it is not with CNOTs; values and gradients are those of PennyLane's QNode."""
    ours = layer(qubits, ansatz, layers, rotations=9, entangling=False).double()
    inputs = angles(3, qubits, torch.float64)

    def jacobian(module: QuantumLayer) -> Tensor:
        """(sample, output, angle)."""
        return torch.autograd.functional.jacobian(lambda x: module(x).sum(0), inputs.detach()).permute(1, 0, 2)

    own = torch.eye(qubits, dtype=torch.bool)
    assert not jacobian(ours)[:, ~own].abs().gt(1e-12).any()
    assert jacobian(ours)[:, own].abs().max() > 0.1
    entangled = layer(qubits, ansatz, layers, rotations=9).double()
    assert jacobian(entangled)[:, ~own].abs().max() > 0.1
    assert entangled.weight.shape == ours.weight.shape
    assert torch.equal(entangled.weight, ours.weight), "the same start"

    node, upstream = ours.qnode(), torch.randn(3, qubits, dtype=torch.float64)
    gates = [qml.workflow.construct_tape(one.qnode())(inputs, one.weight).operations for one in (ours, entangled)]
    assert [(g.name, g.wires) for g in gates[0]] == [(g.name, g.wires) for g in gates[1] if g.name != "CNOT"]
    assert len(gates[0]) < len(gates[1])
    got, expected = ours(inputs), torch.stack(node(inputs, ours.weight), dim=1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(got, (inputs, ours.weight), upstream),
        torch.autograd.grad(expected, (inputs, ours.weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_without_entangling_the_gates_travel_with_the_weights() -> None:
    stored, other = (layer(4, "random", 2, seed=seed, entangling=False) for seed in (1, 2))
    inputs = angles(3, 4)
    other.load_state_dict(stored.state_dict())
    assert torch.equal(stored(inputs), other(inputs))


@pytest.mark.parametrize("ansatz", ANSAETZE)
def test_a_frozen_layer_trains_nothing_and_computes_the_same(ansatz: str) -> None:
    frozen, usual, inputs = layer(4, ansatz, 2).freeze(), layer(4, ansatz, 2), angles(3, 4)
    assert list(frozen.parameters()) == []
    assert torch.equal(frozen(inputs), usual(inputs))
    assert torch.equal(*[torch.autograd.grad(module(inputs).sum(), inputs)[0] for module in (frozen, usual)])
    usual.load_state_dict(frozen.state_dict())
    torch.testing.assert_close(
        torch.stack(frozen.qnode()(inputs, frozen.weight), dim=1).float(), frozen(inputs), rtol=0, atol=1e-5
    )
