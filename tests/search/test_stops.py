"""A search that stops: by the clock, when nothing is to be gained, by Ctrl-C; and one on a cluster.

What needs whole commands, each of which takes seconds to start, is in `make soak`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from qlcnet.fit.fold_folder import PREDICTIONS
from qlcnet.grid.engine import Event, OnEvent
from qlcnet.paths import Project
from qlcnet.search.cluster_lanes import SharedEngines
from qlcnet.search.running import Unit
from qlcnet.search.stopping import Clock
from qlcnet.search.trial_store import TrialStore
from qlcnet.search.trials import run_all
from tests.grid.projects import TASK, make_project
from tests.search.test_study import SPACE, Hill, slots

REPOSITORY = Path(__file__).resolve().parents[2]
TUNING = {
    "folds": 2,
    "metric": "accuracy",
    "replicates": 0,
    "space": {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
}


def unit_of(folder: Path, trials: int) -> Unit:
    """A search of which nothing is fitted."""
    return Unit(slots(folder, trials), None, 0, 0, 0)  # type: ignore[arg-type]


def test_no_trial_begins_when_the_minutes_are_over(tmp_path: Path) -> None:
    unit = unit_of(tmp_path, 5)
    assert unit.may_begin(Clock(1), flat=False)
    assert not unit.stopped
    assert not unit.may_begin(Clock(0), flat=False)
    assert unit.stopped == "the 0 minutes are over"


def test_no_trial_begins_when_the_last_ones_brought_nothing(tmp_path: Path) -> None:
    class Level(Hill):
        def fold(self, number: int, setting: Any, fold: int, replicate: int = 0) -> Any:
            found = super().fold(number, setting, fold)
            return type(found)(0.8 - 0.001 * number, found.fingerprint)

    unit = unit_of(tmp_path, 40)
    objective = Level()
    run_all(unit.slots, SPACE, objective, 0, more=lambda: unit.may_begin(Clock(None), flat=True))
    assert unit.stopped == "the last trials brought less than the noise of the folds"
    assert len(unit.slots.settled()) == 15


# --- a cluster that lanes share ---------------------------------------------------------------------------------------


class Engine:
    """Of a cluster, as lanes see it."""

    workers = 2

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event, self.closed = on_event, False

    def submit(self, spec: Any) -> Future[Any]:
        raise NotImplementedError

    def close(self, abort: bool = False) -> None:
        self.closed = True


def test_lanes_share_one_connection_and_each_hears_of_its_own_fit() -> None:
    shared, made = SharedEngines(), []
    heard: dict[str, list[Event]] = {"a": [], "b": []}

    def opens(on_event: OnEvent) -> Engine:
        made.append(Engine(on_event))
        return made[-1]

    def take(lane: str, of: str, fit: str) -> Any:
        return shared.opened(lane, opens, of, fit, heard[lane].append)

    assert take("a", "task", "fit 1") is take("b", "task", "fit 2")
    made[0].on_event(("epoch", "fit 2", {}))
    made[0].on_event(("epoch", "fit 1", {}))
    made[0].on_event(("epoch", "fit 0", {}))
    assert heard == {"a": [("epoch", "fit 1", {})], "b": [("epoch", "fit 2", {})]}
    assert take("a", "another task", "fit 3") is not made[0]
    assert not made[0].closed  # the other lane still has it
    take("b", "another task", "fit 4")
    assert made[0].closed
    shared.leave("a")
    assert not made[1].closed
    shared.abort()
    assert made[1].closed


@pytest.mark.soak
def test_a_search_on_a_cluster_uses_all_its_workers_and_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    values = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0,
        local_directory=str(tmp_path / "scratch"),
    ) as local:  # fmt: skip
        for name, rest in (("cluster", ["--scheduler", local.scheduler_address]), ("here", [])):
            root = tmp_path / name
            make_project(root, epochs=3, tuning=TUNING)
            done = started(root, "--trials", "8", "--workers", "2", *rest)
            assert done.wait(200) == 0, said(root)
            store = TrialStore(Project(root))
            values.append(
                {
                    entry.fingerprint: (store.path(entry.fingerprint) / PREDICTIONS).read_bytes()
                    for entry in store.entries()
                }
            )
            assert len(values[-1]) == 16
        with distributed.Client(local.scheduler_address, set_as_default=False) as client:
            assert list(client.run(lambda: "torch" in sys.modules).values()) == [True, True]  # who fitted imported it
    assert values[0] == values[1]  # no more trials than the random ones, which do not depend on who ended first


# --- whole commands ---------------------------------------------------------------------------------------------------


def started(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`qlcnet tune` in a process group of its own."""
    log = (root / "log.txt").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "qlcnet.cli", "tune", TASK, *arguments], cwd=root, stdout=log, stderr=log,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )  # fmt: skip


def said(root: Path) -> str:
    return (root / "log.txt").read_text(errors="replace")


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], root: Path) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, said(root)
        assert time.monotonic() < end, said(root)
        time.sleep(0.02)


def tracked(root: Path) -> tuple[str, int]:
    """Status of the search's run, and how many trials it has."""
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "search"]
    return parent.info.status, len(runs) - 1


@pytest.mark.soak
def test_ctrl_c_in_the_middle_and_again_it_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "project"
    make_project(root, epochs=20, tuning=TUNING)
    whole = tmp_path / "whole"
    make_project(whole, epochs=20, tuning=TUNING)
    arguments = ("--trials", "8", "--workers", "2")
    process = started(root, *arguments)
    wait_until(lambda: said(root).count(" trials | ") >= 3 and (root / "mlruns/mlflow.db").is_file(), process, root)
    wait_until(lambda: "trial" in said(root), process, root)
    members = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    before = time.monotonic()
    assert process.wait(60) == 130, said(root)
    assert time.monotonic() - before < 15
    psutil.wait_procs(members, timeout=20)
    assert [one for one in members if one.is_running()] == []
    assert "Traceback" not in said(root)
    at_the_stop = said(root).count(" trials | ")
    assert at_the_stop < 8
    assert started(root, *arguments).wait(200) == 0, said(root)
    assert re.search(r"8 of 8 trials settled \(8 complete\)", said(root))
    assert said(root).count(" trials | ") == 8  # each settled once
    assert tracked(root) == ("FINISHED", 8)
    assert started(whole, *arguments).wait(200) == 0
    fits = [{entry.fingerprint for entry in TrialStore(Project(one)).entries()} for one in (root, whole)]
    assert fits[0] == fits[1]


@pytest.mark.soak
def test_minutes_and_flat_end_a_command_well(tmp_path: Path) -> None:
    root = tmp_path / "project"
    make_project(root, epochs=1, tuning=TUNING)
    assert started(root, "--trials", "500", "--workers", "1", "--minutes", "0.15").wait(200) == 0, said(root)
    settled = re.search(r"(\d+) of 500 trials settled .*; (\d+) were not begun: the 0.15 minutes are over", said(root))
    assert settled, said(root)
    assert int(settled[1]) + int(settled[2]) == 500
    assert tracked(root) == ("FINISHED", int(settled[1]))
    assert started(root, "--trials", "500", "--workers", "2", "--stop-when-flat").wait(400) == 0, said(root)
    flat = re.search(r"(\d+) of 500 trials settled .*: the last trials brought less than the noise", said(root))
    assert flat, said(root)
    assert int(settled[1]) <= int(flat[1]) < 500
    assert tracked(root) == ("FINISHED", int(flat[1]))
