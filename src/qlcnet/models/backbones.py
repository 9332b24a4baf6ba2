"""A backbone by name: LCNet of any width, or any timm architecture, from scratch or with pretrained weights."""

from __future__ import annotations

import difflib
import logging
import re
from pathlib import Path
from typing import Any

import timm
from timm.models import adapt_input_conv, load_pretrained
from torch import Tensor, nn

from qlcnet.config import Backbone
from qlcnet.models.lcnet import NARROWEST, WIDEST, build_lcnet

log = logging.getLogger("qlcnet")

LCNET = re.compile(r"lcnet_(\d{3})(\.\w+)?")  # width in hundredths, and timm's tag of a set of weights
STEM_AND_CLASSIFIER = {"first_conv": "conv_stem", "classifier": "classifier"}  # timm's keys: their value for LCNet
LCNET_ONLY = ("activation", "strides")  # keys that no other architecture reads


class BackboneError(ValueError):
    """A backbone that cannot be built as asked; the message names the key and what is possible."""


def build_backbone(name: str, backbone: Backbone, in_channels: int) -> nn.Module:
    """The architecture `backbone.architecture` (None: `name`) without classifier: (B, in_channels, H, W) -> (B, E).

    Its attribute `num_features` is E, the width of the embedding. Weights that are not pretrained are drawn from
    torch's global generator. Raises BackboneError for an unknown name (with the nearest ones), for keys that the
    architecture does not read, and for pretrained weights that do not exist, cannot be reached or do not fit.
    """
    architecture = backbone.architecture or name
    key = f"backbones.{name}"
    if match := LCNET.fullmatch(architecture):
        width = int(match[1]) / 100
        if not NARROWEST <= width <= WIDEST:
            raise BackboneError(f"{key}: {architecture!r}: LCNet goes from lcnet_035 to lcnet_200")
        network: nn.Module = build_lcnet(width, in_channels, backbone.activation, backbone.strides)
    else:
        for field in LCNET_ONLY:
            if getattr(backbone, field) != Backbone.model_fields[field].default:
                raise BackboneError(f"{key}.{field}: for LCNet only; remove it, {architecture!r} has its own")
        if not timm.is_model(architecture):
            raise BackboneError(f"{key}: {architecture!r} is no timm model; nearest: {_nearest(architecture)}")
        network = timm.create_model(architecture, num_classes=0, in_chans=in_channels)
    # timm's `num_features` is the width of the last stage; with a head convolution the embedding is wider
    network.num_features = getattr(network, "head_hidden_size", None) or network.num_features

    if backbone.pretrained is True:
        if LCNET.fullmatch(architecture) and backbone.activation != "hard_swish":
            log.warning("%s: the pretrained weights were trained with hard_swish, not %s", key, backbone.activation)
        _load_from_hub(network, architecture, key, in_channels)
    elif backbone.pretrained:
        _load_from_file(network, architecture, Path(backbone.pretrained), key, in_channels)
    return network


def _nearest(architecture: str) -> str:
    known = [*timm.list_models(), *(f"lcnet_{width:03d}" for width in (35, 50, 75, 100, 150, 200))]
    return ", ".join(difflib.get_close_matches(architecture, dict.fromkeys(known), n=4)) or "none"


def _pretrained_cfg(architecture: str) -> dict[str, Any]:
    cfg = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    return cfg.to_dict() if cfg is not None else {}


def _load_from_hub(network: nn.Module, architecture: str, key: str, in_channels: int) -> None:
    cfg = _pretrained_cfg(architecture)
    if not cfg.get("hf_hub_id"):
        there = ", ".join(timm.list_pretrained(f"{architecture.split('_')[0]}_*")) or "none of this family"
        raise BackboneError(f"{key}.pretrained: timm has no weights for {architecture} (it has {there})")
    try:
        # num_classes=0: the checkpoint's classifier is left out; the stem is adapted to in_channels
        load_pretrained(network, pretrained_cfg=cfg, num_classes=0, in_chans=in_channels)
    except Exception as error:  # no network and not in the cache, most often; the hub's errors have no common class
        raise BackboneError(
            f"{key}.pretrained: the weights of {architecture} could not be had ({type(error).__name__}). Where there "
            f"is a network, fetch https://huggingface.co/{cfg['hf_hub_id']}/resolve/main/model.safetensors, put it for "
            f"example at weights/{architecture}.safetensors in the project, and set {key}.pretrained to that path"
        ) from error


def _load_from_file(network: nn.Module, architecture: str, path: Path, key: str, in_channels: int) -> None:
    """Every parameter and buffer of `network` from a .safetensors file in timm's names; its classifier is ignored."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise BackboneError(f"{key}.pretrained: {path}: expected a .safetensors file; pickles are never loaded")
    if not path.is_file():
        raise BackboneError(f"{key}.pretrained: {path}: no such file; put the weights of {architecture} there")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise BackboneError(f"{key}.pretrained: {path}: not a readable .safetensors file: {error}") from error

    own = network.state_dict()
    cfg = _pretrained_cfg(architecture)
    stems, classifiers = (_names(cfg.get(part), default) for part, default in STEM_AND_CLASSIFIER.items())
    left_out = tuple(f"{classifier}." for classifier in classifiers)
    weights = {name: value for name, value in weights.items() if not name.startswith(left_out)}
    for stem in stems:
        name = f"{stem}.weight"
        if name in weights and name in own and weights[name].shape[1] == 3:
            weights[name] = adapt_input_conv(in_channels, weights[name])
    # BatchNorm's count of batches has no effect on anything here, and old files lack it
    weights = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | weights
    problem = _difference(weights, own)
    if problem:
        raise BackboneError(f"{key}.pretrained: {path} does not fit {architecture}: {problem}")
    network.load_state_dict(weights)


def _names(value: Any, default: str) -> tuple[str, ...]:
    value = value or default
    return (value,) if isinstance(value, str) else tuple(value)


def _difference(given: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """What keeps `given` from filling `own`, with up to three examples; empty when nothing does."""
    missing = [f"{name} is missing" for name in own if name not in given]
    unknown = [f"{name} is unknown" for name in given if name not in own]
    shapes = [
        f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    found = [*missing, *unknown, *shapes]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
