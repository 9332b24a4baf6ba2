"""What a fit is computed on, of all that can change its last bits without being part of its identity.

Recorded with the fit and read by nothing that computes: fit.code does not follow it. And digests of the weights after
each epoch, by which two fits are seen to part; and whether this process computes as `training.numerics` asks.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytorch_lightning as pl
import torch

from qlcnet import machine
from qlcnet.models.fast.product import product_library
from qlcnet.models.module import Classifier


class NumericsError(RuntimeError):
    """This process does not compute as `training.numerics` asks; the message says why, and what to do."""


class WeightDigests(pl.Callback):
    """Of each finished epoch a digest of all weights and buffers: 16 hex digits of SHA-256 over their bytes by name."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Called after the validation of the epoch, which changes no weight."""
        assert isinstance(module, Classifier)
        found = hashlib.sha256()
        for name, value in sorted(module.network.state_dict().items()):
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        self.digests.append(found.hexdigest()[:16])


def computed_on(device: str) -> dict[str, Any]:
    """The kind of CPU (vendor; instructions that torch and that oneDNN use; library of matrix products), and the
    environment variables that change numerics; on an accelerator its name besides."""
    found: dict[str, Any] = {
        "vendor": machine.cpu_vendor(),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "onednn": machine.instructions(),
        "products": product_library(),
        "variables": machine.numeric_variables(),
    }
    return found if device == "cpu" else {**found, "accelerator": torch.cuda.get_device_name()}


def check_numerics(numerics: str) -> None:
    """Raises NumericsError where this process cannot fit with `training.numerics` as given. `fast`: any can."""
    if numerics == "fast":
        return
    lines = " ".join(f"{name}={value}" for name, value in machine.PORTABLE_VARIABLES.items())
    if not machine.is_portable():
        found = " ".join(f"{name}={value}" for name, value in machine.numeric_variables().items()) or "none of them"
        why = f"this process was not started with {lines}, and nothing else of that kind (it has {found})"
        raise NumericsError(f"training.numerics is portable, but {why}; start it so, or say `numerics: fast`")
    needs = "an x86-64 CPU with AVX2, on Linux, and torch with MKL and oneDNN"
    used = torch.backends.cpu.get_cpu_capability()
    if machine.instructions() != "AVX2" or not (torch.backends.mkl.is_available() and torch.backends.mkldnn.enabled):
        raise NumericsError(f"training.numerics is portable, which needs {needs}; here say `numerics: fast`")
    if used != "AVX2":
        raise NumericsError(f"training.numerics is portable, but torch, which uses {used}, was loaded before {lines}")
