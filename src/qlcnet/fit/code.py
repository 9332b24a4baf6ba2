"""Which code a fit is made of: its hash on disk, and as this process loaded it."""

from __future__ import annotations

import hashlib
from pathlib import Path

# The code that determines what a fit gives. dvc.yaml's train stage depends on the same list (a test compares them).
FIT_SOURCES = (
    "models",
    "quantum/head.py",
    "quantum/adjoint.py",
    "quantum/ansatz.py",
    "quantum/fresh_shots.py",
    "data/fold_table.py",
    "data/batches.py",
    "fit/fitting.py",
    "fit/data.py",
)

# The packages that decide it: initial weights and blocks, arithmetic, the order of steps, the metrics of an epoch.
FIT_PACKAGES = ("torch", "timm", "pytorch-lightning", "torchmetrics", "numpy")


def hash_of_sources() -> str:
    """One hash over the files that determine a fit, as they are now."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for name in FIT_SOURCES:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:32]


# When this process imported the code: a worker that lives on after a change runs what it loaded. fit.spec imports this
# module, and fit.fitting imports fit.spec.
LOADED = hash_of_sources()
