"""A fit runs the code that it was planned for, or not at all."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from qlcnet.fit import code
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.grid import executors
from qlcnet.grid.executors import EngineError, SourcesChangedError, check_sources
from tests.grid.projects import TASK, make_project, plan


@pytest.fixture
def spec(tmp_path: Path) -> FitSpec:
    return plan(make_project(tmp_path), tmp_path)[0].specs[0]


def test_the_hash_changes_with_a_byte_and_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "qlcnet"
    (package / "fit").mkdir(parents=True)
    (package / "models").mkdir()
    (package / "fit" / "fit.py").write_text("a = 1\n")
    (package / "fit" / "plan.py").write_text("")
    monkeypatch.setattr(code, "__file__", str(package / "fit" / "code.py"))
    monkeypatch.setattr(code, "FIT_SOURCES", ("models", "fit/fit.py"))
    hashes = [code.hash_of_sources()]
    (package / "fit" / "fit.py").write_text("a = 2\n")
    hashes.append(code.hash_of_sources())
    (package / "models" / "new.py").write_text("")
    hashes.append(code.hash_of_sources())
    assert len(set(hashes)) == 3
    (package / "fit" / "plan.py").write_text("b = 1\n")
    assert code.hash_of_sources() == hashes[-1], "decides no fit"


def test_a_plan_names_the_code_that_it_is_for(spec: FitSpec) -> None:
    assert spec.sources == code.hash_of_sources()


def test_the_planned_code_runs(spec: FitSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOADED", "hash_of_sources"):  # whatever is being edited while this runs
        monkeypatch.setattr(code, name, spec.sources if name == "LOADED" else lambda: spec.sources)
    check_sources(spec)


@pytest.mark.parametrize("changed", ["planned", "loaded", "on disk"])
def test_other_code_is_an_error_of_the_grid(spec: FitSpec, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    monkeypatch.setattr(code, "LOADED", "b" if changed == "loaded" else "a")
    monkeypatch.setattr(code, "hash_of_sources", lambda: "b" if changed == "on disk" else "a")
    planned = replace(spec, sources="b" if changed == "planned" else "a")
    with pytest.raises(SourcesChangedError, match="the sources changed while the grid ran; run again") as raised:
        executors._run_local(planned, DataPaths.of(Path("nowhere"), TASK), (), "nowhere")
    travelled = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(travelled, EngineError), "which ends the grid at once, see test_grid"
    assert str(travelled) == str(raised.value)
