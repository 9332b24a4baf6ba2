"""The name of a search covers all that decides a trial's score; a search that goes on neither repeats nor forgets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from qlcnet.config import Backbone, Params
from qlcnet.search import tune
from qlcnet.search.journal import JournalError, open_journal
from tests.grid.projects import TASK, make_project


def test_a_search_has_another_name_for_other_data_sources_or_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_project(tmp_path)

    def name(model: str = "hybrid") -> str:
        return tune.study_name(params, TASK, tmp_path, model, "lcnet_035")

    first = name()
    assert first.startswith(f"{TASK}/lcnet_035/hybrid/")
    assert name() == first
    card = tmp_path / "data/quanvolved" / TASK / "ry/card.json"
    classical = name("classical")
    card.write_text(card.read_text().replace('"digest": "', '"digest": "0'))
    assert name() != first
    assert name("classical") == classical  # reads no circuit
    folds = tmp_path / "data/folds" / f"{TASK}.csv"
    before = name()
    folds.write_bytes(folds.read_bytes() + b"\n")
    assert name() != before
    monkeypatch.setattr(tune, "LOADED", SimpleNamespace(whole="other code"))
    assert name("classical") not in (classical, before)


def test_pretrained_weights_count_by_content_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_project(tmp_path)
    backbones = {"lcnet_035": Backbone(pretrained="weights.safetensors")}
    params = params.model_copy(update={"backbones": backbones})
    monkeypatch.chdir(tmp_path.parent)
    names = []
    for content in (b"one", b"two"):
        (tmp_path / "weights.safetensors").write_bytes(content)
        names.append(tune.study_name(params, TASK, tmp_path, "hybrid", "lcnet_035"))
    assert names[0] != names[1]


# --- going on -------------------------------------------------------------------------------------------------------


def searched(root: Path, params: Params, trials: int) -> list[dict[str, object]]:
    """Settings of all trials of the search, in order, after `trials` more."""
    tune.tune(params, TASK, root, trials, "classical", "lcnet_035")
    name = tune.study_name(params, TASK, root, "classical", "lcnet_035")
    study = optuna.load_study(study_name=name, storage=open_journal(root / ".qlcnet" / "tuning", name))
    return [trial.params for trial in study.trials]


@pytest.fixture
def instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project whose trials take no time."""
    monkeypatch.setattr(tune, "_score", lambda trial, *_: draw(trial))
    return make_project(tmp_path)


def draw(trial: optuna.Trial) -> float:
    return trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True) * trial.suggest_int("batch", 1, 100)


def test_a_search_that_goes_on_repeats_no_trial(instant: Params, tmp_path: Path) -> None:
    first = searched(tmp_path, instant, 4)
    both = searched(tmp_path, instant, 4)
    assert both[:4] == first
    assert len({repr(trial) for trial in both}) == 8


@pytest.mark.parametrize("cut", [1, 40])
def test_an_unfinished_last_line_is_dropped(
    instant: Params, tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    searched(tmp_path, instant, 2)
    (journal,) = (tmp_path / ".qlcnet" / "tuning").glob("*.log")
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert len(searched(tmp_path, instant, 1)) == 3
    assert "its last line was not finished" in caplog.text


def test_a_damaged_line_is_named_and_costs_one_search(instant: Params, tmp_path: Path) -> None:
    searched(tmp_path, instant, 2)
    (journal,) = (tmp_path / ".qlcnet" / "tuning").glob("*.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1][:10] + b"\n", *lines[2:]]))
    with pytest.raises(JournalError, match=rf"{journal.name}, line 2 is damaged: remove the file"):
        searched(tmp_path, instant, 1)
    other = instant.model_copy(update={"seed": 7})
    assert len(searched(tmp_path, other, 1)) == 1


def test_no_trials_are_an_error(instant: Params, tmp_path: Path) -> None:
    with pytest.raises(tune.TuningError, match="--trials: 0"):
        searched(tmp_path, instant, 0)
