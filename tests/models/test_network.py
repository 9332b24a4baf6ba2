"""Networks of every shape: inputs, fusions, heads, image sizes, and where their weights come from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qlcnet.config import HEADS, Backbone, Model
from qlcnet.models.network import InputChannels, Network, build_network

INPUTS = ("image", "quanv:ry")
CHANNELS = [InputChannels("image", 3), InputChannels("quanv:ry", 4)]


def network(
    head: str = "linear", fusion: str = "stacked", backbone: str = "lcnet_035", seed: int = 42, classes: int = 7
) -> Network:
    torch.manual_seed(seed)
    described = {"kind": head, "shots": 10} if head == "stochastic" else head
    model = Model.model_validate({"inputs": INPUTS, "fusion": fusion, "head": described})
    return build_network(model, backbone, Backbone(), CHANNELS, classes)


def images(batch: int = 4, size: int = 28) -> Tensor:
    return torch.randn(batch, 7, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fusion", ["stacked", "separate"])
def test_gradient_reaches_every_parameter(head: str, fusion: str) -> None:
    net = network(head, fusion)
    logits = net(images(16))
    assert logits.shape == (16, 7)
    torch.nn.functional.cross_entropy(logits, torch.arange(16) % 7).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", [8, 14, 28, 32, 33, 64])
@pytest.mark.parametrize("backbone", ["lcnet_050", "mobilenetv3_small_050"])
def test_image_sizes_and_two_samples(size: int, backbone: str) -> None:
    net = network("bottleneck", backbone=backbone)
    logits = net(images(2, size))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


def logits_of(net: Network) -> Tensor:
    torch.manual_seed(1)  # a stochastic head draws
    return net(images())


@pytest.mark.parametrize("head", HEADS)
def test_one_seed_one_network(head: str) -> None:
    first, again, other = network(head), network(head), network(head, seed=43)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(logits_of(first), logits_of(again))
    assert not torch.equal(first.backbones[0].conv_stem.weight, other.backbones[0].conv_stem.weight)


def test_models_that_differ_in_the_head_start_from_one_backbone() -> None:
    linear, quantum = network("linear"), network("quantum")
    for name, value in linear.backbones.state_dict().items():
        assert torch.equal(value, quantum.backbones.state_dict()[name]), name


def test_separate_gives_each_input_its_backbone() -> None:
    net = network("linear", "separate").eval()
    assert [b.conv_stem.in_channels for b in net.backbones] == [3, 4]
    assert net.head.in_features == 2 * 1280
    x = images()
    by_hand = torch.cat([net.backbones[0](x[:, :3]), net.backbones[1](x[:, 3:])], 1)
    assert torch.equal(net(x), net.head(by_hand))


def test_separate_fusion_of_five_inputs() -> None:
    """The reading of the paper's "3 + 4 = 5": the image and each quantum channel with a backbone of its own."""
    inputs = ("image", *(f"quanv:ry/{c}" for c in range(4)))
    channels = [InputChannels(text, 3 if text == "image" else 1) for text in inputs]
    net = build_network(Model(inputs=inputs, fusion="separate"), "lcnet_035", Backbone(), channels, 7)
    assert len(net.backbones) == 5
    assert net(images(2)).shape == (2, 7)


@pytest.mark.parametrize("fusion", ["stacked", "separate"])
def test_memory_layout_changes_nothing(fusion: str) -> None:
    net = network("linear", fusion).eval()
    x = images()
    expected = net(x)
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)


def test_separate_fusion_keeps_the_layout() -> None:
    seen: list[Tensor] = []
    net = network("linear", "separate")
    for backbone in net.backbones:
        backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(images().contiguous(memory_format=torch.channels_last))
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in seen)
    net(images())
    assert all(part.is_contiguous() for part in seen[2:])


def test_state_dict_names_are_timms() -> None:
    names = network().state_dict().keys()
    assert "backbones.0.blocks.5.0.se.conv_reduce.weight" in names
    assert "head.weight" in names
