"""Fold tables: every image once per repeat, no group on both sides, stratified, and equal to scikit-learn's."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from qlcnet.config import Data, Task
from qlcnet.data.fold_table import COLUMNS, FoldTable
from qlcnet.data.folds import draw_subset, make_folds
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.sources import fetch

SEED = 42


@dataclass
class Images:
    labels: np.ndarray
    parts: np.ndarray
    groups: np.ndarray | None
    class_names: tuple[str, ...] = ("nevus", "melanoma", "dermatofibroma")


def images(n: int = 300, grouped: bool = True) -> Images:
    """Imbalanced classes; groups of one class, of one to four images, that cross the official parts."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 5, n)
    groups = np.repeat(np.arange(n), sizes)[:n]
    label_of_group = rng.choice(3, n, p=[0.7, 0.2, 0.1])
    order = rng.permutation(n)
    parts = rng.choice(["train", "val", "test"], n, p=[0.7, 0.1, 0.2])
    return Images(label_of_group[groups][order], parts, groups[order] if grouped else None)


def task(kind: str = "pooled-cv", images_per_class: int | None = None, **protocol: Any) -> Task:
    source = {"kind": "digits"}
    return Task.model_validate(
        {"source": source, "protocol": {"kind": kind, **protocol}, "images_per_class": images_per_class}
    )


def check_every_image_once(table: FoldTable, expected: np.ndarray, folds: int) -> None:
    """The promise of the out-of-fold table: validation parts tile the images, and training is the rest."""
    assert table.folds == tuple(range(folds))
    for repeat in table.repeats:
        splits = [table.split(repeat, fold) for fold in table.folds]
        validated = np.concatenate([split.validation for split in splits])
        np.testing.assert_array_equal(np.sort(validated), expected)
        for split in splits:
            both = np.concatenate([split.train, split.validation])
            np.testing.assert_array_equal(np.sort(both), expected)


def check_no_group_on_both_sides(table: FoldTable, groups: np.ndarray) -> None:
    for repeat in table.repeats:
        for fold in table.folds:
            split = table.split(repeat, fold)
            seen = set(groups[split.train].tolist())
            assert not seen & set(groups[split.validation].tolist())
            assert not seen & set(groups[split.test].tolist())


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("folds", "repeats"), [(2, 1), (5, 3)])
def test_pooled_folds_tile_the_images(grouped: bool, folds: int, repeats: int) -> None:
    data = images()
    table = make_folds(data, task(folds=folds, repeats=repeats, grouped=grouped), SEED)
    assert table.repeats == tuple(range(repeats))
    check_every_image_once(table, np.arange(300), folds)
    np.testing.assert_array_equal(table.label, data.labels[table.index])
    assert all(len(table.split(r, f).test) == 0 for r in table.repeats for f in table.folds)
    if grouped:
        check_no_group_on_both_sides(table, data.groups)  # type: ignore[arg-type]


def test_ungrouped_folds_do_leak() -> None:
    """The check above sees what it is for."""
    data = images()
    table = make_folds(data, task(), SEED)
    with pytest.raises(AssertionError):
        check_no_group_on_both_sides(table, data.groups)  # type: ignore[arg-type]


@pytest.mark.parametrize("spoil", ["fold-twice", "fold-missing"])
def test_a_spoilt_table_does_not_pass(spoil: str) -> None:
    """And so does the other one."""
    table = make_folds(images(), task(), SEED)
    if spoil == "fold-twice":
        table.index[table.fold == 1] = table.index[table.fold == 0]
    else:
        table.fold[0] = 7
    with pytest.raises(AssertionError):
        check_every_image_once(table, np.arange(300), 5)


def test_folds_are_stratified() -> None:
    data = images()
    counts = np.bincount(data.labels)
    table = make_folds(data, task(folds=5), SEED)
    for fold in table.folds:
        found = np.bincount(data.labels[table.split(0, fold).validation], minlength=3)
        assert np.all(np.abs(found - counts / 5) < 1)


