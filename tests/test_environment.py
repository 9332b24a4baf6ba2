"""The locked environment: every named package imports, and what must stay light does."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("lock", "upgrade")
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
    assert "torch" not in loaded_by("import qlcnet.grid.grid, qlcnet.grid.local, qlcnet.train")


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


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-s3.lock"])
def test_the_locks_hold_names_versions_and_hashes_only(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


def test_the_train_stage_depends_on_the_files_of_the_code_that_fits_run() -> None:
    """Else `dvc repro` would not look whether fits are to do. What a fit does run is fit.code's to say."""
    from qlcnet.fit.code import LOADED, SOMETIMES

    words = {*SOMETIMES, *(key for entries in LOADED.tables.values() for key in entries)}
    modules = {place.split(":")[0] for place, _ in LOADED.parts(words)} - {"import"}
    files = {module.replace("qlcnet.", "src/qlcnet/", 1).replace(".", "/") + ".py" for module in modules}
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["do"]
    deps = [dep for dep in stage["deps"] if dep.startswith("src/")]
    assert all((ROOT / dep).exists() for dep in deps)
    missing = {file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)}
    # values of sections, errors and the writing of tables decide no byte of a fit
    assert missing <= {"src/qlcnet/data/imageset.py", "src/qlcnet/whole.py"}
    assert not [dep for dep in deps if not any(file == dep or file.startswith(f"{dep}/") for file in files)]


def test_lock_keeps_versions_and_upgrade_raises_them() -> None:
    """One added dependency must not raise torch or numpy: every fit would be another."""
    dry = {
        target: subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True) for target in TARGETS
    }
    compiling = {target: [line for line in run.stdout.splitlines() if "compile" in line] for target, run in dry.items()}
    # what S3 wants beside is looked for afterwards, with the versions that the first line found
    assert ["--upgrade" in line for line in compiling["lock"]] == [False, False]
    assert ["--upgrade" in line for line in compiling["upgrade"]] == [True, False]


def test_s3_adds_to_the_locked_packages_and_changes_one_alone() -> None:
    """botocore wants python-dateutil below 3. Where it no longer does, dvc-s3 can be one of the locked packages."""
    locked, added = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-s3.lock")
    )
    assert {"dvc-s3", "moto"} <= set(added)
    assert set(locked) & set(added) == {"python-dateutil"}
