"""The heads: what they share, the twins that must be equal, and the circuits that hardware would run."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from qlcnet.config import Head
from qlcnet.models.heads import (
    HEADS,
    NarrowHead,
    circuit_parameters,
    circuit_weights,
    encoding_angles,
    hardware_evaluations,
)
from qlcnet.models.units import Shots


def described(kind: str, **settings: object) -> Head:
    """A head; `stochastic` needs a number of shots."""
    return Head(kind=kind, **{**({"shots": 10} if kind == "stochastic" else {}), **settings})  # type: ignore[arg-type]


def head(first_weights: int = 5, /, kind: str = "linear", **settings: object) -> nn.Module:
    torch.manual_seed(first_weights)
    params = described(kind, **settings)
    return HEADS[params.kind](12, 7, params)


def test_every_kind_of_the_params_has_a_builder() -> None:
    assert set(HEADS) == set(get_args(Head.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", HEADS)
def test_logits_and_gradients(kind: str) -> None:
    module, embedding = head(kind=kind), torch.randn(6, 12, requires_grad=True)
    logits = module(embedding)
    assert logits.shape == (6, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in (embedding, *module.parameters()))


@pytest.mark.parametrize("layers", [1, 3])
def test_sine_is_the_quantum_heads_twin(layers: int) -> None:
    quantum, sine = head(kind="quantum", layers=layers), head(kind="sine", layers=layers)
    assert quantum.state_dict().keys() == sine.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(quantum.parameters(), sine.parameters(), strict=True))
    embedding = torch.randn(8, 12)
    outputs = [module(embedding) for module in (quantum, sine)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    gradients = [
        torch.autograd.grad(o.square().sum(), list(m.parameters()))
        for o, m in zip(outputs, (quantum, sine), strict=True)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_narrow_heads_share_neck_and_classifier() -> None:
    heads = [head(kind=kind) for kind in HEADS if kind != "linear"]
    for module in heads:
        assert isinstance(module, NarrowHead)
        assert torch.equal(module.reduce.weight, heads[0].reduce.weight)  # type: ignore[union-attr, arg-type]
        assert torch.equal(module.classify.weight, heads[0].classify.weight)  # type: ignore[union-attr, arg-type]


def test_neck_is_linear_batch_norm_tanh() -> None:
    module, embedding = head(kind="bottleneck"), torch.randn(16, 12)
    assert isinstance(module, NarrowHead)
    narrow = module.reduce(embedding)
    narrow = (narrow - narrow.mean(0)) / (narrow.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(module(embedding), module.classify(narrow.tanh()))
    assert len(list(module.normalise.parameters())) == 0


def test_without_normalisation() -> None:
    module, embedding = head(kind="sine", normalise=False, qubits=3), torch.randn(1, 12)
    assert isinstance(module, NarrowHead)
    angles = torch.pi * module.reduce(embedding).tanh()
    expected = module.classify(-torch.sin(angles + module.unit.weight))  # type: ignore[operator]
    torch.testing.assert_close(module(embedding), expected)


def test_settings_reach_the_circuit() -> None:
    module = head(kind="quantum", qubits=5, ansatz="entangled", layers=2, noise={"depolarizing": 0.3})
    assert isinstance(module, NarrowHead)
    assert module.unit.weight.shape == (2, 5, 3)
    assert "0.6 z" in repr(module.unit)
    gates = [
        HEADS["quantum"](12, 7, Head(kind="quantum", ansatz="random", rotations=9, seed=s)).state_dict() for s in (1, 2)
    ]
    assert gates[0]["unit.weight"].shape == (1, 9)
    assert not torch.equal(gates[0]["unit.gates"], gates[1]["unit.gates"])


def test_hardware_evaluations_worked_by_hand() -> None:
    paper = Head(kind="quantum")
    assert (circuit_parameters(paper), encoding_angles(paper)) == (4, 4)
    assert hardware_evaluations(paper, samples_trained=100, samples_predicted=10) == 100 * (1 + 2 * 4 + 2 * 4) + 10
    entangled = Head(kind="quantum", ansatz="entangled", layers=2, qubits=3)
    assert (circuit_parameters(entangled), encoding_angles(entangled)) == (18, 3)
    assert hardware_evaluations(entangled, 1, 0) == 43
    random = Head(kind="quantum", ansatz="random", layers=2, rotations=5)
    assert circuit_parameters(random) == 10
    for kind in ("linear", "bottleneck", "sine"):
        classical = Head(kind=kind)
        assert circuit_parameters(classical) == encoding_angles(classical) == 0
        assert hardware_evaluations(classical, 100, 10) == 0


@pytest.mark.parametrize("ansatz", ["ry", "random", "entangled"])
def test_counts_are_those_of_the_module(ansatz: str) -> None:
    settings = {"kind": "quantum", "ansatz": ansatz, "layers": 3, "rotations": 5}
    module = head(**settings)
    assert isinstance(module, NarrowHead)
    assert sum(p.numel() for p in module.unit.parameters()) == circuit_parameters(Head(**settings))  # type: ignore[arg-type]


# --- twins of a circuit ---------------------------------------------------------------------------------------------

CIRCUITS = [  # rotations that are no multiple of the qubits, and more numbers than one layer of a perceptron takes
    {"ansatz": "ry"},
    {"ansatz": "ry", "layers": 4, "qubits": 3},
    {"ansatz": "random", "rotations": 5},
    {"ansatz": "random", "rotations": 3, "layers": 3},
    {"ansatz": "random", "rotations": 64, "qubits": 2},
    {"ansatz": "entangled"},
    {"ansatz": "entangled", "layers": 3},
    {"ansatz": "entangled", "layers": 4, "qubits": 2},
]


def unit_of(module: nn.Module) -> nn.Module:
    assert isinstance(module, NarrowHead)
    return module.unit


def trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("settings", CIRCUITS, ids=str)
def test_twins_train_as_many_numbers_as_the_circuit(settings: dict[str, Any]) -> None:
    quantum = head(kind="quantum", **settings)
    for kind in ("mlp", "fourier", "stochastic"):
        twin = head(kind=kind, **settings)
        assert trained(unit_of(twin)) == trained(unit_of(quantum)) == circuit_weights(described(kind, **settings))
        assert trained(twin) == trained(quantum)
        embedding = torch.randn(6, 12)
        gradients = torch.autograd.grad(twin(embedding).square().sum(), list(unit_of(twin).parameters()))
        assert all(bool((gradient != 0).all()) for gradient in gradients)


def test_the_keys_of_more_numbers_than_a_perceptron_layer() -> None:
    sizes = {(circuit_weights(Head(kind="quantum", **s)), Head(**{"kind": "quantum", **s}).qubits) for s in CIRCUITS}
    assert any(numbers % qubits for numbers, qubits in sizes)
    assert any(numbers > qubits * (qubits + 1) for numbers, qubits in sizes)


@pytest.mark.parametrize("ansatz", ["ry", "random", "entangled"])
def test_a_frozen_circuit_is_the_quantum_heads_without_training(ansatz: str) -> None:
    settings = {"ansatz": ansatz, "layers": 2, "seed": 3, "noise": {"depolarizing": 0.1}}
    quantum, frozen = head(kind="quantum", **settings), head(kind="frozen-quantum", **settings)
    assert trained(unit_of(frozen)) == 0
    assert trained(quantum) - trained(frozen) == circuit_parameters(described("quantum", **settings)) > 0
    assert circuit_parameters(described("frozen-quantum", **settings)) == 0
    assert encoding_angles(described("frozen-quantum", **settings)) == 4
    embedding = torch.randn(6, 12, requires_grad=True)
    outputs = [module(embedding) for module in (quantum, frozen)]
    assert torch.equal(*outputs)
    assert torch.equal(*[torch.autograd.grad(o.square().sum(), embedding)[0] for o in outputs])
    assert quantum.state_dict().keys() == frozen.state_dict().keys(), "the angles are stored"
    other = head(7, kind="frozen-quantum", **settings)
    assert not torch.equal(other(embedding), frozen(embedding))
    other.load_state_dict(frozen.state_dict())
    assert torch.equal(other(embedding), frozen(embedding))


def test_training_leaves_frozen_angles_alone() -> None:
    frozen = head(kind="frozen-quantum", ansatz="entangled")
    before = unit_of(frozen).weight.clone()  # type: ignore[operator, union-attr]
    optimizer = torch.optim.Adam(frozen.parameters(), lr=0.1)
    frozen(torch.randn(6, 12)).square().sum().backward()
    optimizer.step()
    assert torch.equal(unit_of(frozen).weight, before)  # type: ignore[arg-type]


def test_hardware_runs_a_frozen_circuit_for_the_gradient_of_its_inputs_alone() -> None:
    frozen = Head(kind="frozen-quantum", ansatz="entangled")
    assert hardware_evaluations(frozen, samples_trained=100, samples_predicted=10) == 100 * (1 + 2 * 4) + 10
    for kind in ("mlp", "fourier", "stochastic"):
        assert hardware_evaluations(described(kind), 100, 10) == 0


@pytest.mark.parametrize("kind", ["quantum", "stochastic"])
def test_shots_are_drawn_in_training_alone(kind: str) -> None:
    """A stochastic head is the perceptron's with draws behind it; a quantum one is drawn alike."""
    sampled, exact = head(kind=kind, shots=10), head(kind="quantum" if kind == "quantum" else "mlp")
    embedding = torch.randn(6, 12)
    assert isinstance(unit_of(sampled)[1], Shots)  # type: ignore[index]
    assert not torch.equal(sampled(embedding), exact(embedding))
    assert torch.equal(sampled.eval()(embedding), exact.eval()(embedding))
    assert torch.equal(sampled(embedding), sampled(embedding))


def test_the_mean_over_many_draws_is_the_value_and_the_gradient_its_own() -> None:
    sampled, exact = head(kind="stochastic", shots=5), head(kind="mlp")
    embedding = torch.randn(4, 12)
    many = torch.stack([sampled(embedding) for _ in range(2000)]).detach()
    error = 5 * many.std(0) / math.sqrt(len(many))
    assert bool(((many.mean(0) - exact(embedding)).abs() < error).all())
    weights = [unit_of(sampled)[0].weight, unit_of(exact).weight]  # type: ignore[index]
    upstream = torch.randn(4, 7)
    one, other = (
        torch.autograd.grad(module(embedding), weight, upstream)[0]
        for module, weight in zip((sampled, exact), weights, strict=True)
    )
    torch.testing.assert_close(one, other)
