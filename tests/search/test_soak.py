"""A search of 30 trials on BreastMNIST by two processes, of which one is killed with -9 twice: `make soak`.

With a journal file, and on PostgreSQL where that is installed. In the end 30 trials are settled, none is left running,
the tracking store has one run with 30 children, and the page's figures are whole.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from qlcnet.paths import Project
from tests.params import REQUIRED
from tests.tracking.postgres import serving_postgres

pytestmark = pytest.mark.soak

TRIALS = 30
PARAMS = {
    **REQUIRED,
    "datasets": {
        "breastmnist": {
            "source": {"kind": "medmnist", "name": "breastmnist", "size": 28},
            "protocol": {"kind": "pooled-cv", "folds": 5},
        }
    },
    "circuits": {"ry": {}},
    "models": {"hybrid": {"inputs": ["image", "quanv:ry"], "head": {"kind": "quantum"}}},
    "backbones": {"lcnet_035": {"strides": [1, 2, 2, 2, 2]}},
    "training": {"epochs": 2, "batch_size": 64, "device": "cpu"},
    "tuning": {
        "folds": 3,
        "space": {
            "training.learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
            "training.schedule": ["constant", "one-cycle"],
            "models.hybrid.head.kind": ["quantum", "linear"],
            "models.hybrid.head.normalise": {"choices": [True, False], "when": {"models.hybrid.head.kind": "quantum"}},
        },
    },
}


def qlcnet(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (root / "log.txt").open("ab")
    command = [sys.executable, "-m", "qlcnet.cli", *arguments]
    # a group of its own: what is killed is the process alone, and its workers end by themselves
    return subprocess.Popen(command, cwd=root, stdout=log, stderr=log, start_new_session=True)


@pytest.fixture(params=["journal", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    if request.param == "journal":
        yield []
        return
    with serving_postgres() as address:
        yield ["--storage", address.replace("postgresql://", "postgresql+psycopg://")]


def settled(root: Path) -> int:
    """Settled trials, by the lines that processes say."""
    return (root / "log.txt").read_text(errors="replace").count(" trials | ")


def test_two_processes_one_killed_twice(tmp_path: Path, shared_data: Path, storage: list[str]) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "data": {"search_path": [str(shared_data)]}}))
    for stage in ("fetch", "split", "quanvolve"):
        assert qlcnet(root, stage, "breastmnist").wait(300) == 0
    command = ["tune", "breastmnist", "--trials", str(TRIALS), "--workers", "1", *storage]
    steady, killed = qlcnet(root, *command), qlcnet(root, *command)
    for until in (6, 12):
        deadline = time.monotonic() + 1500
        while settled(root) < until:
            assert time.monotonic() < deadline
            assert steady.poll() is None, (root / "log.txt").read_text()[-2000:]
            time.sleep(0.2)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        killed = qlcnet(root, *command)
    assert steady.wait(3000) == 0, (root / "log.txt").read_text()[-2000:]
    assert killed.wait(600) == 0, (root / "log.txt").read_text()[-2000:]

    (folder,) = (path for path in (root / "results" / "search").iterdir() if path.is_dir())
    (search,) = json.loads((folder / "search.json").read_text())["searches"]
    states = [trial["state"] for trial in search["trials"]]
    assert [trial["number"] for trial in search["trials"]] == list(range(TRIALS))
    assert set(states) <= {"complete", "pruned"}
    for trial in search["trials"]:
        assert len(trial["values"]) == 3 or trial["state"] == "pruned"
        assert len(trial["fits"]) == len(trial["values"])
        for fingerprint in trial["fits"]:
            names = {path.name for path in (Project(root).trial_fits / fingerprint).iterdir()}
            assert "predictions.safetensors" in names
            assert "weights.safetensors" not in names
    for name in ("history.svg", "parallel-0.svg", "slices-0.svg", "importances-0.svg"):
        assert "</svg>" in (folder / "figures" / name).read_text()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    (experiment,) = [one.experiment_id for one in client.search_experiments() if one.name == "qlcnet"]
    runs = client.search_runs([experiment], max_results=1000)
    (parent,) = [run for run in runs if run.data.tags["kind"] == "search"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(int(run.data.tags["trial"]) for run in children) == list(range(TRIALS))
    assert len(runs) == TRIALS + 1
    for run in children:
        trial = search["trials"][int(run.data.tags["trial"])]
        history = client.get_metric_history(run.info.run_id, "fold_auc_macro")
        assert [point.value for point in sorted(history, key=lambda point: point.step)] == trial["values"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"search.html", "figures"}
    if keep := os.environ.get("KEEP_SOAK"):
        shutil.copytree(root, Path(keep) / root.parent.name, symlinks=True)
