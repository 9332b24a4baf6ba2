"""Fit one fold: a pure function from a specification and arrays to predictions, history and weights.

Imports torch, Lightning, timm, torchmetrics and numpy alone (test_fit_imports_only_the_core), so that a worker needs
neither MLflow nor DVC nor PennyLane.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from qlcnet.config import Training
from qlcnet.data.batches import Batches, InputArray, Statistics, stream
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.models.counts import count_parameters, multiply_adds
from qlcnet.models.epoch_metrics import Scored
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.heads import hardware_evaluations
from qlcnet.models.module import Classifier
from qlcnet.models.network import InputChannels, build_network

PREDICT_BATCH = 256  # images; larger gains nothing on one core
PREDICT_POSITIONS = PREDICT_BATCH * 32 * 32  # fewer of larger images: 256 of 224 px would take gigabytes
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
VALIDATION, TEST = 0, 1  # `part` of a prediction

OnEpoch = Callable[[Mapping[str, float]], None]


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
        """Height and width of the images, to which all inputs are brought (as study.workload counts networks)."""
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


def fit_fold(spec: FitSpec, data: FitData, on_epoch: OnEpoch | None = None) -> FitResult:
    """Train `spec` on its fold's training part and predict the rest with the weights after the last epoch."""
    started = time.perf_counter()
    _be_quiet_and_exact()
    if spec.device != "cpu":
        data = _on_device(data, spec.device)
    classes = len(data.class_names)
    split = data.folds.split(spec.repeat, spec.fold)
    inputs = [data.input(text) for text in spec.model.inputs]
    means, sds = zip(*(data.statistics(text).normalisation(split.train) for text in spec.model.inputs), strict=True)
    mean, sd = np.concatenate(means), np.concatenate(sds)

    training = spec.training
    common: dict[str, Any] = {"mean": mean, "sd": sd, "input_size": training.input_size, "size": data.image_size}
    train = Batches(
        inputs,
        data.labels,
        split.train,
        training.batch_size,
        augmentation=training.augmentation,
        shuffle_seed=stream(spec.seed, "order", spec.repeat, spec.fold),  # shared by all models of a fold: paired
        **common,
    )
    side = (training.input_size, training.input_size) if training.input_size else data.image_size
    validation, test = (
        Batches(inputs, data.labels, rows, predict_batch(*side), **common) for rows in (split.validation, split.test)
    )

    torch.manual_seed(stream(spec.seed, "weights", spec.repeat, spec.fold))
    channels = [InputChannels(array.name, array.channels) for array in inputs]
    network: torch.nn.Module = build_network(spec.model, spec.backbone_name, spec.backbone, channels, classes)
    shape = (sum(c.channels for c in channels), *side)
    parameters, operations = count_parameters(network), multiply_adds(network, shape)
    network = network.to(memory_format=torch.channels_last)
    if spec.device == "cpu":
        network = accelerate(network, shape, training.batch_size)

    module = Classifier(
        network,
        training,
        classes,
        class_weights=_class_weights(data.labels[torch.from_numpy(split.train)], classes, training),
        steps_per_epoch=len(train),
    )
    _fit(module, train, validation, spec, on_epoch)

    predictions = _predictions(module, {VALIDATION: validation, TEST: test})
    facts = {
        "normalisation": {"channels": [c.text for c in channels], "mean": mean.tolist(), "sd": sd.tolist()},
        "parameters": parameters,
        "multiply_adds": operations,
        "circuit_evaluations": _circuit_evaluations(
            spec, data, len(split.train), len(split.validation), len(split.test)
        ),
        "images": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "input_shape": list(shape),
    }
    weights = {name: value.detach().cpu().contiguous().numpy() for name, value in network.state_dict().items()}
    return FitResult(predictions, module.history, weights, facts, time.perf_counter() - started)


