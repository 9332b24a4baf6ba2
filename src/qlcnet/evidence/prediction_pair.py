"""Two prediction tables side by side: a pair only where they speak of the same images, labels, folds and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.prediction_table import NO_FOLD, PredictionTable, PredictionTableError, some


@dataclass(frozen=True, eq=False)
class PairedTables:
    """Two tables of the same images, row by row: ids, targets, repeats, folds and groups are those of both.

    ids, groups: str (M,), groups None where unknown. target, repeat, fold: int64 (M,). a, b: float64 (M, K).
    """

    names: tuple[str, str]
    ids: np.ndarray
    target: np.ndarray
    repeat: np.ndarray
    fold: np.ndarray
    groups: np.ndarray | None
    a: np.ndarray
    b: np.ndarray

    @property
    def splits(self) -> list[tuple[int, int]]:
        """(repeat, fold) of each fit, ascending; none where the tables have no folds."""
        if not len(self.fold) or (self.fold == NO_FOLD).all():
            return []
        return [(int(r), int(f)) for r, f in np.unique(np.column_stack([self.repeat, self.fold]), axis=0)]

    def as_tables(self, *names: str) -> tuple[tuple[OOFTable, ...], np.ndarray | None]:
        """Both as out-of-fold tables named `names`, without folds one fit a repeat; and the group of each index."""
        ids, index = np.unique(self.ids, return_inverse=True)
        groups = None
        if self.groups is not None:
            groups = np.empty(len(ids), np.int64)
            groups[index] = np.unique(self.groups, return_inverse=True)[1]
        fold = np.where(self.fold == NO_FOLD, 0, self.fold)
        order = np.lexsort((index, fold, self.repeat))
        classes = tuple(map(str, range(self.a.shape[1])))
        repeat, fold, rows, target = (column[order] for column in (self.repeat, fold, index, self.target))
        both = zip(names, (self.a, self.b), strict=True)
        tables = (
            OOFTable("", "", name, classes, repeat, fold, rows, target, p.astype(np.float32)[order]) for name, p in both
        )
        return tuple(tables), groups


def pair(a: PredictionTable, b: PredictionTable) -> PairedTables:
    """The rows of both tables side by side. Raises PredictionTableError where they cannot be paired, naming why."""
    names = f"{a.name} and {b.name}"
    if a.classes != b.classes:
        raise PredictionTableError(f"{names} have {a.classes} and {b.classes} classes; compare predictions of one task")
    if set(a.repeat.tolist()) != set(b.repeat.tolist()):
        raise PredictionTableError(
            f"{names} have the repeats {some(_distinct(a.repeat))} and {some(_distinct(b.repeat))}; keep those of both"
        )
    for one, other in ((a, b), (b, a)):
        mine = set(one.ids.tolist())
        if lost := sorted(mine - set(other.ids.tolist())):
            raise PredictionTableError(
                f"{len(lost):,} of {len(mine):,} ids of {one.name} are not in {other.name} ({some(lost)}); both must "
                "predict the same images"
            )
    _refuse_difference(a, b, a.target != b.target, "target", "one of them has wrong labels, or ids mean other images")
    if a.has_folds != b.has_folds:
        without = b if a.has_folds else a
        raise PredictionTableError(f"{without.name} has no column fold, the other has; add it, or remove it from both")
    _refuse_difference(a, b, a.fold != b.fold, "fold", "fits are compared in the same folds: use those of one")
    groups = a.groups
    if a.groups is not None and b.groups is not None:
        _refuse_difference(a, b, a.groups != b.groups, "group", "take the groups of both from one table")
    elif a.groups is None:
        groups = b.groups
    return PairedTables(
        (a.name, b.name), a.ids, a.target, a.repeat, a.fold, groups, a.probabilities, b.probabilities
    )  # fmt: skip


def _refuse_difference(a: PredictionTable, b: PredictionTable, differs: np.ndarray, what: str, remedy: str) -> None:
    """Rows are in one order here: both are sorted by repeat and id, and have the same of both."""
    if len(rows := np.flatnonzero(differs)):
        more = f" ({len(rows):,} such rows)" if len(rows) > 1 else ""
        raise PredictionTableError(
            f"{a.name} and {b.name} give image {str(a.ids[rows[0]])!r} another {what}{more}; {remedy}"
        )


def _distinct(values: np.ndarray) -> list[str]:
    return [str(value) for value in np.unique(values)]
