"""A finished fit as a network again, from its fold folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from qlcnet.config import Backbone, Input, Model, Training
from qlcnet.data.batches import Batches
from qlcnet.fit.data import FitData
from qlcnet.fit.fold_folder import WEIGHTS, read_config
from qlcnet.fit.prepare import batches_of, made_ready, network_of


@dataclass(frozen=True)
class LoadedFit:
    """A network with the weights after its last epoch, in evaluation mode, and how its inputs are normalised.

    network: float32 (B, C, H, W), normalised, to logits (B, classes). mean, sd: float64 (C,), of the training part.
    """

    network: nn.Module
    mean: np.ndarray
    sd: np.ndarray
    training: Training
    config: dict[str, Any]

    def batches(self, data: FitData, inputs: Sequence[Input], rows: np.ndarray) -> Batches:
        """Images `rows` as the network reads them. `inputs`: those of the model; a fit keeps no names."""
        return batches_of(data, inputs, self.training, rows, self.mean, self.sd)


def load_fit(folder: Path, device: str = "cpu") -> LoadedFit:
    """The fit of a fold folder: on the device that it was fitted on its predictions are the stored ones, bit by bit.

    Raises FileNotFoundError where a file is missing, RuntimeError where the weights are those of another network.
    """
    config = read_config(folder)
    settings, of_inputs = config["settings"], config["normalisation"]
    name, classes = settings["backbone"]["architecture"], config["classes"]
    backbone = Backbone.model_validate({**settings["backbone"], "pretrained": False})
    model = Model.model_validate({"inputs": ["image"], **settings["model"]})  # what its inputs hold, not their names
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        network = network_of(name, backbone, model, of_inputs["channels"], classes)
    network.load_state_dict(load_file(folder / WEIGHTS))
    training = Training.model_validate(settings["training"])
    mean, sd = (np.asarray(of_inputs[key], np.float64) for key in ("mean", "sd"))
    channels, height, width = config["input_shape"]
    network = made_ready(network, (channels, height, width), training.batch_size, device).eval().to(device)
    return LoadedFit(network, mean, sd, training, config)
