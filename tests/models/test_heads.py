"""The heads: what they share, the twins that must be equal, and the circuits that hardware would run."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from qlcnet.config import Head
from qlcnet.models.heads import HEADS, NarrowHead, circuit_parameters, encoding_angles, hardware_evaluations


def described(kind: str, **settings: object) -> Head:
    """A head; `stochastic` needs a number of shots."""
    return Head(kind=kind, **({"shots": 10} if kind == "stochastic" else {}), **settings)  # type: ignore[arg-type]


def head(seed: int = 5, kind: str = "linear", **settings: object) -> nn.Module:
    torch.manual_seed(seed)
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
