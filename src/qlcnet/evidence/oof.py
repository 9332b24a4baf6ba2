"""The out-of-fold table: what every metric and test of a study is computed from, read from fold folders."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from qlcnet.evidence.metrics import check_predictions
from qlcnet.fit.fold_folder import PREDICTIONS
from qlcnet.fit.task_facts import TaskFacts

VALIDATION, TEST = 0, 1  # `part` of a row of predictions.safetensors
# Which part is scored. The set's own split has a test part, and its validation part is watched in training.
SCORED_PART = {"pooled-cv": VALIDATION, "train-cv": VALIDATION, "official": TEST}
_REPEAT, _FOLD = re.compile(r"repeat-(\d+)$"), re.compile(r"fold-(\d+)$")


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

    def write_csv(self, path: Path) -> None:
        """Write the columns; probabilities with the 9 digits that give every float32 back."""
        columns = self.columns()
        texts = [[f"{v:.9g}" for v in c] if c.dtype.kind == "f" else c.tolist() for c in columns.values()]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*texts, strict=True))


def fold_folders(folder_of_model: Path) -> dict[tuple[int, int], Path]:
    """Fold folders below `<task>/<backbone>/<model>/`, by (repeat, fold), ascending."""
    found = {}
    for path in folder_of_model.glob("repeat-*/fold-*"):
        repeat, fold = _REPEAT.search(path.parent.name), _FOLD.search(path.name)
        if repeat and fold:
            found[int(repeat[1]), int(fold[1])] = path
    return dict(sorted(found.items()))


def read_oof(
    folder_of_model: Path, protocol_kind: str, expected: Collection[int] | np.ndarray | None = None
) -> OOFTable:
    """The out-of-fold table of `results/folds/<task>/<backbone>/<model>`.

    `protocol_kind` says which rows count: the validation rows of all folds, or the test rows of the official split.
    `expected` are the images that must be there (rows of the image set); without it, the first repeat's.
    Raises OOFError where an image is missing from a repeat, there twice, or changes its target, FileNotFoundError where
    there is no fold.
    """
    table = _read(folder_of_model, SCORED_PART[protocol_kind])
    wanted = table.of_repeat(table.repeats[0]).index if expected is None and len(table) else expected
    _check_coverage(table, np.unique(np.asarray([] if wanted is None else wanted, np.int64)))
    return table


def read_test(folder_of_model: Path) -> OOFTable:
    """The test rows that every fit of a `train-cv` task scored beside: each image once a fit, perhaps no rows."""
    return _read(folder_of_model, TEST)


def _read(folder_of_model: Path, part: int) -> OOFTable:
    folders = fold_folders(folder_of_model)
    if not folders:
        raise FileNotFoundError(f"no fold folders below {folder_of_model}: run `qlcnet train <task>`, or `dvc repro`")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("repeat", "fold", "index", "target", "probabilities")}
    task, backbone, model = folder_of_model.parts[-3:]
    class_names = TaskFacts.read(folder_of_model.parents[1]).class_names
    for (repeat, fold), folder in folders.items():
        arrays = load_file(folder / PREDICTIONS)
        rows = np.flatnonzero(arrays["part"] == part)
        rows = rows[np.argsort(arrays["index"][rows], kind="stable")]
        if len(rows):
            try:
                check_predictions(arrays["target"][rows], arrays["probabilities"][rows])
            except ValueError as error:
                raise OOFError(f"{task}/{backbone}/{model}, repeat {repeat}, fold {fold}: {error}") from None
        columns["repeat"].append(np.full(len(rows), repeat))
        columns["fold"].append(np.full(len(rows), fold))
        for name in ("index", "target", "probabilities"):
            columns[name].append(arrays[name][rows])
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return OOFTable(task, backbone, model, class_names, **joined)


def _check_coverage(table: OOFTable, expected: np.ndarray) -> None:
    """Every expected image exactly once a repeat, nothing else, always with the same target."""
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
