"""The arrays of a task for its fits: memory-mapped, so that workers of one machine share the pages."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlcnet.config import Input
from qlcnet.data.batches import InputArray, PixelSums
from qlcnet.data.channel_card import ARRAY, ChannelCard, Evaluations
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.spec import DataPaths


@dataclass
class FitData:
    """The arrays of one task: images, stored channels by name, labels (N,), folds, class names.

    `evaluations`: of circuits, for each name of stored channels.
    """

    images: InputArray
    channels: dict[str, InputArray]
    labels: Tensor
    folds: FoldTable
    class_names: tuple[str, ...]
    evaluations: dict[str, Evaluations] = field(default_factory=dict)
    _statistics: dict[Input, PixelSums] = field(default_factory=dict, repr=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, to which all inputs are brought."""
        height, width = self.images.stored.shape[1:3]
        return int(height), int(width)

    def input(self, which: Input) -> InputArray:
        """The array behind one of a model's inputs. Raises ValueError for a channel that is not there."""
        if which.kind == "image":
            return self.images
        if which.kind == "grey":
            return InputArray("grey", self.images.stored, luma=self.images.stored.shape[3] == 3)
        array = self.channels[which.name]
        if which.channel is None:
            return array
        if which.channel >= array.channels:
            raise ValueError(f"input {str(which)!r}: {which.name} has the channels 0 to {array.channels - 1}")
        return replace(array, name=str(which), select=which.channel)

    def statistics(self, which: Input) -> PixelSums:
        """Per-image sums of an input, computed once a process."""
        if which not in self._statistics:
            self._statistics[which] = PixelSums.of(self.input(which))
        return self._statistics[which]

    def to(self, device: str) -> FitData:
        """The same data with images, channels and labels on `device`."""
        channels = {name: array.to(device) for name, array in self.channels.items()}
        labels = self.labels.to(device)
        return FitData(self.images.to(device), channels, labels, self.folds, self.class_names, self.evaluations)


def open_fit_data(paths: DataPaths, names: Collection[str]) -> FitData:
    """Arrays of a task with the stored channels of these names. Raises FileNotFoundError naming the stage to run."""
    for path, stage in (
        (paths.raw, "fetch"),
        (paths.folds, "split"),
        *((paths.quanvolved / name, "quanvolve") for name in names),
    ):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `qlcnet {stage} {paths.raw.name}` first, or `dvc repro`")
    cards = {name: ChannelCard.read(paths.quanvolved / name) for name in names}
    shape = tuple(about(paths.raw)["shape"])
    return FitData(
        InputArray("image", _mapped(paths.raw / "images.npy", shape, "fetch")),
        {name: _channels(paths.quanvolved / name, card) for name, card in cards.items()},
        torch.from_numpy(np.load(paths.raw / "labels.npy").astype(np.int64)),
        FoldTable.read(paths.folds),
        tuple(about(paths.raw)["class_names"]),
        {name: card.evaluations for name, card in cards.items()},
    )


def _channels(folder: Path, card: ChannelCard) -> InputArray:
    stored = _mapped(folder / ARRAY, card.shape, "quanvolve")
    return InputArray(folder.name, stored, card.decode.scale, card.decode.offset, shots=card.shots)


def about(raw: Path) -> dict[str, Any]:
    """about.json of an image set: title, licence, classes, digest."""
    return dict(json.loads((raw / "about.json").read_text(encoding="utf-8")))


def _mapped(path: Path, shape: tuple[int, ...], stage: str) -> torch.Tensor:
    """A stored array; `shape` is what its card says of it. Raises ValueError where it is another, or cut."""
    try:
        # "c": copy on write, so that torch takes it as writable although nobody writes and pages stay shared
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); run `qlcnet {stage}` of its task again") from None
    if array.shape != shape:
        raise ValueError(f"{path} holds {array.shape}, its card says {shape}; run `qlcnet {stage}` of its task again")
    return torch.from_numpy(array)
