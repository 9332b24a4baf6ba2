"""The LightningModule against a bare PyTorch loop, its history, schedules, optimisers and class weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qlcnet.config import Backbone, Model, Training
from qlcnet.models.epoch_metrics import epoch_metrics
from qlcnet.models.module import Classifier
from qlcnet.models.network import InputChannels, build_network

CLASSES, STEPS = 3, 4
LR = 3e-3


class Loader:
    """Batches of eight that hold their class in their brightness, the same in every epoch."""

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.batches = []
        for _ in range(steps):
            y = torch.randint(CLASSES, (8,), generator=generator)
            x = torch.randn(8, 2, 12, 12, generator=generator) + y.view(-1, 1, 1, 1)
            self.batches.append((x, y))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    )


def trainer(epochs: int, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(network: nn.Module, how: Training, validation: Loader | None = None, *callbacks: pl.Callback) -> Classifier:
    module = Classifier(network, how, CLASSES, steps_per_epoch=STEPS)
    trainer(how.epochs, *callbacks, num_sanity_val_steps=0).fit(module, Loader(1), validation)
    return module


def test_equal_to_a_bare_loop() -> None:
    """lcnet_035, hybrid inputs, Adam: 3 epochs, the same weights and training metrics bit by bit."""

    def lcnet() -> nn.Module:
        torch.manual_seed(0)
        channels = [InputChannels("image", 1), InputChannels("quanv:ry/0", 1)]
        model = Model(inputs=("image", "quanv:ry/0"))
        return build_network(model, "lcnet_035", Backbone(), channels, CLASSES)

    ours = lcnet()
    module = fit(ours, Training(epochs=3, learning_rate=LR), Loader(2))

    theirs = lcnet()
    optimizer = torch.optim.Adam(theirs.parameters(), LR, fused=True)
    for epoch in range(3):
        theirs.train()
        logits, targets = [], []
        for x, y in Loader(1):
            out = theirs(x)
            optimizer.zero_grad()
            cross_entropy(out, y).backward()
            optimizer.step()
            logits.append(out.detach())
            targets.append(y)
        row = module.history[epoch]
        for name, value in epoch_metrics(torch.cat(logits), torch.cat(targets), CLASSES).items():
            assert row[f"train_{name}"] == value, (epoch, name)
        theirs.eval()
        with torch.no_grad():
            outputs = torch.cat([theirs(x) for x, _ in Loader(2)])
        for name, value in epoch_metrics(outputs, torch.cat([y for _, y in Loader(2)]), CLASSES).items():
            assert row[f"val_{name}"] == pytest.approx(value, abs=1e-7), (epoch, name)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_row_of_history() -> None:
    module = fit(small_network(), Training(epochs=2), Loader(2))
    metrics = ["loss", "accuracy", "balanced_accuracy", "auc_macro", "auc_micro", "recall_0", "recall_1", "recall_2"]
    for epoch, row in enumerate(module.history):
        assert list(row) == [
            "epoch",
            *(f"train_{name}" for name in metrics),
            "learning_rate",
            *(f"val_{name}" for name in metrics),
        ]
        assert row["epoch"] == epoch
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in row.values())


def test_row_is_whole_when_callbacks_see_it() -> None:
    seen: list[set[str]] = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            seen.append(set(module.history[-1]))

    module = fit(small_network(), Training(epochs=2), Loader(2), Watch())
    assert seen == [set(row) for row in module.history]
    assert "val_auc_macro" in seen[0]


def test_without_validation() -> None:
    module = fit(small_network(), Training(epochs=2))
    assert len(module.history) == 2
    assert not any(name.startswith("val_") for name in module.history[0])


def test_a_second_fit_starts_a_new_history() -> None:
    module = fit(small_network(), Training(epochs=1))
    trainer(2).fit(module, Loader(1), Loader(2))  # with Lightning's sanity check
    assert [row["epoch"] for row in module.history] == [0, 1]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_learn(name: str) -> None:
    how = Training(epochs=12, optimizer=name, learning_rate=0.05, weight_decay=1e-3)
    history = fit(small_network(), how, Loader(2)).history
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert history[-1]["val_accuracy"] > 0.7


def test_optimizer_settings_arrive() -> None:
    how = Training(optimizer="sgd", learning_rate=0.01, weight_decay=0.002, momentum=0.7)
    group = Classifier(small_network(), how, CLASSES, steps_per_epoch=STEPS).configure_optimizers().param_groups[0]
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.01, 0.002, 0.7)
    for name in ("adam", "adamw"):
        how = Training(optimizer=name, learning_rate=0.01, weight_decay=0.002)
        optimizer = Classifier(small_network(), how, CLASSES, steps_per_epoch=STEPS).configure_optimizers()
        assert optimizer.defaults["decoupled_weight_decay"] == (name == "adamw")
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.01, 0.002)


def learning_rates(schedule: str, epochs: int) -> list[float]:
    """The learning rate of every step."""
    rates: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    how = Training(epochs=epochs, schedule=schedule, learning_rate=LR)
    module = fit(small_network(), how, None, Watch())
    assert [row["learning_rate"] for row in module.history] == rates[STEPS - 1 :: STEPS]
    return rates


def test_schedules() -> None:
    epochs, steps = 5, 5 * STEPS
    assert learning_rates("constant", epochs) == [LR] * steps
    cosine = [LR * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert learning_rates("cosine", epochs) == pytest.approx(cosine)
    one_cycle = learning_rates("one-cycle", epochs)
    assert one_cycle[0] == pytest.approx(LR / 25)
    assert max(one_cycle) == pytest.approx(LR)
    assert one_cycle.index(max(one_cycle)) == round(0.3 * steps) - 1
    assert one_cycle[-1] == pytest.approx(LR / 25 / 1e4)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_schedules_of_one_epoch(schedule: str) -> None:
    assert len(learning_rates(schedule, 1)) == STEPS


def test_class_weights_weigh_the_gradient_but_not_the_report() -> None:
    x, y = Loader(1).batches[0]
    weights = torch.tensor([0.2, 1.0, 5.0])
    network, twin = small_network(), small_network()
    how = Training(epochs=1, optimizer="sgd", learning_rate=0.1, momentum=0.0)
    module = Classifier(network, how, CLASSES, weights, steps_per_epoch=1)
    trainer(1).fit(module, Loader(1, steps=1))
    logits = twin(x)
    cross_entropy(logits, y, weights).backward()
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad)
    assert module.history[0]["train_loss"] == pytest.approx(float(cross_entropy(logits, y).detach()))
    assert "class_weights" not in module.state_dict()


def test_one_seed_one_fit() -> None:
    how = Training(epochs=2, schedule="one-cycle")
    first, again = (fit(small_network(), how, Loader(2)) for _ in range(2))
    assert first.history == again.history
    weights = zip(first.network.state_dict().values(), again.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_batches_of_two() -> None:
    class Pairs(Loader):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return ((x[:2], y[:2]) for x, y in self.batches)

    torch.manual_seed(0)
    network = build_network(
        Model.model_validate({"inputs": ["image"], "head": "quantum"}),
        "lcnet_035",
        Backbone(),
        [InputChannels("image", 2)],
        CLASSES,
    )
    module = Classifier(network, Training(epochs=1), CLASSES, steps_per_epoch=STEPS)
    trainer(1).fit(module, Pairs(1))
    assert math.isfinite(module.history[0]["train_loss"])
