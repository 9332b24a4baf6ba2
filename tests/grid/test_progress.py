"""What a grid shows while it runs: a bar in a terminal, whole lines in a log."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from qlcnet.config import Backbone, Model, Training
from qlcnet.fit.spec import FitSpec
from qlcnet.grid.progress import ProgressBar

MODEL, TRAINING = Model.model_validate({"inputs": ["image"]}), Training(epochs=2)
SPECS = [
    FitSpec("tiny", "lcnet_035", "plain", 0, fold, 42, Backbone(), MODEL, TRAINING, "cpu", str(fold))
    for fold in range(3)
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the progress sees."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def train(bar: ProgressBar, fold: int, clock: list[float], epochs: int = 2, seconds: float = 10) -> None:
    bar.started(SPECS[fold], "pid 1")
    for epoch in range(epochs):
        clock[0] += seconds
        bar.epoch(SPECS[fold], {"epoch": epoch})


def test_a_log_gets_one_line_a_finished_fit(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    bar = ProgressBar("tiny", SPECS, 0)
    assert capsys.readouterr().err == ""
    train(bar, 0, clock)
    assert capsys.readouterr().err == "", "epochs are not told"
    bar.finished(SPECS[0], Path())
    train(bar, 1, clock, epochs=1)
    bar.failed(SPECS[1], ValueError("no such channel"))
    train(bar, 2, clock, epochs=1)  # its worker dies
    train(bar, 2, clock)
    bar.finished(SPECS[2], Path())
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "1/3 fits | tiny/lcnet_035/plain/repeat-0/fold-0 in 20.0 s | 00:40 left",
        "tiny/lcnet_035/plain/repeat-0/fold-1 failed: no such channel",
        "2/3 fits, 1 failed | tiny/lcnet_035/plain/repeat-0/fold-2 in 20.0 s | 00:00 left",
    ]


def test_the_time_left_counts_epochs_of_fits_that_run(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    bar = ProgressBar("tiny", SPECS, 0)
    bar.started(SPECS[1], "pid 2")
    train(bar, 0, clock)
    bar.epoch(SPECS[1], {"epoch": 0})
    bar.finished(SPECS[0], Path())
    assert capsys.readouterr().err.endswith("00:20 left\n"), "3 epochs took 20 s, 3 are left"


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = ProgressBar("tiny", SPECS, 2)
    train(bar, 0, clock)
    bar.finished(SPECS[0], Path())
    bar.close()
    shown = capsys.readouterr().err
    assert re.search(r"\rtiny: 3 fits to do \(2 already fitted\): +33%.*1/3 fits, 0 running", shown)
    assert shown.count("\n") == 1


def test_the_time_left_counts_what_fits_should_take(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    bar = ProgressBar("tiny", SPECS, 0)
    bar.planned({SPECS[0].name: 60.0, SPECS[1].name: 20.0, SPECS[2].name: 10.0})
    train(bar, 0, clock, seconds=15)  # twice as fast as predicted
    bar.finished(SPECS[0], Path())
    bar.started(SPECS[1], "pid 1")
    bar.failed(SPECS[1], ValueError("no such channel"))
    bar.started(SPECS[2], "pid 1")
    bar.finished(SPECS[2], Path())
    first, _, last = capsys.readouterr().err.splitlines()
    assert first.endswith("00:15 left"), "30 predicted seconds are left"
    assert last.endswith("00:05 left"), "a failed fit takes no more time"
