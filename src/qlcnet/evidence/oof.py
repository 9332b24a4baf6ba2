"""The out-of-fold table: what every metric and test of a study is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class OOFError(ValueError):
    """Predictions of a model do not make an out-of-fold table; the message names the model, the rows and a remedy."""


@dataclass(frozen=True, eq=False)
class OOFTable:
    """Predictions of one task x backbone x model, one row an image and repeat, ordered by repeat, fold and index.

    repeat, fold, index, target: int64 (M,). probabilities: float32 (M, K). index counts rows of the image set.
    """

    task: str
    backbone: str
    model: str
    class_names: tuple[str, ...]
    repeat: np.ndarray
    fold: np.ndarray
    index: np.ndarray
    target: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    @property
    def repeats(self) -> list[int]:
        """Numbers of the repeats, ascending."""
        return [int(r) for r in np.unique(self.repeat)]

    @property
    def splits(self) -> list[tuple[int, int]]:
        """(repeat, fold) of each fit, ascending."""
        return [(int(r), int(f)) for r, f in np.unique(np.column_stack([self.repeat, self.fold]), axis=0)]

    def rows(self, mask: np.ndarray) -> OOFTable:
        """The rows where boolean `mask` (M,) is true."""
        columns = (self.repeat, self.fold, self.index, self.target, self.probabilities)
        return OOFTable(self.task, self.backbone, self.model, self.class_names, *(column[mask] for column in columns))

    def of_repeat(self, repeat: int) -> OOFTable:
        """The rows of one repeat, ordered by index: the same images in the same order for every repeat and model."""
        rows = np.flatnonzero(self.repeat == repeat)
        return self.rows(rows[np.argsort(self.index[rows], kind="stable")])

    def of_fit(self, repeat: int, fold: int) -> OOFTable:
        """The rows of one fit."""
        return self.rows((self.repeat == repeat) & (self.fold == fold))

    def columns(self) -> dict[str, np.ndarray]:
        """Columns by name: task, model, backbone, repeat, fold, index, target, p_0 … p_K-1."""
        names = {name: np.full(len(self), getattr(self, name)) for name in ("task", "model", "backbone")}
        numbers = {name: getattr(self, name) for name in ("repeat", "fold", "index", "target")}
        return {**names, **numbers, **{f"p_{k}": p for k, p in enumerate(self.probabilities.T)}}


def check_coverage(table: OOFTable, expected: np.ndarray) -> None:
    """Raise OOFError unless the `expected` images, and no others, are there once a repeat, always with one target."""
    name = f"{table.task}/{table.backbone}/{table.model}"
    remedy = f"run `qlcnet train {table.task}`"
    if not len(expected) or not len(table):
        raise OOFError(f"{name}: no out-of-fold predictions; {remedy}")
    targets = None
    for repeat in table.repeats:
        of_repeat = table.of_repeat(repeat)
        index, counts = np.unique(of_repeat.index, return_counts=True)
        for problem, rows in (
            ("missing images", np.setdiff1d(expected, index)),
            ("images that are there more than once", index[counts > 1]),
            ("images that are not of this task", np.setdiff1d(index, expected)),
        ):
            if len(rows):
                shown = ", ".join(map(str, rows[:5])) + (" …" if len(rows) > 5 else "")
                raise OOFError(f"{name}, repeat {repeat}: {problem}: {len(rows)} (rows {shown}); {remedy}")
        if targets is not None and (targets != of_repeat.target).any():
            raise OOFError(f"{name}, repeat {repeat}: targets differ from those of repeat {table.repeats[0]}; {remedy}")
        targets = of_repeat.target
