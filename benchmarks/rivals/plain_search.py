"""The search of benchmarks/search.py as one would write it first: Optuna, one process, Lightning, all folds.

Run in the folder of a project: python plain_search.py TRIALS STARTED, which is when its caller began (seconds of Unix).
Images, folds, network, epochs and rates are those of params.yaml; timm layers as they come, a DataLoader, SGD of torch,
a checkpoint-free Trainer, the accuracy of the last epoch.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytorch_lightning as pl
import torch
import yaml
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from qlcnet.models.lcnet import build_lcnet

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")


class Net(pl.LightningModule):
    """LCNet, cross-entropy, sgd."""

    def __init__(self, rate: float, classes: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(build_lcnet(0.5, 1, "relu", strides), torch.nn.LazyLinear(classes))
        self.rate, self.right = rate, []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return cross_entropy(self.net(batch[0]), batch[1])

    def on_validation_epoch_start(self) -> None:
        self.right = []

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.right.append((self.net(batch[0]).argmax(1) == batch[1]).float())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.rate, momentum=0.9)


def main(trials: int, started: float) -> None:
    """Search; prints [seconds until the first trial begins, seconds a trial] as JSON."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    (task, about), tuning, training = next(iter(params["datasets"].items())), params["tuning"], params["training"]
    strides = tuple(params["backbones"]["lcnet_050"]["strides"])
    raw = Path("data/raw") / task
    images = torch.from_numpy(np.load(raw / "images.npy")).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(np.load(raw / "labels.npy").astype(np.int64))
    classes, batch = int(labels.max()) + 1, training["batch_size"]
    whole = StratifiedKFold(about["protocol"]["folds"], shuffle=True, random_state=42)
    outer = next(iter(whole.split(labels, labels)))[0]
    rates = tuning["space"]["training.learning_rate"]

    def objective(trial: optuna.Trial) -> float:
        rate, values = trial.suggest_float("rate", **rates), []
        inner = StratifiedKFold(tuning["folds"], shuffle=True, random_state=1)
        for train, validation in inner.split(outer, labels[outer]):
            sets = [TensorDataset(images[outer[rows]], labels[outer[rows]]) for rows in (train, validation)]
            net = Net(rate, classes, strides)
            net.net(images[:2])  # sizes of the last layer
            trainer = pl.Trainer(
                accelerator="cpu", max_epochs=training["epochs"], logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            )  # fmt: skip
            trainer.fit(net, DataLoader(sets[0], batch, shuffle=True, drop_last=True), DataLoader(sets[1], 256))
            values.append(float(torch.cat(net.right).mean()))
        return float(np.mean(values))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=42))
    begun = time.time()
    study.optimize(objective, trials)
    print(json.dumps([begun - started, (time.time() - begun) / trials]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), float(sys.argv[2]))
