"""Anybody's prediction table (id, target, p_0 …) as arrays; what cannot be used is refused with the row and a remedy.

Columns `repeat` and `fold` are read where they are there (else one repeat, no folds), and the column that names groups.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Probabilities with four printed digits add up to 1 within K halves of the last one; with two digits they do not.
TOLERANCE = 1e-3
NO_FOLD = -1  # of a table without folds
REQUIRED = ("id", "target", "p_0")
SHOWN = 5  # values in a message
CLASS = re.compile(r"p_(0|[1-9]\d*)")


class PredictionTableError(ValueError):
    """A table, or a pair of them, cannot be used; the message names table, row and remedy."""


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Predictions of one classifier, one row an image and repeat, ordered by repeat and id.

    name: of the table, for messages. ids: str (M,). target, repeat, fold: int64 (M,), fold NO_FOLD where there are
    none. probabilities: float64 (M, K), rows sum to 1. groups: str (M,) or None.
    """

    name: str
    ids: np.ndarray
    target: np.ndarray
    repeat: np.ndarray
    fold: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def has_folds(self) -> bool:
        """Whether it says which fit predicted an image: what a claim about a way of training needs."""
        return bool((self.fold != NO_FOLD).any())


def header_of(text: str) -> list[str]:
    """Names of a table's columns, of which nothing is checked."""
    first = io.StringIO(text.removeprefix("\ufeff"), newline="").readline()
    try:
        return [field.strip() for field in next(csv.reader([first]), [])]
    except csv.Error:  # `parse_table` says of what
        return []


def parse_table(text: str, name: str, group_by: str | None = None) -> PredictionTable:
    """A table from the text of a CSV; `group_by` names the column of groups. Raises PredictionTableError."""
    if "\x00" in text[:1000]:
        raise PredictionTableError(f"{name}: not text; export it as CSV in UTF-8")
    text = text.removeprefix("\ufeff")  # a byte order mark, which spreadsheets put before UTF-8
    first = text.split("\n", 1)[0]
    if ";" in first and "," not in first:
        raise PredictionTableError(f"{name}: columns are parted by `;`; export it with commas, and points in numbers")
    rows = [(number, row) for number, row in _rows(text, name) if any(field.strip() for field in row)]
    if len(rows) < 2:
        raise PredictionTableError(f"{name}: no rows; expected a header (id, target, p_0 …) and a row an image")
    header = [field.strip() for field in rows[0][1]]
    columns = _columns(header, name, group_by)
    for number, row in rows:
        if len(row) != len(header):
            raise PredictionTableError(
                f"{name}, line {number}: {len(row)} fields, the header has {len(header)}; quote those with a comma"
            )
    body, numbers = [row for _, row in rows[1:]], [number for number, _ in rows[1:]]
    cells = {column: [row[at].strip() for row in body] for column, at in columns.items()}
    return _table(_Cells(name, numbers, cells), group_by)


def _rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Fields of each row, and the line on which it ends."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise PredictionTableError(f"{name}, line {reader.line_num}: {error}; write it again as CSV") from None


def _columns(header: list[str], name: str, group_by: str | None) -> dict[str, int]:
    """Position of each column that is read. Raises PredictionTableError."""
    wanted = [*REQUIRED, *([group_by] if group_by else [])]
    if missing := [column for column in wanted if column not in header]:
        remedy = "; rename them" if "id" not in missing else "; `id` names an image, the same in both tables"
        remedy = "; --group-by names one of them" if missing == [group_by] else remedy
        raise PredictionTableError(f"{name}: no column {', '.join(missing)}; there are {some(header)}{remedy}")
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise PredictionTableError(f"{name}: {some(twice)} stands twice in the header; rename or remove one")
    classes = sorted(int(found[1]) for column in header if (found := CLASS.fullmatch(column)))
    if classes != list(range(len(classes))) or len(classes) < 2:
        have = some([f"p_{k}" for k in classes])
        raise PredictionTableError(
            f"{name}: its probabilities are {have}; expected p_0, p_1 … one a class, two or more"
        )
    kept = [*wanted, *(f"p_{k}" for k in classes[1:]), *(one for one in ("repeat", "fold") if one in header)]
    return {column: header.index(column) for column in dict.fromkeys(kept)}


