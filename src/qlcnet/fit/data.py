"""Opens the arrays of a task for its fits: memory-mapped, so that workers of one machine share the pages."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qlcnet.data.batches import InputArray
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.fitting import FitData
from qlcnet.fit.spec import DataPaths


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
