"""LCNet against timm's own, bit by bit, where timm has the width."""

from __future__ import annotations

import pytest
import timm
import torch

from qlcnet.models.lcnet import EMBEDDING, build_lcnet

TIMM_WIDTHS = {"lcnet_035": 0.35, "lcnet_050": 0.5, "lcnet_075": 0.75, "lcnet_100": 1.0, "lcnet_150": 1.5}


@pytest.mark.parametrize("name", TIMM_WIDTHS)
def test_equal_to_timm(name: str) -> None:
    torch.manual_seed(3)
    ours = build_lcnet(TIMM_WIDTHS[name], 7)
    torch.manual_seed(3)
    theirs = timm.create_model(name, num_classes=0, in_chans=7)

    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert list(ours_state) == list(theirs_state)
    assert all(torch.equal(ours_state[key], theirs_state[key]) for key in ours_state)
    assert str(ours) == str(theirs)

    x = torch.randn(3, 7, 30, 28)
    assert torch.equal(ours(x), theirs(x))  # training mode: running statistics move alike
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("name", ["lcnet_050", "lcnet_100"])
def test_copied_weights_give_timms_output(name: str) -> None:
    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=0, in_chans=3).eval()
    ours = build_lcnet(TIMM_WIDTHS[name], 3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


def test_relu_is_timms_relu() -> None:
    torch.manual_seed(3)
    ours = build_lcnet(0.5, 3, activation="relu")
    torch.manual_seed(3)
    theirs = timm.create_model("lcnet_050", num_classes=0, act_layer="relu")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))
    assert not any(isinstance(module, torch.nn.Hardswish) for module in ours.modules())


@pytest.mark.parametrize(
    ("strides", "side"),
    [((2, 2, 2, 2, 2), 1), ((1, 1, 2, 2, 2), 4), ((1, 2, 2, 2, 2), 2), ((2, 2, 2, 2, 1), 2), ((1, 1, 1, 1, 1), 32)],
)
def test_strides(strides: tuple[int, ...], side: int) -> None:
    backbone = build_lcnet(0.35, 3, "relu", strides).eval()
    assert backbone.forward_features(torch.zeros(1, 3, 32, 32)).shape[2:] == (side, side)
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, EMBEDDING)


@pytest.mark.parametrize(("place", "channels"), enumerate([1, 16, 24, 48, 88]))  # input channels at width 0.35
def test_each_stride_has_its_layer(place: int, channels: int) -> None:
    strides = [1] * 5
    strides[place] = 2
    backbone = build_lcnet(0.35, 1, "relu", strides)
    convolutions = [module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [c.in_channels for c in convolutions if c.stride == (2, 2)] == [channels]


def test_width_2_doubles_every_channel_of_width_1() -> None:
    one, two = build_lcnet(1.0), build_lcnet(2.0)
    for (name, small), (_, large) in zip(one.named_modules(), two.named_modules(), strict=True):
        if isinstance(small, torch.nn.BatchNorm2d):
            assert large.num_features == 2 * small.num_features, name


@pytest.mark.parametrize("width", [0.34, 2.01, 0.0])
def test_width_out_of_range(width: float) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.35 to 2\.0"):
        build_lcnet(width)


def test_five_strides() -> None:
    with pytest.raises(ValueError, match="expected five"):
        build_lcnet(0.5, strides=(2, 2, 2, 2))
