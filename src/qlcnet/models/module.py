"""How a network is trained: the LightningModule, its optimisers and schedules, and a row of metrics an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from qlcnet.config import Training
from qlcnet.models.epoch_metrics import Scored, epoch_metrics
from qlcnet.models.optimizer import QuickAdam

Batch = tuple[Tensor, Tensor]

# fused: a third of the time of the loop over tensors on one core, and one kernel on an accelerator
OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], Training], Optimizer]] = {
    "adam": lambda weights, how: QuickAdam(weights, how.learning_rate, weight_decay=how.weight_decay),
    "adamw": lambda weights, how: QuickAdam(
        weights, how.learning_rate, weight_decay=how.weight_decay, decoupled_weight_decay=True
    ),
    "sgd": lambda weights, how: SGD(
        weights, how.learning_rate, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
    ),
}

# of (optimizer, peak learning rate, steps of the whole fit), stepped once a batch; `constant` needs none
SCHEDULES: dict[str, Callable[[Optimizer, float, int], LRScheduler]] = {
    "cosine": lambda optimizer, peak, steps: CosineAnnealingLR(optimizer, T_max=steps),
    "one-cycle": lambda optimizer, peak, steps: OneCycleLR(optimizer, max_lr=peak, total_steps=steps),
}


class DivergedError(ValueError):
    """A fit whose network puts out what is no number; the message says where it began, and what helps."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"diverged {where}: the network's outputs are not finite. A lower training.learning_rate helps most often; "
            "if it does not, look at the images (are they all the same?)"
        )
        self.where = where

    def __reduce__(self) -> tuple[type[DivergedError], tuple[str]]:
        return DivergedError, (self.where,)


class Classifier(pl.LightningModule):
    """Fits `network` to batches (x float32 (B, C, H, W), y int64 (B,)) as `training` says, by cross-entropy.

    `class_weights` (classes,) weigh the loss that is minimised, not the one that is reported; `steps_per_epoch` is the
    number of training batches. `history` gets one dict an epoch: `epoch` (from 0), `train_<metric>`, `learning_rate`
    (of the epoch's last step) and, where there are validation batches, `val_<metric>`; the metrics are those of
    epoch_metrics. A row is whole before any callback's on_train_epoch_end. Raises DivergedError at the end of an epoch
    whose outputs are not finite.

    The training metrics come from the logits that the training batches had when they were trained on: augmented
    images, BatchNorm in training mode, weights that change within the epoch. They cost no second pass, and are no
    estimate of what the finished weights do on the training part.

    Optimisation is manual and past Lightning's optimizer wrapper: Lightning then adds 0.28 ms of CPU time to a step,
    not 0.54 ms (0.37 ms with the wrapper). The price is that `trainer.global_step` stays 0.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        training: Training,
        classes: int,
        class_weights: Tensor | None = None,
        *,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.how = training  # nn.Module has a `training` of its own
        self.classes = classes
        self.steps_per_epoch = steps_per_epoch
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.history: list[dict[str, float]] = []
        self._scored = Scored()  # the running epoch's batches

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of x (B, C, H, W)."""
        return self.network(x)

    def configure_optimizers(self) -> Any:
        """The optimiser of `training.optimizer` and, unless it is constant, its schedule."""
        optimizer = OPTIMIZERS[self.how.optimizer](self.network.parameters(), self.how)
        if self.how.schedule == "constant":
            return optimizer
        schedule = SCHEDULES[self.how.schedule](
            optimizer, self.how.learning_rate, self.how.epochs * self.steps_per_epoch
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_fit_start(self) -> None:
        """Looks up once what each step needs."""
        self.history.clear()
        self._scored.take()
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, Optimizer)
        self._optimizer, self._schedule = optimizer, schedule if isinstance(schedule, LRScheduler) else None

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the optimiser; the epoch's last one also adds the epoch's row to the history."""
        x, y = batch
        logits = self.network(x)
        loss = cross_entropy(logits, y, self.class_weights)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._scored.add(logits, y)
        if batch_idx + 1 == self.steps_per_epoch:
            self.history.append({"epoch": len(self.history), **self._metrics("train")})
            self.history[-1]["learning_rate"] = float(self._optimizer.param_groups[0]["lr"])
        if self._schedule is not None:
            self._schedule.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the logits."""
        x, y = batch
        self._scored.add(self.network(x), y)

    def on_validation_epoch_end(self) -> None:
        """Adds the validation metrics to the epoch's row."""
        metrics = self._metrics("val")
        if self.history:  # Lightning's sanity check validates before the first epoch
            self.history[-1].update(metrics)

    def _metrics(self, part: str) -> dict[str, float]:
        logits, targets = self._scored.take()
        wrong = (~torch.isfinite(logits)).any(1).nonzero()
        if len(wrong):
            batch = int(wrong[0]) // self.how.batch_size + 1
            epoch = len(self.history) + (part == "train")
            raise DivergedError(f"in epoch {epoch}" + (f", batch {batch}" if part == "train" else ", in validation"))
        metrics = epoch_metrics(logits, targets, self.classes)
        return {f"{part}_{name}": value for name, value in metrics.items()}
