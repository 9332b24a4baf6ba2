"""Backbones by name, and pretrained weights from the hub or a local file."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import adapt_input_conv

from qlcnet.config import Backbone
from qlcnet.models.backbones import BackboneError, build_backbone


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file such as the hub has: 3 channels, 1,000 classes, all BatchNorm buffers."""
    torch.manual_seed(7)
    path = tmp_path / "lcnet_050.safetensors"
    save_file(timm.create_model("lcnet_050").state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv3_small_100", "resnet10t", "lcnet_200"])
@pytest.mark.parametrize("channels", [1, 7])
def test_embedding_width(name: str, channels: int) -> None:
    backbone = build_backbone(name, Backbone(), channels)
    x = torch.randn(2, channels, 28, 28)
    assert backbone(x).shape == (2, backbone.num_features)


def test_a_timm_backbone_is_timms() -> None:
    torch.manual_seed(5)
    ours = build_backbone("mobilenetv3_small_050", Backbone(), 7)
    torch.manual_seed(5)
    theirs = timm.create_model("mobilenetv3_small_050", num_classes=0, in_chans=7)
    x = torch.randn(2, 7, 28, 28)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours(x), theirs(x))


def test_architecture_overrides_the_key() -> None:
    small = Backbone(architecture="lcnet_035", strides=(1, 1, 2, 2, 2), activation="hard_swish")
    backbone = build_backbone("small-image", small, 3)
    assert backbone.conv_stem.stride == (1, 1)
    assert backbone.conv_stem.out_channels == 8
    assert isinstance(backbone.act2, torch.nn.Hardswish)


@pytest.mark.parametrize(
    ("name", "backbone", "message"),
    [
        ("lcnett_050", Backbone(), r"backbones\.lcnett_050: 'lcnett_050' is no timm model; nearest: lcnet_050"),
        ("m", Backbone(architecture="mobilnetv3_small_050"), r"backbones\.m: .*nearest: mobilenetv3_small_050"),
        ("lcnet_300", Backbone(), "LCNet goes from lcnet_035 to lcnet_200"),
        ("resnet18", Backbone(activation="hard_swish"), r"backbones\.resnet18\.activation: for LCNet only"),
        ("resnet18", Backbone(strides=(1, 1, 2, 2, 2)), r"backbones\.resnet18\.strides: for LCNet only"),
        ("lcnet_200", Backbone(pretrained=True), r"backbones\.lcnet_200\.pretrained: .*no weights.*lcnet_050"),
        ("lcnet_150", Backbone(pretrained=True), r"backbones\.lcnet_150\.pretrained: .*no weights.*lcnet_100"),
        ("lcnet_050", Backbone(pretrained="there/is.none.safetensors"), "no such file"),
        ("lcnet_050", Backbone(pretrained="weights.pth"), "pickles are never loaded"),
    ],
)
def test_errors_name_the_key(name: str, backbone: Backbone, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        build_backbone(name, backbone, 7)


def test_file_with_as_many_channels(weights: Path) -> None:
    backbone = build_backbone("lcnet_050", Backbone(activation="hard_swish", pretrained=str(weights)), 3)
    given = load_file(weights)
    assert all(torch.equal(value, given[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("channels", [1, 4, 7])
def test_stem_of_three_channels_is_adapted(weights: Path, channels: int) -> None:
    backbone = build_backbone("lcnet_050", Backbone(pretrained=str(weights)), channels)
    stem = load_file(weights)["conv_stem.weight"]
    assert torch.equal(backbone.conv_stem.weight, adapt_input_conv(channels, stem))
    if channels > 1:  # by hand: the three repeat, scaled so that the response keeps its size
        for channel in range(channels):
            torch.testing.assert_close(backbone.conv_stem.weight[:, channel], stem[:, channel % 3] * 3 / channels)


def test_hub_and_file_load_the_same(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def hub(identifier: str, **_: object) -> dict[str, torch.Tensor]:
        asked.append(identifier)
        return load_file(weights)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", hub)
    from_hub = build_backbone("lcnet_050", Backbone(pretrained=True), 7).state_dict()
    assert "trained with hard_swish" in caplog.text
    from_file = build_backbone("lcnet_050", Backbone(pretrained=str(weights)), 7).state_dict()
    assert asked == ["timm/lcnet_050.ra2_in1k"]
    assert all(torch.equal(value, from_file[name]) for name, value in from_hub.items())


def test_file_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    torch.manual_seed(7)
    save_file(timm.create_model("resnet10t").state_dict(), path)
    backbone = build_backbone("resnet10t", Backbone(pretrained=str(path)), 7)  # a deep stem, and `fc` as classifier
    assert torch.equal(backbone.conv1[0].weight, adapt_input_conv(7, load_file(path)["conv1.0.weight"]))


def test_a_file_that_does_not_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"does not fit lcnet_075: .*bias is \(8,\), not \(16,\); .*and \d+ more"):
        build_backbone("lcnet_075", Backbone(pretrained=str(weights)), 3)

    holes = {name: value for name, value in load_file(weights).items() if name != "conv_head.bias"}
    save_file(holes, tmp_path / "holes.safetensors")
    with pytest.raises(BackboneError, match=r"does not fit lcnet_050: conv_head\.bias is missing"):
        build_backbone("lcnet_050", Backbone(pretrained=str(tmp_path / "holes.safetensors")), 3)

    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(BackboneError, match=r"not a readable \.safetensors file"):
        build_backbone("lcnet_050", Backbone(pretrained=str(tmp_path / "text.safetensors")), 3)


def test_offline_says_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(identifier: str, **_: object) -> dict[str, torch.Tensor]:
        raise ConnectionError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(BackboneError) as caught:
        build_backbone("narrow", Backbone(architecture="lcnet_050", pretrained=True), 7)
    message = str(caught.value)
    assert "https://huggingface.co/timm/lcnet_050.ra2_in1k/resolve/main/model.safetensors" in message
    assert "set backbones.narrow.pretrained to that path" in message
