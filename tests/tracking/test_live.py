"""A grid that is followed while it runs: nested runs, interruptions, and stores that fail."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlcnet import train
from qlcnet.fit.spec import FitSpec
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.grid.grid import Grid, link_results
from qlcnet.grid.run import GridError
from qlcnet.tracking import GridTracker, sync
from qlcnet.tracking.content import parent_fingerprint
from tests.grid.projects import TASK, make_project, plan
from tests.tracking.studies import EPOCHS, history_of, ids_of, make_grid, make_results, put, runs_of, store_of

FOLLOWED = ["fold 0, lcnet_050 classical", "fold 1, lcnet_050 classical", "lcnet_050 classical, spots"]


def run_grid(root: Path, grid: Grid, complete: bool = True) -> GridTracker:
    """Report every fit that the store lacks, as the grid does."""
    store = store_of(root)
    tracker = GridTracker(grid, root, store)
    for spec in grid.specs:
        if spec.fingerprint not in store:
            tracker.started(spec, "worker")
            for row in history_of(spec):
                tracker.epoch(spec, row)
            tracker.finished(spec, put(store, grid, spec))
    link_results(grid, store, root / "results" / "folds")
    if complete:
        tracker.complete(seconds=12.5)
    tracker.close()
    return tracker


def names(root: Path, status: str) -> list[str]:
    return [run["name"] for run in runs_of(root) if run["status"] == status]


def test_runs_are_nested_and_hold_what_the_files_say(root: Path) -> None:
    grid = make_grid()
    run_grid(root, grid)
    first, second, parent = runs_of(root)

    assert [run["name"] for run in (first, second, parent)] == FOLLOWED
    assert {run["status"] for run in (first, second, parent)} == {"FINISHED"}
    assert first["parent"] == second["parent"] == parent["name"]
    assert parent["parent"] is None

    expected = history_of(grid.specs[0])
    assert first["metrics"]["train_loss"] == [(row["epoch"], row["train_loss"]) for row in expected]
    assert first["metrics"]["seconds_fit"] == [(0, 2.5)]
    assert "epoch" not in first["metrics"]
    assert [step for step, _ in first["metrics"]["val_auc_macro"]] == [1, 2]  # undefined in epoch 0: left out
    tags = {
        "task": "spots",
        "backbone": "lcnet_050",
        "model": "classical",
        "repeat": "0",
        "fold": "0",
        "torch": "2.15.0",
    }
    tags |= {"threads": "1", "layout": "channels_last", "device": "cpu", "commit": "d" * 40, "dirty": "true"}
    tags |= {"data.images": "a" * 64, "fingerprint": grid.specs[0].fingerprint, "mlflow.source.git.commit": "d" * 40}
    tags["mlflow.note.content"] = "Again, and compared: `qlcnet reproduce its id`"
    assert tags.items() <= first["tags"].items()
    params = {"training.learning_rate": "0.001", "model.inputs": "image", "model.head.kind": "linear", "seed": "42"}
    assert (params | {"parameters": "1000", "circuit_evaluations.executed": "81"}).items() <= first["params"].items()
    assert first["datasets"] == parent["datasets"] == [("spots", "a" * 16)]

    assert parent["tags"]["fingerprint"] == parent_fingerprint([grid.describe(spec) for spec in grid.specs])
    assert parent["metrics"]["seconds_fit"] == [(0, 5.0)]
    assert parent["metrics"]["seconds_stage"] == [(0, 12.5)]
    assert {"oof_accuracy", "fold_mean_auc_macro", "fold_sd_loss", "oof_recall_2"} <= parent["metrics"].keys()
    assert parent["artifacts"] == [
        "confusion/confusion.csv",
        "confusion/confusion.json",
        "confusion/confusion.png",
        "oof/oof.csv",
        "roc/roc.csv",
        "roc/roc.png",
    ]


def test_a_second_run_adds_nothing_and_other_params_make_a_new_parent(root: Path) -> None:
    run_grid(root, make_grid())
    before, ids = runs_of(root), ids_of(root)
    run_grid(root, make_grid())
    assert runs_of(root) == before
    assert ids_of(root) == ids  # not deleted and written again

    run_grid(root, make_grid(learning_rate=0.01))
    after = runs_of(root)
    assert len(after) == 6
    assert all(run in after for run in before)


def test_live_equals_sync_from_the_files(root: Path, other_root: Path) -> None:
    run_grid(root, make_grid(("classical", "hybrid")))
    make_results(other_root, make_grid(("classical", "hybrid")))
    assert sync(other_root) == 6
    from_live, from_files = runs_of(root), runs_of(other_root)
    for run in from_live:
        run["metrics"].pop("seconds_stage", None)  # of the train stage: only known where it ran
    assert from_live == from_files


# The child process is killed when it has reported so many epochs of the second fold.
KILLED = """
import sys, time
from pathlib import Path
from qlcnet.tracking import GridTracker
from tests.tracking.studies import history_of, make_grid, put, store_of

