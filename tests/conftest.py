"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets (CIFAR-10, BreastMNIST, rebuilt DermaMNIST); skips where there is none."""
    places = [Path(p) for p in os.environ.get("QLCNET_DATA", "").split(os.pathsep) if p] + [ROOT.parent / "shared/data"]
    for place in places:
        if (place / "breastmnist" / "breastmnist.npz").is_file():
            return place
    pytest.skip("needs the real data sets: set QLCNET_DATA to a folder that holds breastmnist/, cifar-10-batches-py/ …")


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """A fit in the tests' own process flushes subnormals and is deterministic; the next test starts afresh."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)
