"""What an epoch's logits are worth: exact metrics of torchmetrics, computed once an epoch on all of its samples."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_confusion_matrix, multilabel_auroc


def epoch_metrics(logits: Tensor, targets: Tensor, classes: int) -> dict[str, float]:
    """Metrics of logits (N, classes) against targets (N,) int64, both on one device; N >= 1.

    `loss`: mean cross-entropy in nats, without class weights. `accuracy`. `balanced_accuracy`: mean recall over the
    classes that are present. `auc_macro`: mean one-vs-rest ROC AUC over the classes that are present.
    `auc_micro`: ROC AUC of all N x classes (probability, is it this class) pairs. `recall_<class index>`: NaN for an
    absent class. AUCs are exact (no binning; ties count half) and NaN where undefined: one class alone (macro), or
    logits that are not finite. scikit-learn agrees to 1e-6 (test_epoch_metrics).
    """
    logits = logits.detach().float()
    # rounding must not lift a probability above 1: torchmetrics would take all of them for logits
    probabilities = logits.softmax(1).clamp(max=1.0)
    confusion = multiclass_confusion_matrix(probabilities, targets, classes, validate_args=False).double()
    counts, hits = confusion.sum(1), confusion.diagonal()
    recall = (hits / counts).tolist()  # 0 / 0 is NaN: an absent class
    metrics = {
        "loss": float(functional.cross_entropy(logits, targets)),
        "accuracy": float(hits.sum() / counts.sum()),
        "balanced_accuracy": _mean([value for value in recall if not math.isnan(value)]),
        "auc_macro": math.nan,
        "auc_micro": math.nan,
    }
    if bool(torch.isfinite(logits).all()):
        one_hot = functional.one_hot(targets, classes)
        # torchmetrics gives an AUC of 0.0 to a class that is absent, so absent classes are left out beforehand
        present = [c for c, count in enumerate(counts.tolist()) if 0 < count < len(targets)]
        metrics["auc_macro"] = _mean(
            [float(binary_auroc(probabilities[:, c], one_hot[:, c], validate_args=False)) for c in present]
        )
        metrics["auc_micro"] = float(
            multilabel_auroc(probabilities, one_hot, classes, average="micro", validate_args=False)
        )
    return metrics | {f"recall_{c}": value for c, value in enumerate(recall)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
