"""What the tests of grids and clusters start from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from qlcnet.config import Params
from qlcnet.fit.store import FoldStore
from qlcnet.grid.grid import Grid
from tests.grid.projects import Record, make_project, run_locally


class Reference(NamedTuple):
    """A project whose grid ran once, undisturbed, on two local workers."""

    root: Path
    params: Params
    grid: Grid
    store: FoldStore
    record: Record


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What other ways of running the same grid are compared with."""
    root = tmp_path_factory.mktemp("reference")
    params, record = make_project(root), Record()
    grid, store = run_locally(root, params, record)
    return Reference(root, params, grid, store, record)
