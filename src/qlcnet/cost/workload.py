"""What a fit asks of a machine, in numbers that decide its time: the input of the cost model. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlcnet.config import Backbone, Model, Protocol, Source, Task, fingerprint
from qlcnet.data.batching import count_batches, count_evaluation_batches
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.stored import read_array
from qlcnet.whole import write_whole

if TYPE_CHECKING:
    from qlcnet.data.fold_table import FoldTable

CountNetworks = Callable[[list["NetworkKind"]], list["NetworkSize"]]  # builds them, which needs torch


@dataclass(frozen=True)
class TaskShape:
    """The sizes of a task's arrays and folds. rows: (train, validation, test) images of one fold; `images` in all."""

    images: int
    height: int
    width: int
    channels: int
    classes: int
    folds: int
    repeats: int
    rows: Mapping[tuple[int, int], tuple[int, int, int]]  # by (repeat, fold)

    @classmethod
    def of_files(cls, paths: DataPaths, table: FoldTable, classes: int) -> TaskShape:
        """As fetched and split."""
        images, height, width, channels = read_array(
            paths.raw / "images.npy", f"run `qlcnet fetch {paths.raw.name}`", "r"
        ).shape
        rows = {}
        for repeat in table.repeats:
            for fold in table.folds:
                split = table.split(repeat, fold)
                rows[repeat, fold] = (len(split.train), len(split.validation), len(split.test))
        return cls(images, height, width, channels, classes, len(table.folds), len(table.repeats), rows)

    @classmethod
    def expected(cls, task: Task) -> TaskShape | None:
        """From what is known of the source before it is fetched; None for own files, of which nothing is."""
        known = _known_source(task.source)
        if known is None:
            return None
        parts, side, channels, classes = known
        total = sum(parts)
        if task.images_per_class is not None:
            kept = min(1.0, task.images_per_class * classes / total)
            parts = (round(parts[0] * kept), round(parts[1] * kept), round(parts[2] * kept))
        folds, one = _expected_rows(parts, task.protocol)
        rows = {(repeat, fold): one for repeat in range(task.protocol.repeats) for fold in range(folds)}
        return cls(total, side, side, channels, classes, folds, task.protocol.repeats, rows)


def _known_source(source: Source) -> tuple[tuple[int, int, int], int, int, int] | None:
    """(train, val, test images), side in pixels, colour channels, classes."""
    if source.kind == "digits":
        return (1797, 0, 0), source.size, 1, 10
    if source.kind == "cifar10":
        return (50_000, 0, 10_000), 32, 3, 10
    if source.kind == "folder":
        return None
    from qlcnet.data.medmnist_info import entry_of

    # an own file that shares a MedMNIST set's classes is taken to be a version of it at 28 px
    name, side = (source.name, source.size) if source.kind == "medmnist" else (source.classes_of, 28)
    if name is None:
        return None
    entry = entry_of(name)
    n = entry["n_samples"]
    return (n["train"], n["val"], n["test"]), side, entry["n_channels"], len(entry["label"])


def _expected_rows(parts: tuple[int, int, int], protocol: Protocol) -> tuple[int, tuple[int, int, int]]:
    if protocol.kind == "official":
        return 1, parts
    test = parts[2] if protocol.kind == "train-cv" else 0
    pool = sum(parts) - test
    validation = round(pool / protocol.folds)
    return protocol.folds, (pool - validation, validation, test)


@dataclass(frozen=True)
class NetworkKind:
    """All that decides the size of a network."""

    backbone_name: str
    backbone: Backbone
    model: Model
    channels: tuple[int, ...]  # of each input
    height: int
    width: int
    classes: int

    @classmethod
    def of(cls, spec: FitSpec, shape: TaskShape, stored: Mapping[str, int]) -> NetworkKind:
        """The network of a fit. `stored`: how many channels there are of each name."""
        side = spec.training.input_size
        height, width = (side, side) if side else (shape.height, shape.width)
        channels = tuple(one.width(shape.channels, stored) for one in spec.model.inputs)
        backbone = spec.backbone.model_copy(update={"pretrained": False})
        model = spec.model.model_copy(update={"training": {}, "replicate": 0})  # decide no size
        return cls(spec.backbone_name, backbone, model, channels, height, width, shape.classes)

    @property
    def key(self) -> str:
        """Equal for equal networks."""
        return fingerprint(asdict(self) | {"backbone": self.backbone, "model": self.model})


@dataclass(frozen=True)
class NetworkSize:
    """Counts for one image: multiply-adds, values that layers put out; layers that run; parameters.

    `fault`: why the network cannot take images of this size; its counts are 0 then.
    """

    multiply_adds: int
    activations: int
    layers: int
    parameters: int
    fault: str = ""


@dataclass(frozen=True)
class Work:
    """One fit in numbers."""

    device: str
    steps: int  # optimiser steps
    evaluation_batches: int
    train_images: int  # over all epochs
    evaluated_images: int  # validated after each epoch and predicted at the end
    input_values: int  # of one image, all inputs
    size: NetworkSize

    @classmethod
    def of(cls, spec: FitSpec, shape: TaskShape, kind: NetworkKind, size: NetworkSize) -> Work:
        """The work of a fit."""
        train, validation, test = shape.rows[spec.repeat, spec.fold]
        epochs, batch = spec.training.epochs, spec.training.batch_size
        return cls(
            spec.device,
            count_batches(train, batch) * epochs,
            count_evaluation_batches(validation, test, epochs, kind.height, kind.width),
            train * epochs,
            validation * (epochs + 1) + test,
            sum(kind.channels) * kind.height * kind.width,
            size,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Work:
        """What `asdict` made, read back."""
        return cls(**{**value, "size": NetworkSize(**value["size"])})


def count_sizes(kinds: Collection[NetworkKind], cache: Path, count: CountNetworks) -> dict[str, NetworkSize]:
    """The size of each network by its key, from the file `cache`; `count` adds what it lacks."""
    try:
        known = {key: NetworkSize(**size) for key, size in json.loads(cache.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError):
        known = {}
    missing = list({kind.key: kind for kind in kinds if kind.key not in known}.values())
    if missing:
        known |= {kind.key: size for kind, size in zip(missing, count(missing), strict=True)}
        write_whole(cache, json.dumps({k: asdict(v) for k, v in known.items()}, indent=1, sort_keys=True) + "\n")
    return {kind.key: known[kind.key] for kind in kinds}
