"""What a fit is computed on, of all that can change its last bits without being part of its identity.

Recorded with the fit and read by nothing that computes: fit.code does not follow it. And whether this process computes
as `training.numerics` asks.
"""

from __future__ import annotations

from typing import Any

import torch

from qlcnet import machine
from qlcnet.models.fast.product import product_library


class NumericsError(RuntimeError):
    """This process does not compute as `training.numerics` asks; the message says why, and what to do."""


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
