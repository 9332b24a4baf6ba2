"""The locked environment: every named package imports, and what must stay light does."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NAMED = [
    "torch",
    "torchvision",
    "timm",
    "pytorch_lightning",
    "torchmetrics",
    "pennylane",
    "mlflow",
    "optuna",
    "dvc",
    "medmnist",
]


@pytest.mark.parametrize("name", NAMED)
def test_every_named_package_imports(name: str) -> None:
    importlib.import_module(name)


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_commands_import_nothing_heavy() -> None:
    loaded = loaded_by("import qlcnet.cli; qlcnet.cli.build_parser().format_help()")
    assert not loaded & {"torch", "numpy", "pydantic", "mlflow", "pennylane", "dvc", "yaml", "sklearn"}


def test_planning_a_grid_needs_no_torch() -> None:
    assert "torch" not in loaded_by("import qlcnet.grid.grid, qlcnet.grid.executors, qlcnet.train")


def test_fit_imports_only_the_core() -> None:
    loaded = loaded_by("import qlcnet.fit.fitting")
    assert {"torch", "timm", "pytorch_lightning", "torchmetrics"} <= loaded
    assert not loaded & {
        "mlflow",
        "dvc",
        "pennylane",
        "optuna",
        "medmnist",
        "numba",
        "sklearn",
        "dask",
        "distributed",
    }


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


def test_the_train_stage_depends_on_the_sources_that_determine_a_fit() -> None:
    from qlcnet.fit.code import FIT_SOURCES

    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["do"]
    sources = [dep.removeprefix("src/qlcnet/") for dep in stage["deps"] if dep.startswith("src/")]
    assert sources == list(FIT_SOURCES)
    assert all((ROOT / "src/qlcnet" / name).exists() for name in sources)


def test_the_sources_of_a_fit_are_all_that_it_imports() -> None:
    """A module that a fit imports and that is not in FIT_SOURCES could change a result behind the fingerprint."""
    from qlcnet.fit.code import FIT_SOURCES

    code = (
        "import qlcnet.fit.fitting, qlcnet.fit.data, qlcnet.quantum.fresh_shots, sys\n"
        "print(*[m for m in sys.modules if m.startswith('qlcnet')])"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    files = {module.removeprefix("qlcnet").strip(".").replace(".", "/") for module in modules}
    covered = {name.removesuffix(".py") for name in FIT_SOURCES}
    # params reach the fingerprint as values; packages hold no code; spec is only names, and sources of them a hash
    by_value = {"", "config", "data", "fit", "quantum", "data/imageset", "whole", "machine"}
    by_value |= {"fit/spec", "fit/code"}
    missing = {f for f in files if f not in by_value and f not in covered and f.split("/")[0] not in covered}
    assert not missing
