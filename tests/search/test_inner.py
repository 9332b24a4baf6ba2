"""Inner folds: of one outer training part alone, stratified, grouped where the task is; other images are never read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qlcnet.config import Task
from qlcnet.data.batches import InputArray
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.fit.data import FitData, open_fit_data
from qlcnet.fit.fitting import fit_fold
from qlcnet.fit.spec import DataPaths
from qlcnet.grid.grid import plan_grid
from qlcnet.paths import Project
from qlcnet.search.errors import TuningError
from qlcnet.search.fits import Bench
from qlcnet.search.inner import InnerProject, inner_table
from qlcnet.search.space import Space
from qlcnet.search.trial_store import TrialStore
from tests.grid.projects import TASK, make_project

CLASSES = ("a", "b", "c")


def task(grouped: bool = False, kind: str = "pooled-cv", folds: int = 3) -> Task:
    protocol = {"kind": kind, "grouped": grouped, **({} if kind == "official" else {"folds": folds})}
    return Task.model_validate({"source": {"kind": "digits"}, "protocol": protocol})


def images(groups: bool = False, parts: str = "train") -> ImageSet:
    labels = np.repeat(np.arange(3), 40)
    pixels = np.zeros((120, 8, 8, 1), np.uint8)
    of_group = np.arange(120) // 2 if groups else None
    return ImageSet(pixels, labels, np.resize(parts.split(), 120).astype("<U5"), CLASSES, of_group, {})


@pytest.mark.parametrize(
    ("of", "parts"), [(task(), "train"), (task(kind="train-cv"), "train train test"),
                      (task(kind="official"), "train train val test")]
)  # fmt: skip
def test_only_images_of_the_outer_training_part(of: Task, parts: str) -> None:
    outer = make_folds(images(parts=parts), of, seed=1)
    for fold in outer.folds:
        table = inner_table(outer, of, CLASSES, 4, 42, fold)
        assert sorted(table.index) == outer.split(0, fold).train.tolist()
        assert set(table.part) == {"cv"}
        validated = []
        for inner in range(4):
            split = table.split(0, inner)
            assert not len(split.test)
            validated += split.validation.tolist()
            counts = np.bincount(table.label[np.isin(table.index, split.validation)])
            assert counts.max() - counts.min() <= 1  # stratified: the classes are equally many
        assert sorted(validated) == outer.split(0, fold).train.tolist()
        labels = dict(zip(outer.index.tolist(), outer.label.tolist(), strict=True))
        assert [labels[i] for i in table.index.tolist()] == table.label.tolist()


def test_no_group_stands_on_both_sides_of_an_inner_fold_of_a_grouped_task() -> None:
    of = task(grouped=True)
    outer = make_folds(images(groups=True), of, seed=1)
    table = inner_table(outer, of, CLASSES, 4, 42, 1)
    for fold in range(4):
        split = table.split(0, fold)
        assert not set(split.train // 2) & set(split.validation // 2)
    # this test can fail: images of a group do part where the task is not grouped
    apart = inner_table(make_folds(images(groups=True), task(), seed=1), task(), CLASSES, 4, 42, 1)
    assert any(set(s.train // 2) & set(s.validation // 2) for s in (apart.split(0, f) for f in range(4)))


def test_too_few_images_for_so_many_folds_are_named() -> None:
    outer = make_folds(images(), task(), seed=1)
    with pytest.raises(TuningError, match=r"no 30 inner folds \(tuning.folds\) in the training part of fold 0"):
        inner_table(outer, task(), CLASSES, 30, 42, 0)


class Counting(InputArray):
    """Images that remember which of them were read for training or prediction."""

    read: set[int]

    def decode(self, rows: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        self.read.update(rows.tolist())
        return super().decode(rows, *args, **options)  # type: ignore[arg-type]


def bench(root: Path, fold: int) -> tuple[Bench, object]:
    raw = {
        "folds": 2,
        "metric": "accuracy",
        "space": {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    }
    params = make_project(root, epochs=1, tuning=raw)
    inner = InnerProject.make(params, TASK, root, 2, fold)
    space = Space.of(params, "classical", "lcnet_035")
    return Bench(space, inner, TrialStore(Project(root)), root / "used.fits", "accuracy", 2), params


def test_a_fit_of_a_search_reads_no_image_of_the_outer_validation_part(tmp_path: Path) -> None:
    """Counted: what is trained on and predicted. And shown: with those images destroyed it leaves the same bytes."""
    outer_fold = 1
    of, _ = bench(tmp_path, outer_fold)
    params = of.params_of(of.space.default)
    grid = plan_grid(params, TASK, of.inner.root, of.trials)
    outside = FoldTable.read(tmp_path / "data/folds" / f"{TASK}.csv").split(0, outer_fold).validation
    data = open_fit_data(DataPaths.of(of.inner.root, TASK), ())
    assert len(outside)
    poisoned = data.images.stored.clone()
    poisoned[torch.from_numpy(outside)] = 255 - poisoned[torch.from_numpy(outside)]
    labels = data.labels.clone()
    labels[torch.from_numpy(outside)] = 2 - labels[torch.from_numpy(outside)]
    results = []
    for stored, truth in ((data.images.stored, data.labels), (poisoned, labels)):
        counted = Counting("image", stored)
        object.__setattr__(counted, "read", set())
        own = FitData(counted, {}, truth, data.folds, data.class_names)
        own.statistics(grid.specs[0].model.inputs[0])  # sums of each image; the mean is over training rows alone
        counted.read.clear()
        results.append(fit_fold(grid.specs[0], own))
        assert counted.read
        assert not counted.read & set(outside.tolist())
    one, other = results
    assert (one.predictions["probabilities"] == other.predictions["probabilities"]).all()
    assert all((one.weights[name] == other.weights[name]).all() for name in one.weights)


def test_a_circuit_that_only_a_trial_asks_for_is_made_once_and_kept_by_content(tmp_path: Path) -> None:
    params = make_project(
        tmp_path, tuning={"folds": 2, "space": {"circuits.ry.seed": [42, 7], "circuits.ry.ansatz": ["none", "random"]}}
    )
    inner = InnerProject.make(params, TASK, tmp_path, 2, 0)
    space = Space.of(params, "hybrid", "lcnet_035")
    kept = Project(tmp_path).state / "channels" / TASK
    names = []
    for setting in (
        {"circuits.ry.seed": 7, "circuits.ry.ansatz": "random"},
        {"circuits.ry.seed": 42, "circuits.ry.ansatz": "random"},
    ) * 2:
        trial = inner.with_channels(space.with_setting(setting), "hybrid")
        (name,) = trial.models["hybrid"].circuits
        assert trial.circuits[name].seed == setting["circuits.ry.seed"]
        names.append(name)
    assert names[:2] == names[2:]
    assert names[0] != names[1]
    assert len(list(kept.glob("*/ry/channels.npy"))) == 2
    stored = {path: path.stat().st_mtime_ns for path in kept.rglob("*.npy")}
    inner.with_channels(space.with_setting({"circuits.ry.seed": 7, "circuits.ry.ansatz": "random"}), "hybrid")
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.npy")} == stored
    grid = plan_grid(trial, TASK, inner.root, TrialStore(Project(tmp_path)))
    assert [spec.fold for spec in grid.specs] == [0, 1]
