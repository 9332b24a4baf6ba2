"""A CSV that says which images belong together (one lesion, one patient), matched to the images of a set."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import GroupsFile
from qlcnet.data.csv_table import CsvTable, read_csv
from qlcnet.data.imageset import PARTS, DataError
from qlcnet.data.shown import shown

log = logging.getLogger("qlcnet")
BY_ORDER, BY_POSITION, BY_ID = "order", "split and index", "id"
SHUFFLES = 100  # of the labels, for how many groups would hold several classes by chance
SUSPICIOUS = 0.5  # of that number
ENOUGH = 5  # groups by chance; of fewer nothing can be said

# ids as the table writes them -> the id of each image; text
Ids = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, eq=False)
class Groups:
    """codes: int64 (N,), in the order of the images, equal within a group. about: what about.json says of them."""

    codes: np.ndarray
    about: dict[str, Any]


def read_groups(
    path: Path, groups: GroupsFile, labels: np.ndarray, parts: np.ndarray, ids: Ids | None = None
) -> Groups:
    """The groups of images: positions of the values of `groups.column`, sorted as text.

    Rows are matched by the column `groups.id`, where one is named; else by `split` (train, val, test) and `index`
    (position in that part), where the CSV has both; else by order (training, validation, then test part), which is
    warned of. `ids`: of the images, for the first. Raises DataError, also where a column `label` is at odds with the
    images' labels.
    """
    named = (groups.column,) if groups.id is None else (groups.column, groups.id)
    table = read_csv(path, named)
    if groups.id is not None:
        rows, matched = _rows_by_id(table, groups.id, len(labels), ids), BY_ID
    elif len(table.rows) != len(labels):
        raise DataError(f"{path.name}: {len(table.rows)} rows for {len(labels)} images; expected one row an image")
    elif {"split", "index"} <= set(table.header):
        rows, matched = _rows_by_position(table, parts), BY_POSITION
    else:
        rows, matched = np.arange(len(labels)), BY_ORDER
        log.warning(
            "%s: its rows are taken to be in the order of the images (training, validation, then test part): nothing "
            "in it says so. Columns `split` and `index`, or `groups.id`, would", path.name,
        )  # fmt: skip
    values = np.array(table.column(groups.column))[rows]
    _compare_labels(table, rows, labels)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    _warn_of_mixed_groups(path.name, codes, labels)
    about = {"column": groups.column, "file": path.name, "count": int(codes.max()) + 1, "matched": matched}
    return Groups(codes, about)


def _rows_by_id(table: CsvTable, column: str, images: int, ids: Ids | None) -> np.ndarray:
    """For each image the row that has its id."""
    if ids is None:
        raise DataError(
            "groups.id: the images of this source have no ids; in a .npz they are the arrays train_ids, val_ids, "
            "test_ids"
        )
    written = table.column(column)
    row_of = {text: row for row, text in enumerate(written)}
    if len(row_of) < len(written):
        twice = [text for row, text in enumerate(written) if row_of[text] != row]
        raise DataError(f"{table.name}: {column} holds the same id in several rows: {shown(twice)}")
    wanted = ids(written)
    if len(set(wanted)) < len(wanted):
        twice = [one for one, count in Counter(wanted).items() if count > 1]
        raise DataError(f"groups.id: several images have the same id: {shown(twice)}; each needs one of its own")
    if missing := [one for one in wanted if one not in row_of]:
        raise DataError(f"{table.name}: {len(missing):,} of {images:,} images have no row: {shown(missing)}")
    if left := len(written) - images:
        log.warning("%s: %d rows are of images that are not in the set", table.name, left)
    return np.array([row_of[one] for one in wanted])


def _rows_by_position(table: CsvTable, parts: np.ndarray) -> np.ndarray:
    """For each image the row with its split and index."""
    starts = {part: np.flatnonzero(parts == part) for part in PARTS}
    rows = np.full(len(parts), -1)
    for row, (line, part, number) in enumerate(
        zip(table.lines, table.column("split"), table.column("index"), strict=True)
    ):
        where = f"{table.name}, line {line}"
        if part not in starts:
            raise DataError(f"{where}: split is {part[:80]!r}; allowed: {', '.join(PARTS)}")
        if not number.isdecimal() or int(number) >= len(starts[part]):
            there = f"the {part} part has the images 0 to {len(starts[part]) - 1}"
            raise DataError(f"{where}: index is {number[:80]!r}; {there}")
        image = starts[part][int(number)]
        if rows[image] >= 0:
            raise DataError(f"{table.name}: lines {table.lines[rows[image]]}, {line} stand for the same image")
        rows[image] = row
    return rows


def _compare_labels(table: CsvTable, rows: np.ndarray, labels: np.ndarray) -> None:
    """Refuse rows whose `label` is at odds with the images': each of its values has to go with one class, and back."""
    if "label" not in table.header:
        return
    given = np.unique(np.array(table.column("label"))[rows], return_inverse=True)[1]
    pairs, counts = np.unique(np.stack([given, labels]), axis=1, return_counts=True)
    commonest: dict[int, int] = {}
    for (one, _), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        commonest[one] = max(commonest.get(one, 0), count)
    different = len(labels) - sum(commonest.values())
    if different or len(np.unique(pairs[1])) < pairs.shape[1]:
        raise DataError(
            f"{table.name}: its column `label` is at odds with the images' labels in {different:,} of {len(labels):,} "
            "rows, so that its rows are not those of the images: are they in another order?"
        )


def _warn_of_mixed_groups(name: str, codes: np.ndarray, labels: np.ndarray) -> None:
    """Say where groups of several images hold several classes about as often as in any order of the rows."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    several = np.diff(starts, append=len(codes)) > 1

    def mixed(of: np.ndarray) -> int:
        inside = of[order]
        return int(
            np.count_nonzero((np.minimum.reduceat(inside, starts) < np.maximum.reduceat(inside, starts))[several])
        )

    found, rng = mixed(labels), np.random.default_rng(0)
    chance = float(np.mean([mixed(rng.permutation(labels)) for _ in range(SHUFFLES)]))
    if chance >= ENOUGH and found > SUSPICIOUS * chance:
        log.warning(
            "%s: %d of %d groups of several images hold several classes; rows in no order at all would give %.0f. That "
            "is normal for patients; groups of one lesion hold one class: its rows are then those of other images",
            name, found, np.count_nonzero(several), chance,
        )  # fmt: skip
