"""A fit before it runs: its network with its first weights, and the batches that it trains on and predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qlcnet.config import Backbone, Input, Model, Training
from qlcnet.data.batches import Batches
from qlcnet.data.batching import predict_batch
from qlcnet.fit.data import FitData
from qlcnet.fit.identity import seeds_of
from qlcnet.fit.spec import FitSpec
from qlcnet.models.counts import count_parameters, multiply_adds
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.heads import hardware_evaluations
from qlcnet.models.module import Classifier
from qlcnet.models.network import InputChannels, build_network


@dataclass
class Prepared:
    """What `fitting.fit` trains. `facts`: what config.json says of the fit beside its identity."""

    module: Classifier
    train: Batches
    validation: Batches
    test: Batches
    facts: dict[str, Any]


def prepare(spec: FitSpec, data: FitData) -> Prepared:
    """The network of `spec` and its batches, from `data` alone; draws from torch's generator, which it seeds."""
    split = data.folds.split(spec.repeat, spec.fold)
    means, sds = zip(*(data.statistics(one).normalisation(split.train) for one in spec.model.inputs), strict=True)
    mean, sd = np.concatenate(means), np.concatenate(sds)
    seeds = seeds_of(spec.seed, spec.repeat, spec.fold, spec.model.replicate)
    training, classes = spec.training, len(data.class_names)
    inputs = spec.model.inputs
    # one order for all models of a fold: they are paired
    train = batches_of(data, inputs, training, split.train, mean, sd, shuffle_seed=seeds["order"])
    validation, test = (batches_of(data, inputs, training, rows, mean, sd) for rows in (split.validation, split.test))

    torch.manual_seed(seeds["weights"])
    channels = [array.channels for array in train.inputs]
    network: nn.Module = network_of(spec.backbone_name, spec.backbone, spec.model, channels, classes)
    shape = (sum(channels), *input_side(training, data.image_size))
    parameters, operations = count_parameters(network), multiply_adds(network, shape)
    module = Classifier(
        made_ready(network, shape, training.batch_size, spec.device),
        training,
        classes,
        class_weights=_class_weights(data.labels[torch.from_numpy(split.train)], classes, training),
        steps_per_epoch=len(train),
    )
    images = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    facts = {
        "normalisation": {"channels": channels, "mean": mean.tolist(), "sd": sd.tolist()},
        "parameters": parameters,
        "multiply_adds": operations,
        "circuit_evaluations": _circuit_evaluations(spec, data, **images),
        "images": images,
        "input_shape": list(shape),
    }
    return Prepared(module, train, validation, test, facts)


def batches_of(
    data: FitData,
    inputs: Sequence[Input],
    training: Training,
    rows: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    shuffle_seed: int | None = None,
) -> Batches:
    """Images `rows` with these inputs; with `shuffle_seed` to train on (shuffled, augmented), else to predict."""
    return Batches(
        [data.input(one) for one in inputs],
        data.labels,
        rows,
        predict_batch(*input_side(training, data.image_size)) if shuffle_seed is None else training.batch_size,
        mean=mean,
        sd=sd,
        input_size=training.input_size,
        size=data.image_size,
        augmentation=None if shuffle_seed is None else training.augmentation,
        shuffle_seed=shuffle_seed,
    )


def network_of(name: str, backbone: Backbone, model: Model, channels: Sequence[int], classes: int) -> nn.Module:
    """The network with weights from torch's generator, as its layers define it. `channels`: of each input."""
    return build_network(model, name, backbone, [InputChannels("", count) for count in channels], classes)


def made_ready(network: nn.Module, shape: tuple[int, int, int], batch_size: int, device: str) -> nn.Module:
    """The same network, in the memory layout and with the layers that run fastest on `device` for inputs of `shape`."""
    network = network.to(memory_format=torch.channels_last)
    return accelerate(network, shape, batch_size) if device == "cpu" else network


def input_side(training: Training, image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what the network reads, in pixels."""
    return (training.input_size, training.input_size) if training.input_size else image_size


def _class_weights(labels: Tensor, classes: int, training: Training) -> Tensor | None:
    if training.class_weights == "none":
        return None
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp(min=1).float()
    return len(labels) / (classes * counts)


def _circuit_evaluations(spec: FitSpec, data: FitData, train: int, validation: int, test: int) -> dict[str, int]:
    """Evaluations of quantum circuits: as executed here, and what hardware would have needed for the same fit."""
    images = train + validation + test
    epochs = spec.training.epochs
    stored = [data.evaluations[name] for name in spec.model.stored]
    head = hardware_evaluations(spec.model.head, train * epochs, validation * (epochs + 1) + test)
    return {
        "executed": sum(one.executed for one in stored),
        "hardware_quanvolution": sum(one.hardware for one in stored) * images,
        "hardware_head": head,
    }
