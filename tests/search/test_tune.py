"""The name of a search covers all that decides a trial's score; its journal survives whoever was killed writing it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from qlcnet.config import Backbone, Params
from qlcnet.search import tune
from qlcnet.search.errors import TuningError
from qlcnet.search.journal import JournalError, open_journal
from qlcnet.search.space import Space
from tests.grid.projects import TASK, make_project


def name_of(params: Params, root: Path, model: str = "hybrid") -> str:
    return tune.study_name(params, TASK, root, Space.of(params, model, "lcnet_035"))


def test_a_search_has_another_name_for_other_data_sources_or_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_project(tmp_path)

    def name(model: str = "hybrid") -> str:
        return name_of(params, tmp_path, model)

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
        names.append(name_of(params, tmp_path))
    assert names[0] != names[1]


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    params = make_project(tmp_path)
    for asked, message in (
        (tune.Asked(TASK, trials=0), "--trials: 0"),
        (tune.Asked(TASK, search_seeds=0), "--search-seeds: 0"),
        (tune.Asked(TASK, ("nobody",)), r"no model 'nobody' in params.yaml \(there: classical, hybrid\)"),
        (tune.Asked(TASK, backbone="vgg"), "no backbone 'vgg'"),
        (tune.Asked(TASK, ("hybrid", "hybrid")), "names a model twice"),
        (tune.Asked(TASK, fold=9), r"--fold 9: squares has the folds 0, 1, 2"),
    ):
        with pytest.raises(TuningError, match=message):
            tune.tune(params, tmp_path, asked)


# --- journals -------------------------------------------------------------------------------------------------------


def numbered(folder: Path, name: str = "a/b") -> list[int]:
    """Trials of a journal, after one more."""
    study = optuna.create_study(study_name=name, storage=open_journal(folder, name), load_if_exists=True)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    return [trial.number for trial in study.trials]


@pytest.mark.parametrize("cut", [1, 40])
def test_an_unfinished_last_line_is_dropped(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    numbered(tmp_path)
    (journal,) = tmp_path.glob("*.log")
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert numbered(tmp_path) == [0, 1]
    assert "its last line was not finished" in caplog.text


def test_a_damaged_line_is_named_and_costs_one_search(tmp_path: Path) -> None:
    numbered(tmp_path)
    (journal,) = tmp_path.glob("*.log")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1][:10] + b"\n", *lines[2:]]))
    with pytest.raises(JournalError, match=rf"{journal.name}, line 2 is damaged: remove the file"):
        numbered(tmp_path)
    assert numbered(tmp_path, "a/c") == [0]
