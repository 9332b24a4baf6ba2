"""A CSV that says which images belong together (one lesion, one patient), matched to the images of a set."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from qlcnet.data.imageset import PARTS, DataError

log = logging.getLogger("qlcnet")


def read_groups(path: Path, column: str, labels: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Group codes int64 (N,), in the order of the images: positions of the values of `column`, sorted as text.

    Rows are matched by `split` (train, val, test) and `index` (position in that part) where the CSV has both
    columns, else by order (training, validation, then test part). Raises DataError.
    """
    rows, header = _read(path, column)
    if len(rows) != len(labels):
        raise DataError(f"{path.name}: {len(rows)} rows for {len(labels)} images; expected one row an image")
    order = _positions(path, rows, header, parts) if {"split", "index"} <= set(header) else np.arange(len(rows))
    values = np.array([row[header.index(column)].strip() for row in rows])
    empty = np.flatnonzero(values == "")
    if len(empty):
        raise DataError(
            f"{path.name}, line {empty[0] + 2}: {column} is empty ({len(empty)} such rows); "
            "an image that belongs to no group needs a value of its own"
        )
    _compare_labels(path, rows, header, labels[order])
    codes = np.empty(len(rows), np.int64)
    codes[order] = np.unique(values, return_inverse=True)[1]
    return codes


def _read(path: Path, column: str) -> tuple[list[list[str]], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: not a CSV in UTF-8 ({error})") from None
    if not rows:
        raise DataError(f"{path.name}: empty; expected a header and one row an image")
    header = [name.strip() for name in rows[0]]
    if column not in header:
        raise DataError(f"{path.name}: no column {column!r}; its columns are {', '.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path.name}, line {number}: {len(row)} fields, the header has {len(header)}")
    return rows[1:], header


def _positions(path: Path, rows: list[list[str]], header: list[str], parts: np.ndarray) -> np.ndarray:
    """For each row the position of its image in the set."""
    starts = {part: np.flatnonzero(parts == part) for part in PARTS}
    split, index = header.index("split"), header.index("index")
    positions = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows):
        part, number = row[split].strip(), row[index].strip()
        if part not in starts:
            raise DataError(f"{path.name}, line {i + 2}: split is {part!r}; allowed: {', '.join(PARTS)}")
        if not number.isdecimal() or int(number) >= len(starts[part]):
            raise DataError(
                f"{path.name}, line {i + 2}: index is {number!r}; the {part} part has the images 0 to "
                f"{len(starts[part]) - 1}"
            )
        positions[i] = starts[part][int(number)]
    twice = np.flatnonzero(np.bincount(positions, minlength=len(rows)) > 1)
    if len(twice):
        lines = ", ".join(str(line + 2) for line in np.flatnonzero(positions == twice[0]))
        raise DataError(f"{path.name}: lines {lines} stand for the same image ({len(twice)} such images)")
    return positions


def _compare_labels(path: Path, rows: list[list[str]], header: list[str], labels: np.ndarray) -> None:
    """Labels that differ mean rows that were matched wrongly, or a column that counts otherwise: say so."""
    if "label" not in header:
        return
    given = [row[header.index("label")].strip() for row in rows]
    if all(text.isdecimal() for text in given):
        different = int(np.count_nonzero(np.array(given, np.int64) != labels))
        if different:
            log.warning(
                "%s: its column `label` differs from the images' labels in %d of %d rows; are the rows in the order of "
                "the images?", path.name, different, len(rows),
            )  # fmt: skip
