"""Group files: matched by split and index or by order, and misfits named by line."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import GroupsFile
from qlcnet.data.groups import Groups, read_groups
from qlcnet.data.imageset import DataError
from qlcnet.data.npz import open_npz

PARTS = np.array(["train", "train", "train", "val", "test"])
LABELS = np.array([0, 1, 0, 1, 0])
ROWS = ["train,0,b,0", "train,1,a,1", "train,2,b,0", "val,0,a,1", "test,0,c,0"]
HEADER = "split,index,lesion,label"


def write(folder: Path, rows: list[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "groups.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def found(path: Path, column: str = "lesion", labels: np.ndarray = LABELS) -> Groups:
    return read_groups(path, GroupsFile(path=path.name, column=column), labels, PARTS)


def codes(path: Path, column: str = "lesion", labels: np.ndarray = LABELS) -> np.ndarray:
    return found(path, column, labels).codes


def test_rows_are_matched_by_split_and_index(tmp_path: Path) -> None:
    for rows in (ROWS, ROWS[::-1]):
        np.testing.assert_array_equal(codes(write(tmp_path, rows)), [1, 0, 1, 0, 2])


def test_without_split_and_index_the_order_counts(tmp_path: Path) -> None:
    path = write(tmp_path, ["b", "a", "b", "a", "c"], "lesion", encoding="utf-8-sig")
    np.testing.assert_array_equal(codes(path), [1, 0, 1, 0, 2])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS[:4], "4 rows for 5 images"),
        ([*ROWS[:4], "test,1,c,0"], "line 6: index is '1'; the test part has the images 0 to 0"),
        ([*ROWS[:4], "test,x,c,0"], "line 6: index is 'x'"),
        ([*ROWS[:4], "valid,0,c,0"], "line 6: split is 'valid'; allowed: train, val, test"),
        ([*ROWS[:4], "train,1,c,1"], "lines 3, 6 stand for the same image"),
        ([*ROWS[:4], "test,0, ,0"], "line 6: lesion is empty"),
        ([*ROWS[:4], "test,0"], "line 6: 2 fields, the header has 4"),
        ([], "0 rows for 5 images"),
    ],
)
def test_misfits_are_named_by_line(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        codes(write(tmp_path, rows))


def test_an_unknown_column_lists_those_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'patient'; its columns are split, index, lesion, label"):
        codes(write(tmp_path, ROWS), "patient")


def test_an_empty_or_binary_file(tmp_path: Path) -> None:
    for data, words in ((b"", "empty"), (b"\xff\xfe\x00", "not a CSV in UTF-8")):
        (tmp_path / "groups.csv").write_bytes(data)
        with pytest.raises(DataError, match=words):
            codes(tmp_path / "groups.csv")


def test_labels_at_odds_are_refused_and_other_names_for_them_are_not(tmp_path: Path) -> None:
    codes(write(tmp_path, ROWS), labels=1 - LABELS)  # it counts the other way round: each value goes with one class
    names = [row.replace(",0", ",naevus").replace(",1", ",melanoma") for row in ("b,0", "a,1", "b,0", "a,1", "c,0")]
    codes(write(tmp_path, names, "lesion,label"))
    for wrong in (np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 2])):
        with pytest.raises(DataError, match=r"`label` is at odds with the images' labels .*another order"):
            codes(write(tmp_path, ROWS), labels=wrong)


def test_the_way_of_matching_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert found(write(tmp_path, ROWS)).about["matched"] == "split and index"
    assert not caplog.records
    about = found(write(tmp_path, ["b", "a", "b", "a", "c"], "lesion")).about
    assert about == {"column": "lesion", "file": "groups.csv", "count": 3, "matched": "order"}
    assert "taken to be in the order of the images" in caplog.text


def test_rows_are_matched_by_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = ["i0", "i1", "i2", "i3", "i4"]
    rows = ["i4,c", "i2,b", "i0,b", "i9,z", "i1,a", "i3,a"]
    groups = GroupsFile(path="groups.csv", column="lesion", id="image")
    got = read_groups(write(tmp_path, rows, "image,lesion"), groups, LABELS, PARTS, lambda written: ids)
    np.testing.assert_array_equal(got.codes, [1, 0, 1, 0, 2])
    assert got.about["matched"] == "id"
    assert "1 rows are of images that are not in the set" in caplog.text
    with pytest.raises(DataError, match="2 of 5 images have no row: i1, i3"):
        read_groups(write(tmp_path, rows[:4], "image,lesion"), groups, LABELS, PARTS, lambda written: ids)
    with pytest.raises(DataError, match="image holds the same id in several rows: i4"):
        read_groups(write(tmp_path, [*rows, "i4,a"], "image,lesion"), groups, LABELS, PARTS, lambda written: ids)
    with pytest.raises(DataError, match="the arrays train_ids, val_ids, test_ids"):
        read_groups(write(tmp_path, rows, "image,lesion"), groups, LABELS, PARTS)


def test_groups_of_several_classes_are_warned_of_where_chance_would_give_as_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lesion = np.repeat(np.arange(100), 2)
    labels, parts = lesion % 4, np.full(200, "train")
    path = write(tmp_path, [str(one) for one in lesion], "lesion")
    read_groups(path, GroupsFile(path="", column="lesion"), labels, parts)
    assert "several classes" not in caplog.text
    shuffled = np.random.default_rng(1).permutation(labels)
    read_groups(path, GroupsFile(path="", column="lesion"), shuffled, parts)
    mixed = int((shuffled[::2] != shuffled[1::2]).sum())
    assert f"{mixed} of 100 groups of several images hold several classes; rows in no order at all would" in caplog.text


def test_ham10000_sorted_by_lesion_is_warned_of(
    tmp_path: Path, shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = open_npz(shared_data / "dermamnist-rebuilt" / "dermamnist.npz")
    with (shared_data / "dermamnist-rebuilt" / "dermamnist_rebuilt_index.csv").open() as file:
        known = sorted(csv.DictReader(file), key=lambda row: row["lesion_id"])
    path = write(tmp_path, [row["lesion_id"] for row in known], "lesion_id")
    read_groups(path, GroupsFile(path="", column="lesion_id"), arrays.labels, arrays.parts)
    said = re.search(r"(\d+) of 1956 groups of several images hold several classes; .* would give (\d+)", caplog.text)
    assert said
    assert min(map(int, said.groups())) > 1000  # about as many as by chance, where there should be none
    labelled = write(tmp_path, [f"{row['lesion_id']},{row['label']}" for row in known], "lesion_id,label")
    with pytest.raises(DataError, match="at odds with the images' labels"):
        read_groups(labelled, GroupsFile(path="", column="lesion_id"), arrays.labels, arrays.parts)
