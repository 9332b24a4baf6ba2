"""The name of a search covers all that decides a trial's score."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from qlcnet.config import Backbone
from qlcnet.search import tune
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