@dataclass(frozen=True)
class _Cells:
    """Texts of the columns that are read, with the line of each row."""

    name: str
    lines: list[int]
    columns: dict[str, list[str]]

    def refuse(self, bad: Any, what: str, remedy: str) -> None:
        """Where any row is bad, boolean (M,): its line, what is wrong with it, how many there are, what to do."""
        if len(rows := np.flatnonzero(bad)):
            more = f" ({len(rows):,} such rows)" if len(rows) > 1 else ""
            raise PredictionTableError(f"{self.name}, line {self.lines[rows[0]]}: {what}{more}; {remedy}")

    def texts(self, column: str, remedy: str) -> np.ndarray:
        """str (M,), none of them empty."""
        values = np.array(self.columns[column], dtype=str)
        self.refuse(values == "", f"{column} is empty", remedy)
        return values

    def probabilities(self) -> np.ndarray:
        """float64 (M, K), rows sum to 1."""
        classes = sum(bool(CLASS.fullmatch(column)) for column in self.columns)
        values = np.column_stack([_numbers(self.columns[f"p_{k}"]) for k in range(classes)])
        self.refuse(~np.isfinite(values).all(1), "a probability is no finite number", "write it as 0.25")
        outside = (values < 0).any(1) | (values > 1 + TOLERANCE).any(1)
        self.refuse(outside, "a probability is not within 0 and 1", "give probabilities, not scores or percent")
        sums = values.sum(1, keepdims=True)
        off = (np.abs(sums - 1) > TOLERANCE).any(1)
        first = sums[off.argmax(), 0]
        self.refuse(
            off, f"the probabilities add up to {first:.4f}, not 1", "give softmax outputs with 4 digits or more"
        )
        return np.asarray(values / sums)

    def targets(self, classes: int) -> np.ndarray:
        """Labels, int64 (M,)."""
        values = _whole(self.columns["target"])
        outside = np.isnan(values) | (values < 0) | (values >= classes)
        shown = self.columns["target"][int(outside.argmax())]
        self.refuse(
            outside, f"the target {shown!r} is no label", f"labels are 0 to {classes - 1}, as the numbers of p_"
        )
        return values.astype(np.int64)

    def numbers(self, column: str, absent: int) -> np.ndarray:
        """int64 (M,), `absent` where the table has no such column."""
        if column not in self.columns:
            return np.full(len(self.lines), absent, np.int64)
        values = _whole(self.columns[column])
        self.refuse(np.isnan(values) | (values < 0), f"the {column} is no whole number from 0", "count from 0")
        return values.astype(np.int64)


def _table(cells: _Cells, group_by: str | None) -> PredictionTable:
    ids = cells.texts("id", "give each image a name")
    probabilities = cells.probabilities()
    target = cells.targets(probabilities.shape[1])
    repeat, fold = cells.numbers("repeat", 0), cells.numbers("fold", NO_FOLD)
    groups = cells.texts(group_by, "give every image a group, of its own if need be") if group_by else None
    order = np.lexsort((ids, repeat))
    again = (ids[order][1:] == ids[order][:-1]) & (repeat[order][1:] == repeat[order][:-1])
    same = np.zeros(len(ids), bool)
    same[order[1:][again]] = True
    remedy = "a column `repeat` tells repeats apart; else remove one"
    cells.refuse(same, f"the id {str(ids[same.argmax()])!r} stands twice in one repeat", remedy)
    table = rows_of(PredictionTable(cells.name, ids, target, repeat, fold, probabilities, groups), order)
    _check_repeats(table)
    return table


def _check_repeats(table: PredictionTable) -> None:
    """Every repeat predicts the same images, which keep target and group. Raises PredictionTableError."""
    repeats = np.unique(table.repeat)
    first = rows_of(table, np.flatnonzero(table.repeat == repeats[0]))
    for repeat in repeats[1:]:
        other = rows_of(table, np.flatnonzero(table.repeat == repeat))
        where = f"{table.name}: repeat {repeat}"
        if missing := sorted(set(first.ids.tolist()) ^ set(other.ids.tolist())):
            raise PredictionTableError(
                f"{where} and repeat {repeats[0]} have other images ({len(missing):,}: {some(missing)}); every repeat "
                "predicts each image once"
            )
        for what, one, two in (("target", first.target, other.target), ("group", first.groups, other.groups)):
            if one is not None and two is not None and (one != two).any():
                image = first.ids[np.flatnonzero(one != two)[0]]
                raise PredictionTableError(
                    f"{where} gives image {str(image)!r} another {what} than repeat {repeats[0]}; mend it"
                )


def rows_of(table: PredictionTable, rows: np.ndarray) -> PredictionTable:
    """These rows of a table, in this order."""
    columns = ("ids", "target", "repeat", "fold", "probabilities")
    groups = None if table.groups is None else table.groups[rows]
    return replace(table, groups=groups, **{name: getattr(table, name)[rows] for name in columns})


def _numbers(texts: list[str]) -> np.ndarray:
    """float64, NaN for what is no number."""
    try:
        return np.array(texts, dtype=np.float64)
    except ValueError:
        return np.array([_number(text) for text in texts])


def _whole(texts: list[str]) -> np.ndarray:
    """Whole numbers as float64 (`3` and `3.0`), NaN for all others and beyond what int64 holds."""
    values = _numbers(texts)
    good = np.isfinite(values) & (np.abs(values) < 2**53)
    return np.where(good & (np.where(good, values, 0.0) % 1 == 0), values, np.nan)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def some(names: list[str]) -> str:
    """The first few, for a message."""
    return ", ".join(names[:SHOWN])[:200] + (" …" if len(names) > SHOWN else "")
