"""A fit is believed only where its files are what was written."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import load_params
from qlcnet.fit.data import open_fit_data
from qlcnet.fit.fold_folder import CONFIG, FILES, HISTORY, PREDICTIONS, PROVENANCE, WEIGHTS, files_of
from qlcnet.fit.soundness import problem_of
from qlcnet.fit.spec import DataPaths, FitResult
from qlcnet.fit.store import FoldStore, StoreError
from qlcnet.grid.grid import Grid, link_results
from qlcnet.train import plan_sound_grid
from tests.grid.projects import TASK, make_project, plan

ROOT = Path(__file__).resolve().parents[2]


def a_result(number: int) -> FitResult:
    history = [{"epoch": 0, "val_accuracy": number / 10}]
    arrays = {"index": np.arange(3), "probabilities": np.full((3, 2), number, np.float32)}
    return FitResult(arrays, history, {"w": np.full(4, number, np.float32)}, {"parameters": 4}, seconds=1.0)


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[Grid, FoldStore, Path]:
    """A project whose store holds a made-up result of each of its six fits."""
    params = make_project(tmp_path)
    grid, store = plan(params, tmp_path)
    for number, spec in enumerate(grid.specs):
        store.put(spec.fingerprint, files_of(grid.configs[spec.fingerprint], a_result(number)), {"name": spec.name})
    return grid, store, tmp_path


def rewrite(file: Path, change: Callable[[bytes], bytes]) -> None:
    content = change(file.read_bytes())
    file.unlink()  # read-only
    file.write_bytes(content)


def flip(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def edit(**values: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **values}).encode()


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "one bit of the predictions": (PREDICTIONS, flip, "predictions.safetensors is not what was written"),
    "weights cut": (WEIGHTS, lambda content: content[:-4], "weights.safetensors is not what was written"),
    "weights zeroed": (WEIGHTS, lambda content: bytes(len(content)), "weights.safetensors is not what was written"),
    "another history": (HISTORY, lambda content: content.replace(b"0.", b"1."), "history.csv is not what was written"),
    "a fact edited": (CONFIG, edit(parameters=5), "config.json is not what was written"),
    "no JSON": (CONFIG, lambda content: content[:40], "config.json or provenance.json is damaged"),
    "empty": (CONFIG, lambda content: b"", "config.json or provenance.json is damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_set_aside_and_fitted_again(
    what: str, fitted: tuple[Grid, FoldStore, Path], caplog: pytest.LogCaptureFixture
) -> None:
    grid, store, root = fitted
    name, change, problem = DAMAGE[what]
    victim = grid.specs[2].fingerprint
    rewrite(store.path(victim) / name, change)
    assert problem in (store.problem(victim) or "")
    with pytest.raises(StoreError, match="is damaged"):
        link_results(grid, store, root / "results" / "folds")
    assert not (root / "results" / "folds" / TASK).exists(), "whole or not at all"
    assert store.export(root / "fits.tar") == 5

    again = plan_sound_grid(load_params(root / "params.yaml"), TASK, root, store)
    assert [spec.fingerprint for spec in again.todo] == [victim]
    assert sum("is damaged" in message and "set aside" in message for message in caplog.messages) == 1
    assert len(list(store.root.glob(".damaged-*"))) == 1
    store.put(victim, files_of(again.configs[victim], a_result(2)), {})
    link_results(again, store, root / "results" / "folds")
    assert len(list((root / "results" / "folds" / TASK).rglob(CONFIG))) == 6


def test_files_of_two_fits_that_were_swapped(fitted: tuple[Grid, FoldStore, Path]) -> None:
    grid, store, _ = fitted
    one, other = (store.path(spec.fingerprint) / PREDICTIONS for spec in grid.specs[:2])
    kept = one.read_bytes()
    rewrite(one, lambda _: other.read_bytes())
    rewrite(other, lambda _: kept)
    assert [store.problem(spec.fingerprint) is None for spec in grid.specs] == [False, False, True, True, True, True]


def test_a_config_that_states_another_identity(fitted: tuple[Grid, FoldStore, Path]) -> None:
    grid, store, _ = fitted
    folder = store.path(grid.specs[0].fingerprint)
    files = {name: (folder / name).read_bytes() for name in FILES}  # without provenance.json, which would tell too
    assert problem_of(files) is None
    files[CONFIG] = edit(settings={"training": {"learning_rate": 1.0}})(files[CONFIG])
    assert problem_of(files) == "config.json does not have the fingerprint that it states"


def test_an_archive_with_one_damaged_fit_gives_nothing(fitted: tuple[Grid, FoldStore, Path], tmp_path: Path) -> None:
    grid, store, _ = fitted
    folder = tmp_path / "archive"
    for spec in grid.specs:
        shutil.copytree(store.path(spec.fingerprint), folder / spec.fingerprint)
    rewrite(folder / max(spec.fingerprint for spec in grid.specs) / PREDICTIONS, flip)
    with tarfile.open(tmp_path / "fits.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)
    other = FoldStore(tmp_path / "other")
    with pytest.raises(StoreError, match=r"is damaged \(predictions.safetensors is not .*nothing was imported"):
        other.import_(tmp_path / "fits.tar")
    assert not list(other.entries())


def test_a_folder_without_config_is_not_in_the_way(fitted: tuple[Grid, FoldStore, Path]) -> None:
    grid, store, _ = fitted
    spec = grid.specs[0]
    (store.path(spec.fingerprint) / CONFIG).unlink()
    assert spec.fingerprint not in store
    store.put(spec.fingerprint, files_of(grid.configs[spec.fingerprint], a_result(0)), {})
    assert store.problem(spec.fingerprint) is None
    assert not list(store.root.glob(".partial-*"))


def test_a_damaged_sidecar_leaves_the_list_of_the_others(
    fitted: tuple[Grid, FoldStore, Path], caplog: pytest.LogCaptureFixture
) -> None:
    grid, store, _ = fitted
    rewrite(store.path(grid.specs[0].fingerprint) / PROVENANCE, lambda content: content[:20])
    assert len(list(store.entries())) == 5
    assert "provenance.json is damaged" in caplog.text
    assert "remove its folder" in caplog.text


def test_an_archive_does_not_take_the_place_of_another_file(fitted: tuple[Grid, FoldStore, Path]) -> None:
    _, store, root = fitted
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(StoreError, match=r"must end in \.tar"):
        store.export(root / "params.yaml")
    assert (root / "params.yaml").read_bytes() == before


def test_a_name_that_another_process_has_just_linked(
    fitted: tuple[Grid, FoldStore, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy onto it would write into the other's stored fit."""
    grid, store, root = fitted
    mine, other = (store.path(spec.fingerprint) for spec in grid.specs[:2])
    before = {name: (other / name).read_bytes() for name in FILES}
    link = os.link

    def meanwhile(file: Path, target: Path) -> None:
        name = Path(file).name
        (root / "out" / name).unlink(missing_ok=True)
        link(other / name, root / "out" / name)
        link(file, target)

    monkeypatch.setattr(os, "link", meanwhile)
    store.link(mine.name, root / "out")
    assert {name: (other / name).read_bytes() for name in FILES} == before
    assert {name: (root / "out" / name).read_bytes() for name in FILES} == {n: (mine / n).read_bytes() for n in FILES}
    assert sorted(os.listdir(root / "out")) == sorted(FILES)


@pytest.mark.parametrize(
    ("name", "stage", "change", "said"),
    [
        ("raw/squares/images.npy", "fetch", lambda content: content[:-1000], "is damaged"),
        ("quanvolved/squares/ry/channels.npy", "quanvolve", lambda content: content[:-1000], "is damaged"),
        ("raw/squares/images.npy", "fetch", lambda content: content.replace(b"(60,", b"(30,", 1), "its card says"),
    ],
)
def test_an_array_that_is_not_what_its_card_says(
    name: str, stage: str, change: Callable[[bytes], bytes], said: str, fitted: tuple[Grid, FoldStore, Path]
) -> None:
    *_, root = fitted
    rewrite(root / "data" / name, change)
    with pytest.raises(ValueError, match=rf"{said}.*run `qlcnet {stage}`"):
        open_fit_data(DataPaths.of(root, TASK), ("ry",))
