"""Slots of a search: settled exactly as many as asked for, by any number of processes, however these end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from qlcnet.config import parse_params
from qlcnet.grid.engine import EngineError
from qlcnet.search.errors import TuningError
from qlcnet.search.lanes import FitFailedError
from qlcnet.search.space import Setting, Space
from qlcnet.search.study import OWNER, Slots
from qlcnet.search.trials import FoldValue, run_all, run_trial
from tests.params import REQUIRED
from tests.tracking.postgres import serving_postgres

SPACE = Space.of(
    parse_params(
        {
            **REQUIRED,
            "datasets": {"digits": {"source": {"kind": "digits"}}},
            "models": {"classical": {"inputs": ["image"]}},
            "backbones": {"lcnet_050": {}},
            "tuning": {
                "space": {
                    "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
                    "training.optimizer": ["adam", "sgd"],
                    "training.momentum": {"low": 0.1, "high": 0.99, "when": {"training.optimizer": "sgd"}},
                }
            },
        }
    ),
    "classical",
    "lcnet_050",
)


class Hill:
    """An objective of which the best is known: a rate of 0.01 with momentum 0.8."""

    def __init__(self, folds: int = 3, seconds: float = 0.0) -> None:
        self.folds, self._seconds = folds, seconds

    def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
        time.sleep(self._seconds)
        rate = np.log10(setting["training.learning_rate"]) + 2
        value = 0.9 - 0.1 * rate**2 - 0.1 * abs(setting.get("training.momentum", 0.0) - 0.8)
        return FoldValue(float(value) + 0.001 * fold, f"{number}-{fold}")


def slots(folder: Path, trials: int, seed: int = 42, storage: str | None = None) -> Slots:
    return Slots.open(folder, "digits/hill", trials, seed, SPACE.as_drawn(SPACE.default), storage=storage)


def drawn(of: Slots) -> list[dict[str, object]]:
    return [trial.params for trial in of.settled()]


def test_trial_0_is_the_default_and_all_slots_are_settled(tmp_path: Path) -> None:
    search = slots(tmp_path, 15)
    assert run_all(search, SPACE, Hill(), 0) == 15
    assert drawn(search)[0] == SPACE.default
    assert [trial.state for trial in search.settled()] == [TrialState.COMPLETE] * 15
    assert len({repr(one) for one in drawn(search)}) == 15
    assert run_all(slots(tmp_path, 15), SPACE, Hill(), 0) == 0
    assert run_all(slots(tmp_path, 17), SPACE, Hill(), 0) == 2


def test_another_seed_draws_other_settings(tmp_path: Path) -> None:
    one, other = slots(tmp_path / "a", 4), slots(tmp_path / "b", 4, seed=7)
    for search in (one, other):
        run_all(search, SPACE, Hill(), 0)
    assert drawn(one)[0] == drawn(other)[0]
    assert drawn(one)[1:] != drawn(other)[1:]


def test_a_killed_search_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = slots(tmp_path / "whole", 14)
    run_all(whole, SPACE, Hill(), 0)
    cut = slots(tmp_path / "cut", 14)
    for _ in range(11):  # past the random trials, into those that depend on what came before
        trial = cut.take()
        assert trial
        run_trial(cut, trial, SPACE, Hill(), 0)
    trial = cut.take()
    assert trial
    setting = SPACE.draw(trial)
    trial.report(Hill().fold(0, setting, 0).value, 0)
    trial.set_user_attr(OWNER, f"{os.uname().nodename}/{2**22 + 1}/0")  # no pid is as high
    again = slots(tmp_path / "cut", 14)
    run_all(again, SPACE, Hill(), 0)
    assert drawn(again) == drawn(whole)
    assert [one.value for one in again.settled()] == [one.value for one in whole.settled()]


def test_a_trial_that_fails_ends_alone(tmp_path: Path) -> None:
    class Broken(Hill):
        def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
            if number == 1:
                raise FitFailedError("DivergedError: the loss is nan")
            return FoldValue(float("nan"), "") if number == 2 else super().fold(number, setting, fold)

    search = slots(tmp_path, 4)
    run_all(search, SPACE, Broken(), 0)
    assert [one.state.name for one in search.settled()] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert search.settled()[1].user_attrs["error"] == "DivergedError: the loss is nan"


def test_what_concerns_all_is_raised_and_the_slot_given_back(tmp_path: Path) -> None:
    class Away(Hill):
        def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
            raise EngineError("the cluster is gone")

    search = slots(tmp_path, 2)
    with pytest.raises(EngineError, match="the cluster is gone"):
        run_all(search, SPACE, Away(), 0)
    assert not search.settled()
    run_all(slots(tmp_path, 2), SPACE, Hill(), 0)
    assert [one.state.name for one in search.settled()] == ["COMPLETE", "COMPLETE"]


def test_a_living_process_keeps_its_trial_and_a_dead_one_does_not(tmp_path: Path) -> None:
    search = slots(tmp_path, 1)
    trial = search.take()
    assert trial
    assert slots(tmp_path, 1).take() is None
    trial.set_user_attr(OWNER, "another-machine/1/0")
    assert slots(tmp_path, 1).take() is None
    assert slots(tmp_path, 1).elsewhere() == ["another-machine"]
    lost = Slots.open(tmp_path, "digits/hill", 1, 42, {}, lost=frozenset({"another-machine"}))
    assert lost.take() is not None


def test_a_trial_that_kills_its_process_each_time_has_failed(tmp_path: Path) -> None:
    for _ in range(3):
        search = slots(tmp_path, 1)
        trial = search.take()
        if trial is None:
            break
        trial.set_user_attr(OWNER, f"{os.uname().nodename}/{2**22 + 1}/0")
    assert slots(tmp_path, 1).take() is None
    (failed,) = slots(tmp_path, 1).settled()
    assert failed.state == TrialState.FAIL
    assert "died 3 times" in failed.user_attrs["error"]


def test_an_address_that_cannot_be_used_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"--storage \S+ cannot be used") as error:
        Slots.open(tmp_path, "digits/hill", 1, 42, {}, storage="nonsense://user:secret@127.0.0.1/x")
    assert "secret" not in str(error.value)


def serve(folder: Path, trials: int, storage: str | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.test_study", str(folder), str(trials), storage or ""]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_processes_side_by_side_settle_exactly_what_was_asked_for(tmp_path: Path, kind: str) -> None:
    """Two processes, of which one is killed with -9 in the middle of a trial: the other one takes that up."""
    with contextlib.ExitStack() as stack:
        storage = None
        if kind == "postgresql":
            address = stack.enter_context(serving_postgres())
            storage = address.replace("postgresql://", "postgresql+psycopg://")
        search = slots(tmp_path, 12, storage=storage)
        one, other = serve(tmp_path, 12, storage), serve(tmp_path, 12, storage)
        deadline = time.monotonic() + 60
        while sum(f"/{one.pid}/" in str(trial.user_attrs.get(OWNER)) for trial in search.study.trials) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        one.send_signal(signal.SIGKILL)
        one.wait()
        assert other.wait(60) == 0
        while (trial := search.take()) is not None:  # the other may have been done before the kill was seen
            run_trial(search, trial, SPACE, Hill(), 0)
        states = [trial.state for trial in search.study.trials]
        assert states == [TrialState.COMPLETE] * 12
        assert {trial.number for trial in search.settled()} == set(range(12))


if __name__ == "__main__":
    own = slots(Path(sys.argv[1]), int(sys.argv[2]), storage=sys.argv[3] or None)
    run_all(own, SPACE, Hill(seconds=0.05), 0)