def predict_batch(height: int, width: int) -> int:
    """How many images of so many pixels are predicted at a time."""
    return max(16, min(PREDICT_BATCH, PREDICT_POSITIONS // (height * width)))


class _Epochs(pl.Callback):
    """Hands each finished epoch's metrics on."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Called after the validation of the epoch, when its row of the history is whole."""
        assert isinstance(module, Classifier)
        self.on_epoch(module.history[-1])


def _fit(module: Classifier, train: Batches, validation: Batches, spec: FitSpec, on_epoch: OnEpoch | None) -> None:
    trainer = pl.Trainer(
        accelerator="cpu" if spec.device == "cpu" else "gpu",
        devices=1,
        precision="bf16-mixed" if spec.training.precision == "bfloat16" else "32-true",
        max_epochs=spec.training.epochs,
        callbacks=[_Epochs(on_epoch)] if on_epoch else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=True,
    )
    trainer.fit(module, train, validation)


@torch.inference_mode()
def _predictions(module: Classifier, parts: Mapping[int, Batches]) -> dict[str, np.ndarray]:
    # Lightning leaves a network that it trained on an accelerator on the CPU
    module.eval().to(parts[VALIDATION].labels.device)
    columns: dict[str, list[np.ndarray]] = {"index": [], "target": [], "part": [], "probabilities": []}
    scored = Scored()
    for part, batches in parts.items():
        if not len(batches.rows):
            continue
        for x, y in batches:
            scored.add(module.network(x), y)
        logits, targets = scored.take()
        columns["index"].append(batches.rows.astype(np.int64))
        columns["target"].append(targets.cpu().numpy().copy())
        columns["part"].append(np.full(len(batches.rows), part, np.uint8))
        columns["probabilities"].append(logits.softmax(1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in columns.items()}


def _class_weights(labels: Tensor, classes: int, training: Training) -> Tensor | None:
    if training.class_weights == "none":
        return None
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp(min=1).float()
    return len(labels) / (classes * counts)


def _circuit_evaluations(spec: FitSpec, data: FitData, train: int, validation: int, test: int) -> dict[str, int]:
    """Evaluations of quantum circuits: as executed here, and what hardware would have needed for the same fit."""
    images = train + validation + test
    epochs = spec.training.epochs
    quanvolution = sum(data.patches[name] for name in spec.model.circuits) * images
    head = hardware_evaluations(spec.model.head, train * epochs, validation * (epochs + 1) + test)
    return {
        "executed": sum(data.circuit_runs[name] for name in spec.model.circuits),
        "hardware_quanvolution": quanvolution,
        "hardware_head": head,
    }


_device_data: dict[str, tuple[FitData, FitData]] = {}  # device -> the data, and its copy there


def _on_device(data: FitData, device: str) -> FitData:
    """`data` on the accelerator, copied once for all fits in a row that read it."""
    original, copy = _device_data.get(device, (None, None))
    if copy is None or original is not data:
        _device_data.pop(device, None)  # frees the former copy first
        original = copy = None
        copy = data.to(device)
        _device_data[device] = (data, copy)
    return copy


def _be_quiet_and_exact() -> None:
    """One thread, memory kept, no Lightning advertisements, and no warning about a loader without worker processes."""
    torch.set_num_threads(1)
    # subnormal numbers cost up to 100 times as much; Adam's moments reach them in dead channels
    torch.set_flush_denormal(True)
    # `deterministic` would fill new tensors with NaN, to make reads of unwritten memory show; nothing here reads any
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning.*")
    warnings.filterwarnings("ignore", message=".*NumPy array is not writable.*")


def _keep_freed_memory() -> None:
    """Tell glibc not to give freed memory back to the kernel: a step frees and takes the same buffers again.

    Without it a step of lcnet_050 causes 1,000 page faults (plain timm) to 25,000, with it about 10: the kernel
    clearing pages costs more than the arithmetic. Elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((M_TRIM_THRESHOLD, 1 << 30), (M_MMAP_THRESHOLD, 1 << 30), (M_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)
