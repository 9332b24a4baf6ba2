"""Epoch metrics against scikit-learn and against numbers worked out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, recall_score, roc_auc_score
from torch import Tensor

from qlcnet.models.epoch_metrics import Scored, epoch_metrics


def by_sklearn(logits: Tensor, targets: Tensor, classes: int) -> dict[str, float]:
    """The same metrics of scikit-learn; AUCs over the classes that are present."""
    p = logits.softmax(1).double().numpy()  # float32 probabilities, as a fold's predictions are kept
    y = targets.numpy()
    one_hot = np.eye(classes)[y]
    present = [c for c in range(classes) if 0 < one_hot[:, c].sum() < len(y)]
    recalls = recall_score(y, p.argmax(1), labels=range(classes), average=None, zero_division=np.nan)
    return {
        "loss": log_loss(y, logits.double().softmax(1).numpy(), labels=range(classes)),
        "accuracy": accuracy_score(y, p.argmax(1)),
        "balanced_accuracy": balanced_accuracy_score(y, p.argmax(1)),
        "auc_macro": float(np.mean([roc_auc_score(one_hot[:, c], p[:, c]) for c in present])),
        "auc_micro": roc_auc_score(one_hot.ravel(), p.ravel()),
        **{f"recall_{c}": value for c, value in enumerate(recalls)},
    }


def sample(n: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    targets = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) * 2
    logits[torch.arange(n), targets] += 1
    return logits, targets


@pytest.mark.parametrize(
    ("n", "classes", "ties"), [(10_000, 7, False), (40_000, 10, False), (500, 2, False), (60, 7, True)]
)
def test_equal_to_sklearn(n: int, classes: int, ties: bool) -> None:
    logits, targets = sample(n, classes)
    if ties:
        logits = (logits > 0).float()
    ours, theirs = epoch_metrics(logits, targets, classes), by_sklearn(logits, targets, classes)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_ties_count_half() -> None:
    metrics = epoch_metrics(torch.zeros(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    assert metrics["auc_macro"] == metrics["auc_micro"] == 0.5
    assert metrics["loss"] == pytest.approx(math.log(3))


def test_by_hand() -> None:
    # class 1 ranks one of its two samples below a sample of class 0: AUC 3/4
    logits = torch.tensor([[0.0, -1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 0.5]])
    metrics = epoch_metrics(logits, torch.tensor([0, 0, 1, 1]), 2)
    assert metrics["accuracy"] == 0.75
    assert (metrics["recall_0"], metrics["recall_1"]) == (0.5, 1.0)
    assert metrics["balanced_accuracy"] == 0.75
    assert metrics["auc_macro"] == 0.75


def test_a_class_that_is_absent_is_left_out() -> None:
    logits, targets = sample(300, 5)
    targets[targets == 3] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torchmetrics warns where it counts an absent class as 0.0
        ours = epoch_metrics(logits, targets, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = by_sklearn(logits, targets, 5)
    assert math.isnan(ours.pop("recall_3"))
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=1e-6), name


def test_one_class_alone_has_no_macro_auc() -> None:
    metrics = epoch_metrics(torch.randn(4, 3), torch.ones(4, dtype=torch.int64), 3)
    assert math.isnan(metrics["auc_macro"])
    assert 0.0 <= metrics["auc_micro"] <= 1.0
    assert metrics["balanced_accuracy"] == metrics["accuracy"] == metrics["recall_1"]


def test_a_fit_that_diverged_has_no_auc() -> None:
    logits, targets = sample(20, 3)
    logits[4, 1] = math.nan
    metrics = epoch_metrics(logits, targets, 3)
    assert math.isnan(metrics["auc_macro"])
    assert math.isnan(metrics["auc_micro"])
    assert math.isnan(metrics["loss"])


def test_saturated_probabilities() -> None:
    logits, targets = sample(1000, 7)
    ours, theirs = epoch_metrics(logits * 40, targets, 7), by_sklearn(logits * 40, targets, 7)
    for name in ("accuracy", "auc_macro", "auc_micro"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name


def test_half_precision_logits() -> None:
    logits, targets = sample(500, 7)
    logits = logits.bfloat16()
    assert epoch_metrics(logits, targets, 7) == epoch_metrics(logits.float(), targets, 7)


def test_scored_batches_are_those_that_were_added_epoch_after_epoch() -> None:
    scored = Scored()
    for epoch, mode in enumerate((torch.enable_grad, torch.inference_mode, torch.no_grad)):
        batches = [sample(n + epoch, 3) for n in (4, 7, 1, 20)]
        with mode():
            for logits, targets in batches:
                scored.add(logits, targets)
        logits, targets = scored.take()
        assert torch.equal(logits, torch.cat([x for x, _ in batches]))
        assert torch.equal(targets, torch.cat([y for _, y in batches]))
    assert len(scored.take()[0]) == 0


def test_scored_logits_are_copies_and_hold_no_graph() -> None:
    scored = Scored()
    logits = torch.ones(2, 3, requires_grad=True) * 1.0
    scored.add(logits, torch.tensor([0, 1]))
    with torch.no_grad():
        logits.zero_()
    kept, _ = scored.take()
    assert not kept.requires_grad
    assert kept.tolist() == [[1.0] * 3] * 2
