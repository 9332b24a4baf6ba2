"""The arrays of a task for its fits: memory-mapped, so that workers of one machine share the pages."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlcnet.data.batches import InputArray, Statistics
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.spec import DataPaths


@dataclass
class FitData:
    """The arrays of one task: inputs by name (`image`, `quanv:<circuit>`), labels (N,), folds, class names.

    `patches` counts the circuit's positions on one image, by circuit; `circuit_runs` the QNode evaluations that the
    stored channels took.
    """

    arrays: dict[str, InputArray]
    labels: Tensor
    folds: FoldTable
    class_names: tuple[str, ...]
    patches: dict[str, int] = field(default_factory=dict)
    circuit_runs: dict[str, int] = field(default_factory=dict)
    _statistics: dict[str, Statistics] = field(default_factory=dict, repr=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, to which all inputs are brought."""
        height, width = self.arrays["image"].stored.shape[1:3]
        return int(height), int(width)

    def input(self, text: str) -> InputArray:
        """The array behind an entry of a model's `inputs`."""
        if text == "grey":
            image = self.arrays["image"]
            return InputArray("grey", image.stored, luma=image.stored.shape[3] == 3)
        name, _, channel = text.partition("/")
        array = self.arrays[name]
        if not channel:
            return array
        if int(channel) >= array.channels:
            raise ValueError(f"input {text!r}: {name} has channels 0 to {array.channels - 1}")
        return InputArray(text, array.stored, array.scale, array.offset, int(channel), shots=array.shots)

    def statistics(self, text: str) -> Statistics:
        """Per-image sums of an input, computed once a process."""
        if text not in self._statistics:
            self._statistics[text] = Statistics.of(self.input(text))
        return self._statistics[text]

    def to(self, device: str) -> FitData:
        """The same data with images and labels on `device`."""
        arrays = {name: array.to(device) for name, array in self.arrays.items()}
        return FitData(arrays, self.labels.to(device), self.folds, self.class_names, self.patches, self.circuit_runs)


def open_fit_data(paths: DataPaths, circuits: Collection[str]) -> FitData:
    """Arrays of a task with the channels of the named circuits. Raises FileNotFoundError naming the stage to run."""
    for path, stage in (
        (paths.raw, "fetch"),
        (paths.folds, "split"),
        *((paths.quanvolved / c, "quanvolve") for c in circuits),
    ):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `qlcnet {stage} {paths.raw.name}` first, or `dvc repro`")
    arrays = {"image": InputArray("image", _mapped(paths.raw / "images.npy"))}
    data = FitData(
        arrays,
        torch.from_numpy(np.load(paths.raw / "labels.npy").astype(np.int64)),
        FoldTable.read(paths.folds),
        tuple(about(paths.raw)["class_names"]),
    )
    for name in circuits:
        folder = paths.quanvolved / name
        card = json.loads((folder / "circuit.json").read_text(encoding="utf-8"))
        decode = card["decode"]
        stored = _mapped(folder / "channels.npy")
        arrays[f"quanv:{name}"] = InputArray(
            f"quanv:{name}", stored, decode["scale"], decode["offset"], shots=card.get("fresh_shots")
        )
        data.patches[name] = card["patches_per_image"]
        data.circuit_runs[name] = card["qnode_evaluations"]
    return data


def about(raw: Path) -> dict[str, Any]:
    """about.json of an image set: title, licence, classes, digest."""
    return dict(json.loads((raw / "about.json").read_text(encoding="utf-8")))


def _mapped(path: Path) -> torch.Tensor:
    # "c": copy on write, so that torch takes it as writable although nobody writes and pages stay shared
    return torch.from_numpy(np.load(path, mmap_mode="c"))
