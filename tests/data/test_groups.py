"""Group files: matched by split and index or by order, and misfits named by line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from qlcnet.data.groups import read_groups
from qlcnet.data.imageset import DataError

PARTS = np.array(["train", "train", "train", "val", "test"])
LABELS = np.array([0, 1, 0, 1, 0])
ROWS = ["train,0,b,0", "train,1,a,1", "train,2,b,0", "val,0,a,1", "test,0,c,0"]
HEADER = "split,index,lesion,label"


def write(folder: Path, rows: list[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "groups.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def test_rows_are_matched_by_split_and_index(tmp_path: Path) -> None:
    for rows in (ROWS, ROWS[::-1]):
        np.testing.assert_array_equal(read_groups(write(tmp_path, rows), "lesion", LABELS, PARTS), [1, 0, 1, 0, 2])


def test_without_split_and_index_the_order_counts(tmp_path: Path) -> None:
    path = write(tmp_path, ["b", "a", "b", "a", "c"], "lesion", encoding="utf-8-sig")
    np.testing.assert_array_equal(read_groups(path, "lesion", LABELS, PARTS), [1, 0, 1, 0, 2])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS[:4], "4 rows for 5 images"),
        ([*ROWS[:4], "test,1,c,0"], "line 6: index is '1'; the test part has the images 0 to 0"),
        ([*ROWS[:4], "test,x,c,0"], "line 6: index is 'x'"),
        ([*ROWS[:4], "valid,0,c,0"], "line 6: split is 'valid'; allowed: train, val, test"),
        ([*ROWS[:4], "train,1,c,0"], "lines 3, 6 stand for the same image"),
        ([*ROWS[:4], "test,0, ,0"], "line 6: lesion is empty"),
        ([*ROWS[:4], "test,0"], "line 6: 2 fields, the header has 4"),
        ([], "0 rows for 5 images"),
    ],
)
def test_misfits_are_named_by_line(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_groups(write(tmp_path, rows), "lesion", LABELS, PARTS)


def test_an_unknown_column_lists_those_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'patient'; its columns are split, index, lesion, label"):
        read_groups(write(tmp_path, ROWS), "patient", LABELS, PARTS)


def test_an_empty_or_binary_file(tmp_path: Path) -> None:
    for data, words in ((b"", "empty"), (b"\xff\xfe\x00", "not a CSV in UTF-8")):
        (tmp_path / "groups.csv").write_bytes(data)
        with pytest.raises(DataError, match=words):
            read_groups(tmp_path / "groups.csv", "lesion", LABELS, PARTS)


def test_labels_that_differ_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "qlcnet"):
        read_groups(write(tmp_path, ROWS), "lesion", LABELS, PARTS)
        assert not caplog.records
        read_groups(write(tmp_path, ROWS), "lesion", 1 - LABELS, PARTS)
    assert "differs from the images' labels in 5 of 5 rows" in caplog.text
