"""Searches read from journals that Optuna wrote: the best values, their ranges, and whether a model has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from qlcnet.report.searches import searches_in_use
from qlcnet.search.journal import open_journal
from tests.report.fold_folders import make_params

FOUND = {
    "training.learning_rate": 0.0099,
    "training.batch_size": 32,
    "training.schedule": "cosine",
    "training.class_weights": "none",
}
WORSE = {**FOUND, "training.learning_rate": 0.001, "training.batch_size": 64}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a search of two trials, the first of which is the best, and one that was stopped."""
    (tmp_path / "params.yaml").write_text("")
    name = "spots/lcnet_050/hybrid/0123abcd"
    study = optuna.create_study(
        study_name=name, storage=open_journal(tmp_path / ".qlcnet/tuning", name), direction="maximize"
    )
    for drawn in (FOUND, WORSE):
        study.enqueue_trial(drawn)

    def score(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("training.learning_rate", 1e-4, 1e-2, log=True)
        trial.suggest_categorical("training.batch_size", (32, 64, 128))
        trial.suggest_categorical("training.schedule", ("constant", "cosine"))
        trial.suggest_categorical("training.class_weights", ("none",))
        trial.report(0.5, 0)
        if trial.number == 2:
            raise optuna.TrialPruned
        return rate

    study.optimize(score, n_trials=3)
    return tmp_path


def params(**training: Any) -> Any:
    return make_params(training={"epochs": 4, **training})


def test_the_best_trial_of_a_search_that_a_model_has(root: Path) -> None:
    (search,) = searches_in_use(params(learning_rate=0.0099, batch_size=32, schedule="cosine"), root)
    assert (search.name, search.trials) == ("spots/lcnet_050/hybrid", 2)
    found = {one.key: (one.best, one.low, one.high, one.log) for one in search.settings}
    assert found == {"training.learning_rate": (0.0099, 1e-4, 1e-2, True), "training.batch_size": (32, 32, 128, True)}


def test_a_search_whose_result_no_model_has_does_not_matter(root: Path) -> None:
    assert searches_in_use(params(learning_rate=0.001, batch_size=32, schedule="cosine"), root) == ()
    assert searches_in_use(params(learning_rate=0.0099, batch_size=64, schedule="cosine"), root) == ()


def test_four_printed_digits_are_the_same_setting(root: Path) -> None:
    assert len(searches_in_use(params(learning_rate=0.009901, batch_size=32, schedule="cosine"), root)) == 1


def test_journals_that_cannot_be_read_are_passed_over(root: Path) -> None:
    (path,) = (root / ".qlcnet/tuning").glob("*.log")
    path.write_text(path.read_text() + '{"op_code": 5, "trial')  # its writer was killed
    (root / ".qlcnet/tuning/other.log").write_text('{"op_code": 5, "trial_id": 9}\n')
    (root / ".qlcnet/tuning/text.log").write_bytes(b"\xff\xfenothing\n[]\n")
    assert len(searches_in_use(params(learning_rate=0.0099, batch_size=32, schedule="cosine"), root)) == 1
    assert searches_in_use(params(), root / "nowhere") == ()
