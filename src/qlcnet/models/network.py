"""A model of params.yaml as one torch module: channels -> backbone(s) -> embedding -> head -> logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qlcnet.config import Backbone, Model
from qlcnet.models.backbones import build_backbone
from qlcnet.models.heads import HEADS


class InputChannels(NamedTuple):
    """An entry of a model's `inputs` and how many channels it brings, for example ("quanv:ry", 4)."""

    text: str
    channels: int


class Network(nn.Module):
    """Logits (B, classes) from all input channels (B, C, H, W), float32 and normalised.

    With one backbone it reads all channels; with several, each reads its own `channels`, in order, and their embeddings
    are concatenated. In training B must be at least 2, because the last maps can be 1x1 (BatchNorm).
    """

    def __init__(self, backbones: Sequence[nn.Module], head: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.head = head
        self.channels = tuple(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of x (B, sum of channels, H, W)."""
        if len(self.backbones) == 1:
            return self.head(self.backbones[0](x))
        # a slice of a channels_last tensor is in no layout that convolutions are fast on
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        parts = [part.contiguous(memory_format=layout) for part in x.split(self.channels, dim=1)]
        embeddings = [backbone(part) for backbone, part in zip(self.backbones, parts, strict=True)]
        return self.head(torch.cat(embeddings, 1))


def build_network(
    model: Model, backbone_name: str, backbone: Backbone, channels: Sequence[InputChannels], classes: int
) -> Network:
    """The network of `model` on `backbone`; set torch.manual_seed just before, all weights come from that generator.

    `channels` are the model's inputs in their listed order. Fusion `stacked` puts them into one backbone, `separate`
    gives each its own. Raises BackboneError where the backbone cannot be built.
    """
    counts = [entry.channels for entry in channels]
    if model.fusion == "stacked":
        counts = [sum(counts)]
    backbones = [build_backbone(backbone_name, backbone, count) for count in counts]
    embedding: int = sum(b.num_features for b in backbones)  # type: ignore[misc]
    head = HEADS[model.head.kind](embedding, classes, model.head)
    return Network(backbones, head, counts)