root, grid = Path(sys.argv[1]), make_grid()
store = store_of(root)
tracker = GridTracker(grid, root, store)
first, second = grid.specs
tracker.started(first, "w")
for row in history_of(first):
    tracker.epoch(first, row)
tracker.finished(first, put(store, grid, first))
tracker.started(second, "w")
tracker.epoch(second, history_of(second)[0])
while tracker._queue.qsize() or not tracker._fits[second.fingerprint].run:
    time.sleep(0.01)
time.sleep(0.3)
(root / "ready").touch()
time.sleep(60)
"""


@contextlib.contextmanager
def followed_in_a_process(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the middle of the second fold; it does not outlive the block."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 120
        while not (root / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_after_a_kill_the_resume_leaves_no_orphan_and_no_duplicate(root: Path, other_root: Path) -> None:
    with followed_in_a_process(root) as process:
        opened = ["fold 1, lcnet_050 classical", "lcnet_050 classical, spots"]
        assert names(root, "RUNNING") == opened

        # while it lives, nobody else touches its runs
        make_results(root, make_grid())
        assert sync(root) == 0
        assert names(root, "RUNNING") == opened
        process.send_signal(signal.SIGKILL)

    # a study of other params ends what was left open ...
    run_grid(root, make_grid(learning_rate=0.01))
    assert names(root, "RUNNING") == []
    assert names(root, "KILLED") == opened

    # ... and the resume takes it up again
    other_params = [run for run in runs_of(root) if run["params"]["training.learning_rate"] == "0.01"]
    shutil.rmtree(store_of(root).path(make_grid().specs[1].fingerprint))
    run_grid(root, make_grid())
    after = [run for run in runs_of(root) if run not in other_params]
    assert [(run["name"], run["status"]) for run in after] == [(name, "FINISHED") for name in FOLLOWED]
    assert [run["name"] for run in runs_of(root, deleted=True)] == ["fold 1, lcnet_050 classical"]

    run_grid(other_root, make_grid())
    assert runs_of(other_root) == after


def test_ctrl_c_and_failures_leave_nothing_running(root: Path) -> None:
    grid, store = make_grid(("classical", "hybrid")), store_of(root)
    tracker = GridTracker(grid, root, store)
    kept, broken, interrupted, _ = grid.specs
    for spec in (kept, broken, interrupted):
        tracker.started(spec, "w")
        tracker.epoch(spec, history_of(spec)[0])
    tracker.finished(kept, put(store, grid, kept))
    tracker.failed(broken, RuntimeError("out of memory"))
    tracker.close()  # as the `finally` of the train stage does
    runs = {run["name"]: run for run in runs_of(root)}
    assert {name: run["status"] for name, run in runs.items()} == {
        "fold 0, lcnet_050 classical": "FINISHED",
        "fold 1, lcnet_050 classical": "FAILED",
        "lcnet_050 classical, spots": "FAILED",
        "fold 0, lcnet_050 hybrid": "KILLED",
        "lcnet_050 hybrid, spots": "KILLED",
    }
    assert runs["fold 1, lcnet_050 classical"]["tags"]["error"] == "RuntimeError: out of memory"

    run_grid(root, grid)
    assert [run["status"] for run in runs_of(root)] == ["FINISHED"] * 6


def test_a_failed_fit_fails_its_models_and_the_others_are_finished(root: Path) -> None:
    grid, store = make_grid(("classical", "twin", "hybrid")), store_of(root)
    broken = grid.specs[1]
    assert broken.fingerprint == grid.specs[3].fingerprint, "twin is an equal model under another name"
    for _ in range(2):  # the second time, fitted again
        tracker = GridTracker(grid, root, store)
        for spec in grid.specs:
            if spec.fingerprint not in store and spec.model_name != "twin":
                tracker.started(spec, "w")
                tracker.epoch(spec, history_of(spec)[0])
                if spec is broken:
                    tracker.failed(spec, RuntimeError("diverged in epoch 1"))
                else:
                    tracker.finished(spec, put(store, grid, spec))
        link_results(grid, store, root / "results" / "folds", {broken.name: "diverged in epoch 1"})
        assert TaskFacts.read(root / "results/folds/spots").failed.keys() == {broken.name, grid.specs[3].name}
        tracker.complete(seconds=1.0)
        tracker.close()
        assert sync(root) == 0
        models = {run["tags"]["model"]: run for run in runs_of(root) if run["tags"]["kind"] == "model"}
        status = {model: run["status"] for model, run in models.items()}
        assert status == {"classical": "FAILED", "twin": "FAILED", "hybrid": "FINISHED"}
        assert models["twin"]["tags"]["error"] == "1 of 2 fits: RuntimeError: diverged in epoch 1"

    run_grid(root, grid)
    assert {run["status"] for run in runs_of(root)} == {"FINISHED"}
    assert not [run for run in runs_of(root) if "error" in run["tags"]]


def test_train_finishes_the_models_beside_one_that_diverges(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"diverges": {"inputs": ["image"], "training": {"learning_rate": 1e30}}, "sound": {"inputs": ["image"]}}
    params = make_project(root, models=models)
    grid, store = plan(params, root)
    for spec in grid.specs:
        if spec.model_name == "sound":
            put(store, grid, spec)

    def diverge(specs: list[FitSpec], open_engine: object, keeper: object, listeners: list[GridTracker]) -> None:
        for spec in specs:
            for listener in listeners:
                listener.started(spec, "w")
                listener.failed(spec, RuntimeError("diverged in epoch 1"))
        raise GridError("3 of 3 fits failed", {spec.name: "diverged in epoch 1" for spec in specs})

    monkeypatch.setattr(train, "run_grid", diverge)  # else 20 s of importing, counting and fitting
    monkeypatch.setattr(train.Keeper, "of", lambda *_: None)
    with pytest.raises(GridError):
        train.train_task(params, TASK, root, 1, None)
    statuses = {run["name"]: run["status"] for run in runs_of(root) if run["tags"]["kind"] == "model"}
    assert statuses == {"lcnet_035 diverges, squares": "FAILED", "lcnet_035 sound, squares": "FINISHED"}
    assert sync(root) == 0
    assert {run["name"]: run["status"] for run in runs_of(root) if run["tags"]["kind"] == "model"} == statuses


def test_a_fit_that_starts_again_is_one_run(root: Path) -> None:
    grid, store = make_grid(), store_of(root)
    tracker = GridTracker(grid, root, store)
    spec = grid.specs[0]
    tracker.started(spec, "w")
    tracker.epoch(spec, {**history_of(spec)[0], "train_loss": 99.0})
    tracker.started(spec, "another worker, the first one died")
    for row in history_of(spec):
        tracker.epoch(spec, row)
    tracker.finished(spec, put(store, grid, spec))
    tracker.epoch(spec, history_of(spec)[-1])  # events and results come by different ways: one may be late
    tracker.close()
    (fold,) = [run for run in runs_of(root) if run["tags"]["kind"] == "fold"]
    assert fold["metrics"]["train_loss"] == [(row["epoch"], row["train_loss"]) for row in history_of(spec)]


def test_a_server_that_is_down_costs_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    grid = make_grid()
    with caplog.at_level(logging.WARNING, logger="qlcnet"):
        run_grid(root, grid)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "qlcnet"]
    assert "http://127.0.0.1:9" in warning
    assert "track sync" in warning
    assert "secret" not in warning
    assert all(spec.fingerprint in store_of(root) for spec in grid.specs)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sync(root) == 3


def test_a_store_that_fails_once_is_repaired_at_the_end(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    real, batches = MlflowClient.log_batch, []

    def fails_once(*arguments: object, **options: object) -> None:
        batches.extend(["metrics"] if options.get("metrics") else [])
        if options.get("metrics") and len(batches) == 1:
            raise OSError("database is locked")
        real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_batch", fails_once)
    with caplog.at_level(logging.WARNING, logger="qlcnet"):
        run_grid(root, make_grid())
    assert "database is locked" in caplog.text
    assert [(run["name"], run["status"]) for run in runs_of(root)] == [(name, "FINISHED") for name in FOLLOWED]
    assert {len(run["metrics"]["train_loss"]) for run in runs_of(root)[:2]} == {EPOCHS}


def test_events_return_at_once_while_the_store_is_slow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from qlcnet.tracking.projection import Projection

    gate, real = threading.Event(), Projection.open
    monkeypatch.setattr(Projection, "open", classmethod(lambda cls, root: gate.wait(60) and real(root)))
    grid, store = make_grid(), store_of(root)
    tracker = GridTracker(grid, root, store)
    for spec in grid.specs:
        tracker.started(spec, "w")
        for row in history_of(spec):
            tracker.epoch(spec, row)
        tracker.finished(spec, put(store, grid, spec))
    assert not gate.is_set()  # all events are through and nothing is written yet
    assert runs_of(root) == []
    gate.set()
    tracker.close()
    assert [len(run["metrics"]["train_loss"]) for run in runs_of(root)[:2]] == [EPOCHS, EPOCHS]


def test_workers_never_import_mlflow() -> None:
    code = "import sys, qlcnet.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}).returncode == 0
