"""Classical units in the place of a circuit: as many trained numbers, the functions that they say, their gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qlcnet.models.units import Perceptron, RandomFourier, Shots

SIZES = [(4, 4), (4, 3), (4, 10), (4, 20), (4, 21), (4, 48), (2, 5), (3, 1), (8, 24)]  # width, parameters


def drawn(batch: int = 5, width: int = 4, scale: float = 1.0) -> Tensor:
    return scale * (2 * torch.rand(batch, width, generator=torch.Generator().manual_seed(3)) - 1)


def trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("width", "parameters"), SIZES)
def test_exactly_so_many_numbers_are_trained(width: int, parameters: int) -> None:
    """And each of them changes the values, so that none is trained in name alone."""
    for unit in (Perceptron(width, parameters), RandomFourier(width, parameters, seed=1)):
        assert trained(unit) == parameters
        values = unit(drawn(width=width))
        assert values.shape == (5, width)
        (gradient,) = torch.autograd.grad(values.square().sum(), unit.weight)
        assert (gradient != 0).all()


# --- perceptron -----------------------------------------------------------------------------------------------------


def test_a_perceptron_worked_by_hand() -> None:
    """Width 2, 9 numbers: a whole layer of 6 (biases, then weights to the neighbour, then own), and 3 of the next."""
    unit = Perceptron(2, 9)
    weight = torch.tensor([0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, -0.8, 0.9])
    unit.weight.data = weight
    x = torch.tensor([[0.5, -1.0]])
    b, across, own = weight[:2], weight[2:4], weight[4:6]
    hidden = torch.tanh(
        torch.stack(
            [
                x[:, 0] + b[0] + own[0] * x[:, 0] + across[0] * x[:, 1],
                x[:, 1] + b[1] + own[1] * x[:, 1] + across[1] * x[:, 0],
            ],
            dim=1,
        )
    )
    expected = torch.tanh(
        torch.stack([hidden[:, 0] + 0.7 + 0.9 * hidden[:, 1], hidden[:, 1] - 0.8], dim=1)
    )  # of the second layer's weights the first alone
    torch.testing.assert_close(unit(x), expected)


def test_biases_alone_are_the_perceptron_of_the_papers_circuit() -> None:
    """The short way that this case takes gives what the long one gives."""
    unit, x = Perceptron(4, 4), drawn()
    torch.testing.assert_close(unit(x), torch.tanh(x + unit.weight))
    unit.biases_alone = False
    torch.testing.assert_close(unit(x), torch.tanh(x + unit.weight))


@pytest.mark.parametrize(("width", "parameters"), SIZES)
def test_places_are_taken_once_and_in_order(width: int, parameters: int) -> None:
    places = Perceptron(width, parameters).places.tolist()
    assert len(set(places)) == len(places) == parameters
    layer = [place // (width * (width + 1)) for place in places]
    assert layer == sorted(layer)
    assert layer[-1] == (parameters - 1) // (width * (width + 1))
    assert places[:width] == list(range(min(width, parameters))), "biases first"


def test_a_perceptron_starts_within_its_limits() -> None:
    weights = torch.cat([Perceptron(4, 48).weight.detach() for _ in range(50)])
    assert 0.48 < weights.abs().max() <= 0.5
    assert float(weights.mean()) == pytest.approx(0.0, abs=4 * 0.29 / math.sqrt(2400))


# --- random Fourier features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "parameters"), [(2, 2), (3, 7), (4, 4), (4, 24)])
def test_a_fourier_unit_has_degree_one_in_each_angle(width: int, parameters: int) -> None:
    """On a grid of 5 angles a side, which tells frequencies to 2 apart: nothing above 1, and no constant."""
    unit = RandomFourier(width, parameters, seed=2).double()
    side = torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5
    grid = torch.tensor(list(itertools.product(side.tolist(), repeat=width)), dtype=torch.float64)
    values = unit(grid).detach().numpy().reshape(*[5] * width, width)
    spectrum = np.abs(np.fft.fftn(values, axes=range(width))) / 5**width
    high = np.zeros([5] * width, bool)
    for axis in range(width):
        np.moveaxis(high, axis, 0)[2:4] = True  # frequencies 2 and -2
    assert spectrum[high].max() < 1e-7
    assert spectrum[(0,) * width].max() < 1e-7
    occurring = (spectrum > 1e-6).sum(axis=tuple(range(width)))
    terms = [math.ceil((parameters - i) / width) for i in range(width)]
    assert all(2 <= found <= 2 * most for found, most in zip(occurring.tolist(), terms, strict=True))


def test_a_fourier_unit_is_the_sum_that_it_says() -> None:
    unit, angles = RandomFourier(3, 8, seed=5), drawn(width=3, scale=math.pi)
    assert set(unit.frequencies.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert (unit.frequencies.abs().sum(0) > 0).all()
    assert ((unit.phases >= 0) & (unit.phases < 2 * math.pi)).all()
    expected = torch.zeros(5, 3)
    for k in range(8):
        expected[:, k % 3] += unit.weight[k] * torch.cos(angles @ unit.frequencies[:, k] + unit.phases[k])
    torch.testing.assert_close(unit(angles), expected)


def test_one_term_each_takes_a_shorter_way_to_the_same_values() -> None:
    unit, angles = RandomFourier(4, 4, seed=5), drawn(scale=math.pi)
    short = unit(angles)
    unit.one_each = False
    torch.testing.assert_close(unit(angles), short)


def test_frequencies_and_phases_are_not_trained_and_travel_with_the_weights() -> None:
    stored, other = RandomFourier(4, 12, seed=1), RandomFourier(4, 12, seed=2)
    assert [name for name, _ in stored.named_parameters()] == ["weight"]
    assert set(stored.state_dict()) == {"weight", "frequencies", "phases"}
    angles = drawn(scale=math.pi)
    assert not torch.equal(stored(angles), other(angles))
    other.load_state_dict(stored.state_dict())
    assert torch.equal(stored(angles), other(angles))


def test_frequencies_come_from_the_seed_and_weights_from_the_global_generator() -> None:
    torch.manual_seed(1)
    one, two = RandomFourier(4, 12, seed=1), RandomFourier(4, 12, seed=1)
    assert torch.equal(one.frequencies, two.frequencies)
    assert torch.equal(one.phases, two.phases)
    assert not torch.equal(one.weight, two.weight)
    many = RandomFourier(2, 4000, seed=1).frequencies  # 8 frequencies alike often
    _, counts = many.unique(dim=1, return_counts=True)
    assert counts.tolist() == pytest.approx([500] * 8, abs=4 * math.sqrt(500 * 7 / 8))


# --- shots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [1, 7, 100])
def test_shots_are_means_of_so_many_draws(shots: int) -> None:
    """On the grid of possible means, right in mean and in variance, (1 - v^2) / shots; each value has its own draws."""
    torch.manual_seed(4)
    values = torch.tensor([-1.0, -0.7, 0.0, 0.25, 1.0]).expand(20_000, 5)
    measured = Shots(shots).train()(values)
    counts = (measured + 1) / 2 * shots
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-4)
    assert counts.min() >= -1e-4
    assert counts.max() <= shots + 1e-4
    variance = (1 - values[0] ** 2) / shots
    torch.testing.assert_close(measured.mean(0), values[0], rtol=0, atol=4 / math.sqrt(20_000 * shots) + 1e-6)
    torch.testing.assert_close(measured.var(0), variance, rtol=0.06, atol=1e-6)
    assert abs(float(torch.corrcoef(measured[:, 1:4].T)[0, 1])) < 4 / math.sqrt(20_000)


def test_the_gradient_is_that_without_draws() -> None:
    values = drawn().requires_grad_()
    upstream = drawn(scale=3.0)
    (gradient,) = torch.autograd.grad(Shots(10).train()(values), values, upstream)
    assert torch.equal(gradient, upstream)


def test_predictions_are_expectations() -> None:
    values = drawn()
    assert Shots(10).eval()(values) is values
    layer = Shots(10).train()
    assert not torch.equal(layer(values), layer(values)), "drawn again in every step"
    torch.manual_seed(1)
    first = layer(values)
    torch.manual_seed(1)
    assert torch.equal(layer(values), first)


def test_values_beyond_one_by_rounding_can_be_drawn() -> None:
    values = torch.tensor([[1.0000002, -1.0000002]])
    torch.testing.assert_close(Shots(9).train()(values), torch.tensor([[1.0, -1.0]]), rtol=0, atol=1e-6)