def test_the_first_repeat_is_scikit_learns_with_the_same_seed() -> None:
    data = images()
    table = make_folds(data, task(folds=5), SEED)
    plain = StratifiedKFold(5, shuffle=True, random_state=SEED).split(data.labels, data.labels)
    for fold, (train, validation) in enumerate(plain):
        np.testing.assert_array_equal(table.split(0, fold).train, train)
        np.testing.assert_array_equal(table.split(0, fold).validation, validation)
    table = make_folds(data, task(folds=4, grouped=True), SEED)
    grouped = StratifiedGroupKFold(4, shuffle=True, random_state=SEED).split(data.labels, data.labels, data.groups)
    for fold, (_, validation) in enumerate(grouped):
        np.testing.assert_array_equal(table.split(0, fold).validation, validation)


def test_seeds_and_repeats_differ_and_are_repeatable() -> None:
    data = images()
    made = [make_folds(data, task(repeats=3), seed).fold.reshape(3, -1) for seed in (42, 42, 43, 2**40)]
    np.testing.assert_array_equal(made[0], made[1])
    rows = [row.tobytes() for table in (made[0], made[2], made[3]) for row in table]
    assert len(set(rows)) == 9, "neither a repeat nor a neighbouring seed gives the same folds"


@pytest.mark.parametrize("grouped", [False, True])
def test_train_cv_keeps_the_test_part_apart(grouped: bool, caplog: pytest.LogCaptureFixture) -> None:
    data = images()
    with caplog.at_level(logging.WARNING, "qlcnet"):
        table = make_folds(data, task("train-cv", grouped=grouped, repeats=2), SEED)
    test = np.flatnonzero(data.parts == "test")
    rest = np.flatnonzero(data.parts != "test")
    if grouped:
        leaking = np.isin(data.groups[rest], data.groups[test])  # type: ignore[index]
        assert leaking.any()
        assert f"{leaking.sum()} of {len(rest)} images are left out" in caplog.text
        rest = rest[~leaking]
        check_no_group_on_both_sides(table, data.groups)  # type: ignore[arg-type]
    check_every_image_once(table, rest, 5)
    for fold in table.folds:
        np.testing.assert_array_equal(table.split(1, fold).test, test)


def test_the_official_split_is_one_fold() -> None:
    data = images()
    table = make_folds(data, task("official", repeats=2), SEED)
    assert (table.repeats, table.folds) == ((0, 1), (0,))
    for repeat in table.repeats:
        split = table.split(repeat, 0)
        for part, positions in (("train", split.train), ("val", split.validation), ("test", split.test)):
            np.testing.assert_array_equal(positions, np.flatnonzero(data.parts == part))


# --- subsets -----------------------------------------------------------------------------------------------------


def test_a_subset_has_the_number_asked_for_and_keeps_the_parts_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [6000, 600, 40])
    parts = np.where(np.arange(len(labels)) % 6 == 5, "test", "train")
    rows = draw_subset(labels, parts, 500, SEED)
    assert np.bincount(labels[rows]).tolist() == [500, 500, 40]
    assert np.all(np.diff(rows) > 0)
    tests = np.bincount(labels[rows][parts[rows] == "test"])
    assert tests[0] == tests[1] == 83  # 500 / 6 = 83.3; the larger remainder (416.7) is rounded up
    assert not np.array_equal(rows, draw_subset(labels, parts, 500, SEED + 1))
    np.testing.assert_array_equal(rows, draw_subset(labels, parts, 500, SEED))


@pytest.mark.parametrize("kind", ["pooled-cv", "train-cv", "official"])
@pytest.mark.parametrize("limit", [2, 10, 29, 10_000])
def test_every_protocol_takes_the_subset(kind: str, limit: int) -> None:
    data = images()
    made = task(kind, limit, **({} if kind == "official" else {"folds": 2}))
    if limit == 2 and kind != "pooled-cv":
        with pytest.raises(DataError):
            make_folds(data, made, SEED)
        return
    table = make_folds(data, made, SEED)
    counts = np.bincount(data.labels[np.unique(table.index)])
    assert counts.tolist() == np.minimum(np.bincount(data.labels), limit).tolist()


