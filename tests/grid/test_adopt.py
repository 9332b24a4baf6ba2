"""Fits are kept under their new names when fitting some of them again gives the same bytes, and only then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qlcnet.config import canonical
from qlcnet.fit.code import Code
from qlcnet.fit.data import open_fit_data
from qlcnet.fit.fitting import fit_fold
from qlcnet.fit.fold_folder import CONFIG, FILES, PREDICTIONS, WEIGHTS, read_config, read_provenance
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.grid.adopt import adopt, choose, find_candidates
from qlcnet.grid.grid import Grid
from tests.grid.conftest import Reference
from tests.grid.projects import TASK, plan

FITS = 6
FACTS = ("parameters", "multiply_adds", "circuit_evaluations", "images", "input_shape")


@pytest.fixture
def project(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    """A copy of the fitted project, in which every fit runs other code than it was fitted with."""
    root = tmp_path / "project"
    shutil.copytree(reference.root, root)
    digest = Code.digest
    monkeypatch.setattr(Code, "digest", lambda code, words: f"new {digest(code, words)}")
    grid, store = plan(reference.params, root)
    assert len(grid.todo) == FITS
    return reference._replace(root=root, grid=grid, store=store)


def refit(grid: Grid, specs: list[FitSpec]) -> dict[str, FitResult]:
    """In this process: a worker would see that nothing has changed."""
    refit.fitted += [spec.name for spec in specs]  # type: ignore[attr-defined]
    return {spec.fingerprint: fit_fold(spec, refit.data) for spec in specs}  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _data(reference: Reference) -> None:
    refit.data = open_fit_data(DataPaths.of(reference.root, TASK), ("ry",))  # type: ignore[attr-defined]
    refit.fitted = []  # type: ignore[attr-defined]


def test_equal_bytes_re_key_every_fit(project: Reference) -> None:
    former = {entry.fingerprint: project.store.path(entry.fingerprint) for entry in project.store.entries()}
    result = adopt(project.params, project.root, project.store, 2, refit)
    assert str(result) == "2 fits fitted again, all bytes equal: 6 fits adopted"
    assert refit.fitted == result.checked  # type: ignore[attr-defined]
    grid, store = plan(project.params, project.root)
    assert not grid.todo
    for spec in grid.specs:
        folder = store.path(spec.fingerprint)
        origin = former[read_provenance(folder)["adopted_from"]]
        for name in FILES:
            if name != CONFIG:
                assert (folder / name).samefile(origin / name)
        now, before = read_config(folder), read_config(origin)
        assert {key for key in now if now[key] != before[key]} == {"code", "fingerprint"}
        assert now["code"].startswith("new ")
        assert now["fingerprint"] == spec.fingerprint
        assert read_provenance(folder)["name"] == spec.name
    assert adopt(project.params, project.root, store, 1, refit).candidates == 0


@pytest.mark.parametrize("name", [PREDICTIONS, WEIGHTS, "history.csv"])
def test_one_other_byte_re_keys_nothing(project: Reference, name: str) -> None:
    for entry in project.store.entries():
        file = project.store.path(entry.fingerprint) / name
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.unlink()
        file.write_bytes(content)
    result = adopt(project.params, project.root, project.store, 1, refit, seed=3)
    assert result.differ == [f"{result.checked[0]}: {name}"]
    assert result.adopted == 0
    assert "1 of 1 fits that were fitted again differ from the stored ones; nothing was adopted" in str(result)
    assert len(plan(project.params, project.root)[0].todo) == FITS


def test_fits_from_before_identities_are_found(project: Reference) -> None:
    """What config.json held at first: names, whole sections, digests of the task, a hash of all sources."""
    grid, store = project.grid, project.store
    assert grid.facts is not None
    twins = {
        candidate.spec.fingerprint: candidate.stored
        for candidate in find_candidates(project.params, project.root, store)
    }
    for spec in grid.specs:
        folder = store.path(twins[spec.fingerprint])
        now = read_config(folder)
        facts = {key: now[key] for key in FACTS}
        training = {key: value for key, value in canonical(spec.training).items() if key != "device"}
        sections = {"backbone": canonical(spec.backbone), "model": canonical(spec.model), "training": training}
        channels = {name: {"digest": grid.facts.data["channels"][name]} for name in spec.model.stored}
        old: dict[str, Any] = {
            **facts, "normalisation": {**now["normalisation"], "channels": ["image", "quanv:ry"]},
            "task": TASK, "backbone": spec.backbone_name, "model": spec.model_name, "repeat": 0, "fold": spec.fold,
            "seed": 42, "params": sections, "class_names": ["a", "b", "c"], "sources": "0" * 32,
            "tuple": now["numerics"],
            "data": {"images": grid.facts.data["images"], "folds": grid.facts.data["folds"], "channels": channels},
        }  # fmt: skip
        (folder / CONFIG).unlink()
        (folder / CONFIG).write_text(json.dumps(old))
    assert adopt(project.params, project.root, FoldStore(store.root), 2, refit).adopted == FITS
    grid, store = plan(project.params, project.root)
    assert not grid.todo
    hybrid = next(spec for spec in grid.specs if spec.model_name == "hybrid")
    assert read_config(store.path(hybrid.fingerprint))["normalisation"]["channels"] == [1, 4]


def test_every_kind_of_change_is_checked_before_it_is_adopted(project: Reference) -> None:
    found = find_candidates(project.params, project.root, project.store)
    changes = {candidate.change for candidate in found}
    assert len(changes) == 2, "fits with and without the quantum head run other code"
    for seed in range(5):
        assert {candidate.change for candidate in choose(found, 2, seed)} == changes
    assert choose(found, 3, 0) != choose(found, 3, 1)
    assert len(choose(found, 99, 0)) == FITS
    one = adopt(project.params, project.root, project.store, 1, refit)
    assert one.adopted == 3
    assert str(one).endswith("3 fits adopted; 3 of other changes are left (a larger --check reaches them)")
    with pytest.raises(ValueError, match="at least one"):
        adopt(project.params, project.root, project.store, 0, refit)
