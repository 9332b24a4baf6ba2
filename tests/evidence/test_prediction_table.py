"""Prediction tables: read as they are written, every refusal with table, row and remedy, paired by image."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.prediction_pair import pair
from qlcnet.evidence.prediction_table import (
    NO_FOLD,
    PredictionTable,
    PredictionTableError,
    header_of,
    parse_table,
)
from qlcnet.report.predictions import write_oof

PLAIN = "id,target,p_0,p_1\nb,1,0.25,0.75\na,0,0.5,0.5\n"
FOLDS = "id,target,repeat,fold,patient,p_0,p_1\nb,1,0,1,x,0.25,0.75\na,0,0,0,y,0.5,0.5\na,0,1,1,y,1,0\nb,1,1,0,x,0,1\n"


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def refusal(text: str, group_by: str | None = None) -> str:
    with pytest.raises(PredictionTableError) as caught:
        parse_table(text, "A.csv", group_by)
    return str(caught.value)


def test_a_table_is_sorted_by_repeat_and_id() -> None:
    table = parse_table(PLAIN, "A.csv")
    assert table.ids.tolist() == ["a", "b"]
    assert table.target.tolist() == [0, 1]
    assert table.probabilities.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert (table.classes, table.has_folds, table.groups) == (2, False, None)
    assert set(table.fold.tolist()) == {NO_FOLD}
    table = parse_table(FOLDS, "A.csv", "patient")
    assert list(zip(table.repeat.tolist(), table.ids.tolist(), table.fold.tolist(), strict=True)) == [
        (0, "a", 0), (0, "b", 1), (1, "a", 1), (1, "b", 0)
    ]  # fmt: skip
    assert table.groups is not None
    assert table.groups.tolist() == ["y", "x", "y", "x"]


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{PLAIN}",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.removesuffix("\n"),
        PLAIN + "\n,,,\n\n",
        edited(PLAIN, "id,target,p_0,p_1", " id , target,p_0,p_1"),
        "p_1,note,p_0,target,id\n0.75,x,0.25,1.0,b\n.5,y,5e-1,0,a\n",
        edited(PLAIN, "0.25,0.75", "0.2501,0.7501"),  # four digits; brought back to 1
    ],
)
def test_what_other_programs_write_is_read(text: str) -> None:
    table = parse_table(text, "A.csv")
    assert table.ids.tolist() == ["a", "b"]
    assert table.target.tolist() == [0, 1]
    assert table.probabilities == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]), abs=2e-4)
    assert table.probabilities.sum(1) == pytest.approx(1, abs=1e-12)


def test_ids_keep_their_digits_and_commas_in_quotes() -> None:
    table = parse_table(edited(PLAIN, "\nb,", '\n"b, ü\u2028",').replace("\na,", "\n007,"), "A.csv")
    assert table.ids.tolist() == ["007", "b, ü\u2028".strip()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "A.csv: no rows"),
        ("id,target,p_0,p_1\n", "A.csv: no rows"),
        (PLAIN.replace(",", ";"), "parted by `;`"),
        ("PK\x03\x04\x00\x00", "not text"),
        (edited(PLAIN, "target", "label"), "no column target; there are id, label, p_0, p_1; rename"),
        (edited(PLAIN, "id,", "image,"), "no column id; .*`id` names an image"),
        (edited(PLAIN, "p_1", "p_2"), "its probabilities are p_0, p_2; expected p_0, p_1"),
        ("id,target,p_0\na,0,1\n", "its probabilities are p_0; expected"),
        (edited(PLAIN, "p_1", "p_0"), "p_0 stands twice in the header"),
        (edited(PLAIN, "a,0,", "a,b,0,"), "line 3: 5 fields, the header has 4"),
        (edited(PLAIN, "0.25,0.75", "0.25,0.70"), "line 2: the probabilities add up to 0.9500, not 1; give softmax"),
        (edited(PLAIN, "0.25,0.75", "25,75"), "line 2: a probability is not within 0 and 1"),
        (edited(PLAIN, "0.25,0.75", "-0.25,1.25"), "line 2: a probability is not within 0 and 1"),
        (edited(PLAIN, "0.25,0.75", ",1"), "line 2: a probability is no finite number"),
        (edited(PLAIN, "0.25,0.75", "nan,1"), "line 2: a probability is no finite number"),
        (edited(PLAIN, "0.25,0.75", '"0,25",1'), "line 2: a probability is no finite number; write it as 0.25"),
        (edited(PLAIN, "b,1,", "b,2,"), "line 2: the target '2' is no label; labels are 0 to 1"),
        (edited(PLAIN, "b,1,", "b,-1,"), "line 2: the target '-1' is no label"),
        (edited(PLAIN, "b,1,", "b,0.5,"), "line 2: the target '0.5' is no label"),
        (edited(PLAIN, "b,1,", "b,melanoma,"), "line 2: the target 'melanoma' is no label"),
        (edited(PLAIN, "\nb,", "\n,"), "line 2: id is empty"),
        (edited(PLAIN, "\na,", "\nb,"), "line 3: the id 'b' stands twice in one repeat; a column `repeat`"),
        (edited(FOLDS, "b,1,0,1", "b,1,0,-1"), "line 2: the fold is no whole number from 0"),
        (edited(FOLDS, "b,1,0,1", "b,1,x,1"), "line 2: the repeat is no whole number"),
        (edited(FOLDS, "b,1,1,0,x,0,1\n", ""), r"repeat 1 and repeat 0 have other images \(1: b\)"),
        (edited(FOLDS, "b,1,1,0", "b,0,1,0"), "repeat 1 gives image 'b' another target than repeat 0"),
        ('id,target,p_0,p_1\n"a,0,0.5,0.5\n', "A.csv, line 2: .*write it again"),
    ],
)  # fmt: skip
def test_refusals_of_one_table(text: str, says: str) -> None:
    assert re.search(says, refusal(text)), refusal(text)


def test_refusals_of_groups() -> None:
    assert "no column patient" in refusal(PLAIN, "patient")
    assert "--group-by names one of them" in refusal(PLAIN, "patient")
    assert "line 2: patient is empty" in refusal(edited(FOLDS, "1,0,1,x", "1,0,1,"), "patient")
    assert "gives image 'b' another group" in refusal(edited(FOLDS, "b,1,1,0,x", "b,1,1,0,z"), "patient")


def test_several_bad_rows_are_counted() -> None:
    assert "line 2: the probabilities add up to 0.9000, not 1 (2 such rows)" in refusal(
        PLAIN.replace("0.75", "0.65").replace("0.5,0.5", "0.5,0.4")
    )


def table(text: str, name: str = "A.csv", group_by: str | None = None) -> PredictionTable:
    return parse_table(text, name, group_by)


def test_a_pair_has_rows_of_both_in_one_order() -> None:
    other = "id,target,p_0,p_1\na,0,0.9,0.1\nb,1,0.2,0.8\n"
    both = pair(table(PLAIN), table(other, "B.csv"))
    assert both.names == ("A.csv", "B.csv")
    assert both.ids.tolist() == ["a", "b"]
    assert both.a.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert both.b.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    assert (both.splits, both.groups) == ([], None)
    both = pair(table(FOLDS), table(FOLDS, "B.csv", "patient"))
    assert both.splits == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert both.groups is not None, "groups of either table are those of both"
    assert both.groups.tolist() == ["y", "x", "y", "x"]


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (PLAIN, edited(PLAIN, "\na,0,0.5,0.5", ""), "1 of 2 ids of A.csv are not in B.csv (a)"),
        (edited(PLAIN, "\na,0,0.5,0.5", ""), PLAIN, "1 of 2 ids of B.csv are not in A.csv (a)"),
        (PLAIN, edited(PLAIN, "b,1,", "b,0,"), "A.csv and B.csv give image 'b' another target; one of them"),
        (PLAIN, "id,target,p_0,p_1,p_2\nb,1,0,1,0\na,0,0,1,0\n", "2 and 3 classes"),
        (FOLDS, PLAIN, "the repeats 0, 1 and 0"),
        (edited(PLAIN, "p_1\nb,1,0.25,0.75\na,0,0.5,0.5", "p_1,fold\nb,1,0.25,0.75,0\na,0,0.5,0.5,1"), PLAIN,
         "B.csv has no column fold"),
        (FOLDS, edited(edited(FOLDS, "b,1,0,1", "b,1,0,0"), "a,0,0,0", "a,0,0,1"), "another fold (2 such rows)"),
    ],
)  # fmt: skip
def test_refusals_of_a_pair(one: str, other: str, says: str) -> None:
    with pytest.raises(PredictionTableError) as caught:
        pair(table(one), table(other, "B.csv"))
    assert says in str(caught.value)


def test_groups_of_both_must_agree() -> None:
    with pytest.raises(PredictionTableError, match="image 'b' another group"):
        pair(table(FOLDS, group_by="patient"), table(FOLDS.replace(",x,", ",z,"), "B.csv", "patient"))


def test_out_of_fold_tables_of_ours_are_read(tmp_path: Path) -> None:
    """`write_oof` writes `index`; under the name `id` it is such a table, to the last digit of its float32."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 6).astype(np.float32)
    columns = [np.array(c) for c in ([0] * 6, [0, 0, 0, 1, 1, 1], [4, 9, 10, 1, 2, 3], [0, 1, 2, 0, 1, 2])]
    write_oof(OOFTable("t", "b", "m", ("x", "y", "z"), *columns, probabilities), tmp_path / "oof.csv")
    text = (tmp_path / "oof.csv").read_text().replace("index", "id", 1)
    found = table(text)
    by_id = {row["id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert [by_id[one]["fold"] for one in found.ids] == [str(fold) for fold in found.fold]
    order = np.argsort(columns[2].astype(str))
    assert found.probabilities == pytest.approx(probabilities[order].astype(float), rel=2e-7)
    assert header_of(text)[3:6] == ["repeat", "fold", "id"]
