"""A project with a tracking store. Making a fresh SQLite store takes seconds, so it is made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qlcnet.tracking.backend import open_backend


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mlflow.db of a project without runs."""
    root = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        open_backend(root)
    return root / "mlruns" / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    """A project whose tracking store is empty."""
    return copy_store(empty_store, tmp_path / "project")


@pytest.fixture
def other_root(tmp_path: Path, empty_store: Path) -> Path:
    """Another one."""
    return copy_store(empty_store, tmp_path / "other project")


def copy_store(empty_store: Path, root: Path) -> Path:
    """A project folder with a copy of the store, which the tracking finds moved and follows."""
    (root / "mlruns").mkdir(parents=True)
    shutil.copy(empty_store, root / "mlruns" / "mlflow.db")
    return root
