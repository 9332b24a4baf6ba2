"""An epoch's logits and what they are worth: exact metrics of torchmetrics, once an epoch on all of its samples."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_confusion_matrix, multilabel_auroc


class Scored:
    """Logits (N, classes) float32 and targets (N,) int64 of the batches so far, in two tensors that grow by doubling.

    Kept one by one, small tensors that stay lie between a step's large ones that go: an epoch of CIFAR-10 left holes of
    300 MB on the heap of each worker.
    """

    def __init__(self) -> None:
        self.count = 0
        self._logits = torch.empty(0, 0)
        self._targets = torch.empty(0, dtype=torch.int64)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Copies of a batch's logits (B, classes) and targets (B,)."""
        end = self.count + len(targets)
        if end > len(self._targets):
            with torch.inference_mode(False):  # what is made in inference mode cannot be written to outside of it
                kept = self._logits[: self.count], self._targets[: self.count]
                self._logits = torch.empty(2 * end, logits.shape[1], device=logits.device)
                self._targets = torch.empty(2 * end, dtype=torch.int64, device=targets.device)
                if self.count:
                    self._logits[: self.count], self._targets[: self.count] = kept
        self._logits[self.count : end] = logits.detach()
        self._targets[self.count : end] = targets
        self.count = end

    def take(self) -> tuple[Tensor, Tensor]:
        """All logits and targets, to be read before the next `add`, which begins anew."""
        end, self.count = self.count, 0
        return self._logits[:end], self._targets[:end]


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
