"""What a fit was computed on, of all that can change its last bits without being part of its identity.

Recorded with the fit and read by nothing that computes: fit.code does not follow it.
"""

from __future__ import annotations

from typing import Any

import torch

from qlcnet import machine
from qlcnet.models.fast.product import product_library


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
