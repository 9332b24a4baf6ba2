"""Compiled functions can be imported where nothing may be written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["qlcnet.evidence.statistics", "qlcnet.quantum.kernel", "qlcnet.quantum.shots"])
def test_a_module_is_imported_where_no_cache_can_be(module: str) -> None:
    # as numba finds it in a read-only installation for a user without a home
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    environment.pop("NUMBA_CACHE_DIR", None)
    run = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
