"""Costs against numbers worked out elsewhere, and against layers counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qlcnet.config import Backbone, Model
from qlcnet.models.counts import count_parameters, multiply_adds
from qlcnet.models.network import InputChannels, build_network

CHANNELS = [InputChannels("image", 3), InputChannels("quanv:ry", 4)]
MODEL = Model(inputs=("image", "quanv:ry"))


@pytest.mark.parametrize(
    ("name", "parameters", "operations"),
    [
        ("lcnet_050", 609_111, 1_258_800),
        ("lcnet_075", 1_086_831, 2_482_760),
        ("lcnet_100", 1_682_343, 3_905_376),
        ("lcnet_150", 3_229_943, 7_948_688),
        ("lcnet_200", 5_251_911, 13_388_736),
    ],
)
def test_lcnet(name: str, parameters: int, operations: int) -> None:
    network = build_network(MODEL, name, Backbone(), CHANNELS, 7)
    assert count_parameters(network) == parameters
    assert multiply_adds(network, (7, 28, 28)) == operations


def test_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 4 x 4 maps: 16 positions x 8 x 27
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),  # 16 x 8 x 25
        nn.Flatten(),
        nn.Linear(128, 10),  # 1,280
    )
    assert multiply_adds(network, (3, 8, 8)) == 16 * 8 * 27 + 16 * 8 * 25 + 1280
    assert count_parameters(network) == (8 * 27 + 8) + 16 + (8 * 25 + 8) + 1290


def test_counting_changes_nothing() -> None:
    network = build_network(MODEL, "lcnet_035", Backbone(), CHANNELS, 7)
    network.backbones[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    multiply_adds(network, (7, 28, 28))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not network.backbones[0].training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_ran_otherwise_is_an_error() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.layer.weight

    with pytest.raises(RuntimeError, match="1 layers did not run as themselves, for example layer"):
        multiply_adds(Skips(), (4,))
