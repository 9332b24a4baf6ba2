"""The fold table: which image is trained on, validates or is tested in which fold of which repeat, and its CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from qlcnet.data.imageset import DataError
from qlcnet.whole import whole_file

COLUMNS = ("index", "label", "group", "part", "repeat", "fold")
ROLES = ("cv", "train", "val", "test")
NO_FOLD = -1  # of rows that have the same role in every fold


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of images, int64, ascending. `test` is scored, never trained on; it may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class FoldTable:
    """One row an image and repeat; columns are arrays of equal length (group: None when there are none).

    part is the image's role: `cv` validates in fold `fold` and trains in all others; `train`, `val` and `test` keep
    their role in every fold, and their fold is -1.
    """

    index: np.ndarray
    label: np.ndarray
    group: np.ndarray | None
    part: np.ndarray
    repeat: np.ndarray
    fold: np.ndarray

    @cached_property
    def repeats(self) -> tuple[int, ...]:
        """Repeats, from 0."""
        return tuple(np.unique(self.repeat).tolist())

    @cached_property
    def folds(self) -> tuple[int, ...]:
        """Folds of each repeat, from 0; the official split is fold 0."""
        return tuple(np.unique(self.fold[self.fold != NO_FOLD]).tolist()) or (0,)

    def split(self, repeat: int, fold: int) -> Split:
        """The images of one fit. Raises DataError when the table has no such fold."""
        if repeat not in self.repeats or fold not in self.folds:
            raise DataError(f"the table has the repeats {self.repeats} and folds {self.folds}, not {(repeat, fold)}")
        here, cv = self.repeat == repeat, self.part == "cv"
        validates = cv & (self.fold == fold)
        roles = (cv & ~validates) | (self.part == "train"), validates | (self.part == "val"), self.part == "test"
        return Split(*(np.sort(self.index[here & role]) for role in roles))

    def write(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all. Raises OSError."""
        groups = [""] * len(self.index) if self.group is None else self.group.tolist()
        columns = (self.index, self.label, groups, self.part, self.repeat, self.fold)
        rows = zip(*(c if isinstance(c, list) else c.tolist() for c in columns), strict=True)
        with whole_file(path) as beside, beside.open("w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)

    @classmethod
    def read(cls, path: Path) -> FoldTable:
        """Read what `write` wrote. Raises DataError when it is missing or not a fold table."""
        try:
            with path.open(encoding="ascii") as file:
                header, first = file.readline().rstrip("\n"), file.readline().split(",")
            if header != ",".join(COLUMNS) or len(first) != len(COLUMNS):
                raise ValueError(f"the header is {header!r}, expected {','.join(COLUMNS)!r} and rows below it")
            names = [name for name in COLUMNS if name != "group" or first[2]]
            kinds = np.dtype([(name, "U6" if name == "part" else "i8") for name in names])
            used = [COLUMNS.index(name) for name in names]
            rows = np.loadtxt(path, kinds, delimiter=",", skiprows=1, usecols=used, ndmin=1, comments=None)
            column = {name: np.ascontiguousarray(rows[name]) for name in names}
            index, label, part, repeat, fold = (column[name] for name in COLUMNS if name != "group")
            table = cls(index, label, column.get("group"), part, repeat, fold)
            table._check()
        except FileNotFoundError:
            raise DataError(f"{path} is missing: run `qlcnet split {path.stem}`, or `dvc repro`") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not a fold table ({error}); run `qlcnet split {path.stem}` again") from error
        return table

    def _check(self) -> None:
        """Raise ValueError when a row has an unknown role, or an image stands twice in a repeat."""
        unknown = np.flatnonzero(np.logical_and.reduce([self.part != role for role in ROLES]))
        if len(unknown):
            raise ValueError(f"part is {str(self.part[unknown[0]])!r}; allowed: {', '.join(ROLES)}")
        if np.any((self.part == "cv") != (self.fold >= 0)) or min(self.index.min(), self.repeat.min()) < 0:
            raise ValueError("a row of part cv needs a fold from 0, any other the fold -1; index and repeat are from 0")
        pairs = np.sort(self.repeat * (self.index.max() + 1) + self.index)  # np.unique takes 20 times as long
        if np.any(pairs[1:] == pairs[:-1]):
            raise ValueError("an image stands twice in a repeat")
