"""The pipeline as a user runs it: DVC in a repository of its own, on a study small enough for a test."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.params import REQUIRED

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command of the environment that runs the tests; its output, both streams."""
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment}
    env.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500
    )
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def project(folder: Path, params: dict[str, Any]) -> Path:
    """A repository with this project's files as they are in the working tree, and its own params.yaml."""
    for name in ("src", "studies", "reproductions"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.json")
        )
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "mlruns",
        folder / "mlruns",
        ignore=lambda *_: [p for p in os.listdir(ROOT / "mlruns") if p != ".gitignore"],
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run("git", "init", "-q", "-b", "main", cwd=folder)
    run("dvc", "init", "-q", cwd=folder)
    run("dvc", "config", "core.analytics", "false", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start", cwd=folder)
    return folder


def small(task: str, dataset: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A study of one small width, classical against hybrid, one epoch."""
    return {
        **REQUIRED,
        "datasets": {task: dataset},
        "circuits": {"ry": {"encoding": "ry", "ansatz": "random"}},
        "models": {
            "classical": {"inputs": ["image"], "head": "linear"},
            "hybrid": {"inputs": ["image", "quanv:ry"], "head": "quantum"},
        },
        "backbones": {"lcnet_035": {"activation": "relu"}},
        "training": {"epochs": 1, "batch_size": 32},
        "report": {"title": "test"},
        **changes,
    }


DIGITS = {
    "source": {"kind": "digits", "size": 16},
    "protocol": {"kind": "pooled-cv", "folds": 2},
    "images_per_class": 20,
}


def fits(folder: Path) -> set[str]:
    return {p.name for p in (folder / ".qlcnet" / "folds").iterdir()}


def tracked(folder: Path) -> list[tuple[str, str]]:
    """(status, name) of every run that the tracking store shows."""
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as store:
        return sorted(store.execute("select status, name from runs where lifecycle_stage = 'active'").fetchall())


def test_repro_runs_the_study_once_and_then_only_what_changed(tmp_path: Path) -> None:
    folder = project(tmp_path, small("digits", DIGITS))
    run("dvc", "repro", cwd=folder)

    summary = json.loads((folder / "results/summary.json").read_text())
    models = summary["tasks"]["digits"]["lcnet_035"]
    assert set(models) == {"classical", "hybrid"}
    assert models["hybrid"]["n"] == 200
    assert (
        models["hybrid"]["accuracy"]["ci_low"]
        <= models["hybrid"]["accuracy"]["oof"]
        <= models["hybrid"]["accuracy"]["ci_high"]
    )
    report = (folder / "results/report.html").read_text()
    assert "hybrid" in report
    # DVC compares the few numbers alone, under short names, and they are in git
    metrics = json.loads(run("dvc", "metrics", "show", "--json", cwd=folder))[""]["data"]
    assert list(metrics) == ["results/metrics.json"]
    hybrid = metrics["results/metrics.json"]["data"]["digits"]["lcnet_035"]["hybrid"]
    assert hybrid["accuracy"] == pytest.approx(models["hybrid"]["accuracy"]["oof"], abs=1e-4)
    in_git = run("git", "ls-files", "--others", "--exclude-standard", "results", cwd=folder).split()
    assert in_git == ["results/curves.csv", "results/metrics.json", "results/summary.json"]
    runs = tracked(folder)
    assert [status for status, _ in runs] == ["FINISHED"] * 7, "2 models, 2 folds each, and the study"
    first = fits(folder)
    assert len(first) == 4

    # nothing to do
    assert "up to date" in run("dvc", "repro", cwd=folder)
    assert "up to date" in run("dvc", "status", cwd=folder)
    assert tracked(folder) == runs

    # a new model trains only itself
    params = small("digits", DIGITS)
    params["models"]["quanv"] = {"inputs": ["image", "quanv:ry"], "head": "linear"}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    output = run("dvc", "repro", cwd=folder)
    assert "Running stage 'fetch" not in output
    assert "Running stage 'quanvolve" not in output
    second = fits(folder)
    assert first < second
    assert len(second) == 6
    assert len(tracked(folder)) == 11, "a model with two folds, and another study"

    # and going back costs nothing
    (folder / "params.yaml").write_text(yaml.safe_dump(small("digits", DIGITS)))
    output = run("dvc", "repro", cwd=folder)
    assert "Running stage 'train" not in output
    assert fits(folder) == second
    assert set(json.loads((folder / "results/summary.json").read_text())["tasks"]["digits"]["lcnet_035"]) == {
        "classical",
        "hybrid",
    }

    # a fresh clone with the store imported fits nothing and gives the same summary
    run("qlcnet", "store", "export", "fits.tar", cwd=folder)
    clone = tmp_path / "clone"
    clone.mkdir()
    project(clone, small("digits", DIGITS))
    run("qlcnet", "store", "import", str(folder / "fits.tar"), cwd=clone)
    assert "4 in the store, 0 to do" in run("dvc", "repro", cwd=clone)
    assert (clone / "results/summary.json").read_bytes() == (folder / "results/summary.json").read_bytes()
    assert (clone / "results/report.html").read_bytes() == (folder / "results/report.html").read_bytes()


REAL = {
    "breastmnist": {"source": {"kind": "medmnist", "name": "breastmnist"}, "protocol": {"kind": "official"}},
    "dermamnist-rebuilt": {
        "source": {
            "kind": "npz",
            "path": "dermamnist-rebuilt/dermamnist.npz",
            "md5": "6a87c9f00098fa970a94520ff13ce6cc",
            "classes_of": "dermamnist",
            "groups": {"path": "dermamnist-rebuilt/dermamnist_rebuilt_index.csv", "column": "lesion_id"},
        },
        "protocol": {"kind": "pooled-cv", "folds": 2, "grouped": True},
        "images_per_class": 40,
    },
    "cifar10": {"source": {"kind": "cifar10"}, "protocol": {"kind": "train-cv", "folds": 2}, "images_per_class": 30},
}


@pytest.mark.parametrize("task", REAL)
def test_real_images_run_through(task: str, tmp_path: Path, shared_data: Path) -> None:
    folder = project(tmp_path, small(task, REAL[task]))
    output = run("dvc", "repro", cwd=folder, QLCNET_DATA=str(shared_data))
    assert "Running stage 'report'" in output
    models = json.loads((folder / "results/summary.json").read_text())["tasks"][task]["lcnet_035"]
    assert 0 < models["hybrid"]["accuracy"]["oof"] < 1
    assert ("test_accuracy" in models["hybrid"]) == (task == "cifar10")
