"""What `qlcnet track sync` adds, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from safetensors.numpy import load_file, save_file

from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.summary import cost_of, summarise_model
from qlcnet.fit.fold_folder import PREDICTIONS, read_config
from qlcnet.paths import Project
from qlcnet.report.predictions import fold_folders, read_oof, read_test
from qlcnet.tracking import TrackingError, sync
from qlcnet.tracking.backend import open_backend
from qlcnet.tracking.outcome import write_outcome
from qlcnet.tracking.owner import OWNER
from qlcnet.tracking.projection import Projection
from tests.tracking.studies import CLASS_NAMES, IMAGES, make_grid, make_results, runs_of


def test_a_second_sync_adds_nothing(root: Path) -> None:
    make_results(root, make_grid())
    assert sync(root) == 3
    before = runs_of(root)
    assert sync(root) == 0
    assert runs_of(root) == before


def test_results_without_a_store_are_synced_without_provenance(root: Path) -> None:
    # a checkout whose results came from a DVC remote
    make_results(root, make_grid())
    shutil.rmtree(Project(root).store)
    assert sync(root) == 3
    for run in runs_of(root):
        assert run["status"] == "FINISHED"
        assert not {"commit", "dirty", "host"} & run["tags"].keys()
        assert "seconds_fit" not in run["metrics"]
    assert len(runs_of(root)[0]["metrics"]["train_loss"]) == 3


def test_runs_of_other_params_stay_as_they_are(root: Path) -> None:
    make_results(root, make_grid())
    sync(root)
    before = runs_of(root)
    make_results(root, make_grid(learning_rate=0.01))
    assert sync(root) == 3
    assert [run for run in runs_of(root) if run in before] == before


def test_an_incomplete_model_is_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_results(root, make_grid(("classical", "hybrid")))
    shutil.rmtree(root / "results/folds/spots/lcnet_050/hybrid/repeat-0/fold-1")
    with caplog.at_level(logging.WARNING, logger="qlcnet"):
        assert sync(root) == 3
    assert "1 of 2 fits" in caplog.text
    assert {run["tags"]["model"] for run in runs_of(root)} == {"classical"}


def test_times_are_those_of_the_fits(root: Path) -> None:
    make_results(root, make_grid())
    sync(root)
    backend = open_backend(root)
    for run in backend.client.search_runs([backend.experiment_id], "tags.kind = 'fold'"):
        assert run.info.end_time == 1767323045000  # 2026-01-02T03:04:05Z
        assert run.info.end_time - run.info.start_time == 2500
        moments = [m.timestamp for m in backend.client.get_metric_history(run.info.run_id, "train_loss")]
        assert moments == sorted(set(moments))
        assert run.info.start_time < moments[0]
        assert moments[-1] == run.info.end_time


@pytest.mark.parametrize("experiment", ["", "widths"])
def test_a_moved_project_keeps_its_artifacts(root: Path, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    make_results(root, make_grid())
    sync(root)
    moved = root.rename(root.with_name("a new name"))
    backend = open_backend(moved)
    for run in backend.client.search_runs([backend.experiment_id]):
        assert run.info.artifact_uri == f"{moved}/mlruns/artifacts/{run.info.run_id}/artifacts"
    (parent,) = backend.client.search_runs([backend.experiment_id], "tags.kind = 'model'")
    assert [file.path for file in backend.client.list_artifacts(parent.info.run_id)] == ["confusion", "oof", "roc"]
    for made in backend.client.search_experiments(filter_string="name != 'Default'"):
        assert made.artifact_location == f"{moved}/mlruns/artifacts"
    make_results(moved, make_grid(learning_rate=0.01))
    assert sync(moved) == 3
    assert len(list(moved.glob("mlruns/artifacts/*"))) == 2
    assert not root.exists()


def test_a_deleted_experiment_comes_back(root: Path) -> None:
    backend = open_backend(root)
    backend.client.delete_experiment(backend.experiment_id)
    make_results(root, make_grid())
    assert sync(root) == 3
    assert len(runs_of(root)) == 3


def test_a_server_that_is_down_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make_results(root, make_grid())
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9") as caught:
        sync(root)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pooled-cv", "train-cv"])
def test_metrics_of_a_parent_are_those_of_the_report(tmp_path: Path, kind: str) -> None:
    make_results(tmp_path, make_grid(kind=kind))
    folder = tmp_path / "results/folds/spots/lcnet_050/classical"
    files = tmp_path / "files"
    files.mkdir()
    metrics = write_outcome(folder, files)

    table, test = read_oof(folder, kind), read_test(folder, kind)
    configs = [read_config(fold) for fold in fold_folders(folder).values()]
    expected = summarise_model(table, test, cost_of(configs)).oof
    for name in METRICS:
        assert metrics[f"oof_{name}"] == expected.metrics[name].value
        assert metrics[f"fold_mean_{name}"] == expected.metrics[name].fold_mean
        assert metrics[f"fold_sd_{name}"] == expected.metrics[name].fold_sd
    for k in range(len(CLASS_NAMES)):
        assert metrics[f"oof_recall_{k}"] == expected.recalls[k].value
    assert ("test_mean_accuracy" in metrics) == (kind == "train-cv")
    if kind == "train-cv":
        correct = test.probabilities.argmax(1) == test.target
        assert metrics["test_mean_accuracy"] == pytest.approx(correct.mean())  # both fits score the same images

    counts = json.loads((files / "confusion/confusion.json").read_text())["counts"]
    assert sum(map(sum, counts)) == IMAGES
    assert sum(counts[k][k] for k in range(len(CLASS_NAMES))) / IMAGES == metrics["oof_accuracy"]
    with (files / "oof/oof.csv").open() as lines:
        assert [int(row["index"]) for row in csv.DictReader(lines)] == table.index.tolist()


def spoil(root: Path, model: str) -> None:
    """Predictions that are not finite, as a fit that diverged left them when that was no error yet."""
    path = next(root.glob(f"results/folds/spots/lcnet_050/{model}/repeat-0/fold-0")) / PREDICTIONS
    arrays = load_file(path)
    arrays["probabilities"][:] = np.nan
    path.unlink()  # a hard link of the store's
    save_file(arrays, path)


def test_a_model_that_cannot_be_read_is_failed_and_the_others_go_on(root: Path) -> None:
    make_results(root, make_grid(("classical", "hybrid", "other")))
    spoil(root, "classical")
    cut = root / "results/folds/spots/lcnet_050/hybrid/repeat-0/fold-1" / PREDICTIONS
    cut.unlink()
    cut.write_bytes(b"")
    says = r"9 runs were added(.|\n)*lcnet_050/classical: .*not finite(.|\n)*hybrid: "
    with pytest.raises(TrackingError, match=says):
        sync(root)
    parents = {run["tags"]["model"]: run for run in runs_of(root) if run["tags"]["kind"] == "model"}
    status = {model: run["status"] for model, run in parents.items()}
    assert status == {"classical": "FAILED", "hybrid": "FAILED", "other": "FINISHED"}
    assert "not finite" in parents["classical"]["tags"]["error"]

    shutil.rmtree(root / "results")
    make_results(root, make_grid(("classical", "hybrid", "other")))
    assert sync(root) == 0  # the folds were whole
    assert [run["status"] for run in runs_of(root)] == ["FINISHED"] * 9
    assert not [run for run in runs_of(root) if "error" in run["tags"]]


def test_what_a_killed_process_left_running_is_killed(root: Path) -> None:
    grid = make_grid(learning_rate=0.01)
    projection = Projection.open(root)
    left = projection.parent([grid.describe(spec) for spec in grid.specs])
    projection.client.set_tag(left.id, OWNER, f"{socket.gethostname()}/{2**22 + 1}/1")  # beyond Linux's last pid
    make_results(root, make_grid())
    assert sync(root) == 3
    assert projection.client.get_run(left.id).info.status == "KILLED"


def test_files_that_cannot_be_kept_leave_nothing_running(root: Path) -> None:
    (root / "mlruns" / "artifacts").write_text("a file where a folder should be")
    make_results(root, make_grid())
    with pytest.raises(TrackingError, match=r"files of runs cannot be written: .*mlruns/artifacts.*make room there"):
        sync(root)
    assert [run["status"] for run in runs_of(root)] == ["FINISHED", "FINISHED", "FAILED"]
    (root / "mlruns" / "artifacts").unlink()
    assert sync(root) == 0
    assert [run["status"] for run in runs_of(root)] == ["FINISHED"] * 3


def test_of_two_that_make_a_run_on_a_server_the_first_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a server has no lock to give; another machine made the run after this one had looked for it
    grid = make_grid()
    configs = [grid.describe(spec) for spec in grid.specs]
    first = Projection.open(root).parent(configs)
    late = Projection(replace(open_backend(root), is_locked=False))
    looked: list[str] = []

    def find(fingerprint: str) -> list[Run]:
        looked.append(fingerprint)
        return [] if len(looked) == 1 else real(fingerprint)

    real = late._find
    monkeypatch.setattr(late, "_find", find)
    assert late.parent(configs).id == first.id
    assert late.made == 0
    assert [run["name"] for run in runs_of(root)] == ["lcnet_050 classical, spots"]