# --- errors ------------------------------------------------------------------------------------------------------


def with_few(groups: bool) -> Images:
    """100 nevi, 20 melanomas, and 8 dermatofibromas of 4 lesions."""
    labels = np.repeat([0, 1, 2], [100, 20, 8])
    return Images(labels, np.full(128, "train"), np.arange(128) // 2 if groups else None)


def test_a_class_with_fewer_images_than_folds_is_named() -> None:
    with pytest.raises(DataError) as error:
        make_folds(with_few(groups=False), task(folds=9), SEED)
    assert "fewer images of a class than 9 folds: dermatofibroma (label 2) has 8;" in str(error.value)
    assert "nevus" not in str(error.value)
    make_folds(with_few(groups=False), task(folds=8), SEED)


def test_a_class_with_fewer_groups_than_folds_is_named() -> None:
    with pytest.raises(DataError, match=r"fewer groups of a class than 5 folds: dermatofibroma \(label 2\) has 4;"):
        make_folds(with_few(groups=True), task(folds=5, grouped=True), SEED)
    make_folds(with_few(groups=True), task(folds=4, grouped=True), SEED)


def test_a_class_without_images_is_named() -> None:
    data = with_few(groups=False)
    data.class_names = (*data.class_names, "melanocytoma")
    with pytest.raises(DataError, match=r"melanocytoma \(label 3\) has 0"):
        make_folds(data, task(folds=2), SEED)


def test_the_official_training_part_needs_every_class() -> None:
    data = with_few(groups=False)
    data.parts = np.where(data.labels == 2, "test", np.where(np.arange(128) % 2, "train", "val"))
    with pytest.raises(DataError, match=r"fewer images of a class than 1 training image: dermatofibroma"):
        make_folds(data, task("official"), SEED)


def test_a_class_whose_images_are_one_group_cannot_be_folded() -> None:
    data = with_few(groups=True)
    data.groups = np.where(data.labels == 2, 1000, np.arange(128))
    with pytest.raises(DataError, match=r"dermatofibroma \(label 2\) has 1;"):
        make_folds(data, task(folds=2, grouped=True), SEED)


def test_grouped_without_groups_says_how_to_give_them() -> None:
    with pytest.raises(DataError, match=r"set has no groups; give them .*kind npz.*groups: \{path"):
        make_folds(images(grouped=False), task(grouped=True), SEED)


@pytest.mark.parametrize(
    ("kind", "parts", "words"),
    [
        ("official", ["train"], "has no val and no test part: use pooled-cv$"),
        ("official", ["train", "test"], "has no val part: use pooled-cv, or train-cv$"),
        ("train-cv", ["train"], "the set has none: use pooled-cv"),
        ("train-cv", ["train", "val"], "the set has none: use pooled-cv"),
    ],
)
def test_protocols_that_need_parts(kind: str, parts: list[str], words: str) -> None:
    data = images()
    data.parts = np.resize(parts, 300)
    with pytest.raises(DataError, match=words):
        make_folds(data, task(kind), SEED)


# --- the file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pooled-cv", "train-cv", "official"])
@pytest.mark.parametrize("grouped", [False, True])
def test_what_is_written_is_read(tmp_path: Path, kind: str, grouped: bool) -> None:
    table = make_folds(images(grouped=grouped), task(kind, repeats=2), SEED)
    for name in ("a", "b"):
        table.write(tmp_path / "folds" / f"{name}.csv")
    read = FoldTable.read(tmp_path / "folds" / "a.csv")
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(read, column), getattr(table, column))
    assert (tmp_path / "folds" / "a.csv").read_bytes() == (tmp_path / "folds" / "b.csv").read_bytes()
    assert sorted(path.name for path in (tmp_path / "folds").iterdir()) == ["a.csv", "b.csv"]


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    data = Images(np.array([0, 1, 0, 1, 0, 1]), np.resize(["train", "train", "test"], 6), None, ("a", "b"))
    make_folds(data, task("train-cv", folds=2), SEED).write(tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "index,label,group,part,repeat,fold"
    assert lines[3] == "2,0,,test,0,-1"
    assert sorted(line.split(",")[5] for line in lines[1:]) == ["-1", "-1", "0", "0", "1", "1"]


def test_unknown_folds_are_refused() -> None:
    table = make_folds(images(), task(folds=3), SEED)
    for wrong in ((0, 3), (1, 0), (0, -1)):
        with pytest.raises(DataError, match="the table has the repeats"):
            table.split(*wrong)


HEADER = "index,label,group,part,repeat,fold\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the header is ''"),
        (HEADER, "expected .* and rows below it"),
        ("index,label\n0,1\n", "the header is 'index,label'"),
        (HEADER + "0,0,,cv,0,0\n1,0,,cv,0\n", "not a fold table"),
        (HEADER + "0,0,,cv,0,0\n1,x,,cv,0,1\n", "not a fold table"),
        (HEADER + "0,0,3,cv,0,0\n1,0,,cv,0,1\n", "not a fold table"),
        (HEADER + "0,0,,cv,0,0\n1,0,,testing,0,-1\n", "part is 'testin'"),
        (HEADER + "0,0,,cv,0,0\n1,0,,cv,0,-1\n", "a row of part cv needs a fold"),
        (HEADER + "0,0,,cv,0,0\n1,0,,test,0,1\n", "any other the fold -1"),
        (HEADER + "0,0,,cv,0,0\n0,0,,cv,0,1\n", "an image stands twice in a repeat"),
        (HEADER + "é,0,,cv,0,0\n", "not a fold table"),
    ],
)
def test_files_that_are_no_fold_table(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        FoldTable.read(tmp_path / "t.csv")
    assert "run `qlcnet split t` again" in str(error.value)


def test_a_missing_table_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `qlcnet split derma`"):
        FoldTable.read(tmp_path / "derma.csv")


def test_fits_can_read_tables_without_heavy_imports() -> None:
    heavy = "('sklearn', 'requests', 'torch', 'filelock')"
    code = f"import sys, qlcnet.data.folds; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


# --- real sets ---------------------------------------------------------------------------------------------------


def test_lesions_of_the_rebuilt_dermamnist(shared_data: Path, tmp_path: Path) -> None:
    grouped = {
        "source": {
            "kind": "npz",
            "path": "dermamnist-rebuilt/dermamnist.npz",
            "md5": "6a87c9f00098fa970a94520ff13ce6cc",
            "classes_of": "dermamnist",
            "groups": {"path": "dermamnist-rebuilt/dermamnist_rebuilt_index.csv", "column": "lesion_id"},
        },
        "protocol": {"kind": "pooled-cv", "folds": 5, "grouped": True},
    }
    made = Task.model_validate(grouped)
    loaded = ImageSet.load(fetch("derma", made, Data(search_path=(str(shared_data),)), tmp_path))
    table = make_folds(loaded, made, SEED)
    check_every_image_once(table, np.arange(10_015), 5)
    check_no_group_on_both_sides(table, loaded.groups)  # type: ignore[arg-type]
    for fold in table.folds:
        split = table.split(0, fold)
        assert abs(len(split.validation) - 2003) < 10
        assert np.bincount(loaded.labels[split.validation], minlength=7).min() >= 15  # of 115 dermatofibromas


def test_five_thousand_images_of_cifar10(shared_data: Path, tmp_path: Path) -> None:
    made = Task.model_validate(
        {"source": {"kind": "cifar10"}, "protocol": {"kind": "train-cv"}, "images_per_class": 500}
    )
    loaded = ImageSet.load(fetch("cifar10", made, Data(search_path=(str(shared_data),)), tmp_path))
    table = make_folds(loaded, made, SEED)
    split = table.split(0, 0)
    assert (len(split.train) + len(split.validation), len(split.test)) == (4170, 830)
    assert split.test.min() >= 50_000 > max(split.train.max(), split.validation.max())
