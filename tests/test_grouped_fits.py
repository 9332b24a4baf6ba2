"""Several fits in one pass (benchmarks/grouped_fits.py): each is the fit that it would be alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qlcnet.config import Backbone, Model
from qlcnet.models.network import InputChannels, build_network

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from grouped_fits import Grouped, Vmapped, losses_of

FITS, BATCH, CLASSES, SIDE = 2, 6, 3, 12
CLASSICAL: dict[str, Any] = {"inputs": ["image"], "head": "linear"}
HYBRID: dict[str, Any] = {"inputs": ["image", "quanv:ry"], "head": "quantum"}
TWIN: dict[str, Any] = {"inputs": ["image", "quanv:ry"], "head": "sine"}


def networks(model: dict[str, Any]) -> list[nn.Module]:
    """Float64 networks with different weights."""
    channels = [InputChannels("image", 3), InputChannels("quanv:ry", 4)][: len(model["inputs"])]
    found = []
    for seed in range(FITS):
        torch.manual_seed(seed)
        which = Model.model_validate(model)
        found.append(build_network(which, "lcnet_035", Backbone(activation="relu"), channels, CLASSES).double())
    return found


def train(network: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """The first gradients; the network has taken two steps of Adam then."""
    optimizer, gradients = torch.optim.Adam(network.parameters()), {}
    for step in range(2):
        optimizer.zero_grad()
        loss(network(x), y).backward()
        if not step:
            gradients = {
                name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None
            }
        optimizer.step()
    return gradients


@pytest.mark.parametrize(
    ("model", "group"),
    [(CLASSICAL, Grouped), (HYBRID, lambda fits: Grouped(fits, products=True)), (TWIN, Vmapped)],
)
def test_fits_in_one_pass_are_those_fits_alone(
    model: dict[str, Any], group: Callable[[Sequence[nn.Module]], Grouped | Vmapped]
) -> None:
    generator = torch.Generator().manual_seed(0)
    channels = 3 if model is CLASSICAL else 7
    x = torch.randn(FITS, BATCH, channels, SIDE, SIDE, generator=generator, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (FITS, BATCH), generator=generator)
    together = group(networks(model))
    gradients = train(together, x, y, lambda logits, y: losses_of(logits, y).sum())
    state = together.state_dict()
    for i, alone in enumerate(networks(model)):
        expected = train(alone, x[i], y[i], nn.functional.cross_entropy)
        found = together.of_fit(i, gradients)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            # 1e-12: biases before BatchNorm have gradient 0 but for rounding
            assert (found[name] - gradient).norm() <= 1e-9 * gradient.norm() + 1e-12, name
        weights = together.of_fit(i, state)
        for name, value in alone.state_dict().items():
            assert torch.allclose(weights[name].to(value), value, rtol=1e-7, atol=1e-9), name
        assert torch.allclose(together.eval()(x)[i], alone.eval()(x[i]), rtol=1e-7, atol=1e-9)


def test_what_has_no_grouped_form_is_refused() -> None:
    model = {"inputs": ["image", "quanv:ry"], "head": {"kind": "quantum", "ansatz": "entangled"}}
    with pytest.raises(ValueError, match="ansatz entangled has no grouped form"):
        Grouped(networks(model))
