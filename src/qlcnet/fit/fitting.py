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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from qlcnet import machine
from qlcnet.data.batches import Batches
from qlcnet.fit.computed_on import WeightDigests, check_numerics, computed_on
from qlcnet.fit.data import FitData
from qlcnet.fit.fold_folder import TEST, VALIDATION
from qlcnet.fit.prepare import Prepared, prepare
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.models.epoch_metrics import Scored
from qlcnet.models.module import Classifier, DivergedError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h

# Lightning's word for each precision of params.yaml
LIGHTNING: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "bf16-products": "32-true",
}

OnEpoch = Callable[[Mapping[str, float]], None]


def fit_fold(spec: FitSpec, data: FitData, on_epoch: OnEpoch | None = None) -> FitResult:
    """Train `spec` on its fold's training part and predict the rest with the weights after the last epoch."""
    started = time.perf_counter()
    check_numerics(spec.training.numerics)
    be_quiet_and_exact()
    with products_of(spec):
        if spec.device != "cpu":
            data = _on_device(data, spec.device)
        prepared = prepare(spec, data)
        fit(prepared, spec, on_epoch)
        network = prepared.module.network
        predictions = predict(network, {VALIDATION: prepared.validation, TEST: prepared.test})
    weights = {name: value.detach().cpu().contiguous().numpy() for name, value in network.state_dict().items()}
    seconds = time.perf_counter() - started
    history = prepared.module.history
    return FitResult(predictions, history, weights, prepared.facts, seconds, computed_on=computed_on(spec.device))


def fit(prepared: Prepared, spec: FitSpec, on_epoch: OnEpoch | None = None) -> None:
    """Train the network of `prepared`, in place; its module's `history` and the fact `epoch_weights` then have a row
    an epoch."""
    weights = WeightDigests()
    trainer = pl.Trainer(
        accelerator="cpu" if spec.device == "cpu" else "gpu",
        devices=1,
        precision=LIGHTNING[spec.training.precision],
        max_epochs=spec.training.epochs,
        callbacks=[weights, *([_Epochs(on_epoch)] if on_epoch else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=True,
    )
    trainer.fit(prepared.module, prepared.train, prepared.validation)
    prepared.facts["epoch_weights"] = weights.digests


@contextmanager
def products_of(spec: FitSpec) -> Iterator[None]:
    """Within, products of float32 matrices and convolutions are computed in the precision that `spec` asks for.

    `bf16-products`: oneDNN rounds the factors to bfloat16 and adds up in float32; weights and everything else stay
    float32. It does so on CPUs with AMX alone and elsewhere computes in float32 without a word: ValueError there.
    """
    if spec.training.precision != "bf16-products":
        yield
        return
    if spec.device != "cpu":
        raise ValueError("`precision: bf16-products` is the CPU's; on an accelerator say `precision: bfloat16`")
    if not machine.multiplies_bfloat16():
        raise ValueError(
            "`precision: bf16-products` needs a CPU with AMX (`amx_bf16` among the flags of /proc/cpuinfo), which this "
            "one lacks: oneDNN would compute in float32 here; say `precision: float32`"
        )
    backends = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "bf16"
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


@torch.inference_mode()
def predict(network: nn.Module, parts: Mapping[int, Batches]) -> dict[str, np.ndarray]:
    """Predictions of each part's images, in order: index, target int64 (N,), part uint8 (N,), probabilities (N, K)."""
    # Lightning leaves a network that it trained on an accelerator on the CPU
    network.eval().to(next(iter(parts.values())).labels.device)
    columns: dict[str, list[np.ndarray]] = {"index": [], "target": [], "part": [], "probabilities": []}
    scored = Scored()
    for part, batches in parts.items():
        if not len(batches.rows):
            continue
        for x, y in batches:
            scored.add(network(x), y)
        logits, targets = scored.take()
        if not bool(torch.isfinite(logits).all()):
            raise DivergedError("after the last epoch")
        columns["index"].append(batches.rows.astype(np.int64))
        columns["target"].append(targets.cpu().numpy().copy())
        columns["part"].append(np.full(len(batches.rows), part, np.uint8))
        columns["probabilities"].append(logits.softmax(1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in columns.items()}


class _Epochs(pl.Callback):
    """Hands each finished epoch's metrics on."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Called after the validation of the epoch, when its row of the history is whole."""
        assert isinstance(module, Classifier)
        self.on_epoch(module.history[-1])


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


def be_quiet_and_exact() -> None:
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
