"""Out-of-fold tables read from the fold folders of a study, and written for other programs."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from qlcnet.evidence.metrics import check_predictions
from qlcnet.evidence.oof import OOFError, OOFTable, check_coverage
from qlcnet.fit.fold_folder import PREDICTIONS, TEST, VALIDATION
from qlcnet.fit.task_facts import TaskFacts

# Which part is scored. The set's own split has a test part, and its validation part is watched in training.
SCORED_PART = {"pooled-cv": VALIDATION, "train-cv": VALIDATION, "official": TEST}
_REPEAT, _FOLD = re.compile(r"repeat-(\d+)$"), re.compile(r"fold-(\d+)$")


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
    check_coverage(table, np.unique(np.asarray([] if wanted is None else wanted, np.int64)))
    return table


def read_test(folder_of_model: Path, protocol_kind: str) -> OOFTable:
    """The test rows that every fit of a `train-cv` task scored beside: each image once a fit. No rows otherwise."""
    table = _read(folder_of_model, TEST)
    return table if protocol_kind == "train-cv" else table.rows(np.zeros(len(table), bool))


def validation_hits(folder: Path) -> tuple[int, int]:
    """How many images of a fit's validation part were recognised, and how many there are."""
    arrays = load_file(folder / PREDICTIONS)
    rows = arrays["part"] == VALIDATION
    return int((arrays["probabilities"][rows].argmax(1) == arrays["target"][rows]).sum()), int(rows.sum())


def write_oof(table: OOFTable, path: Path) -> None:
    """Write the table's columns as CSV; probabilities with the 9 digits that give every float32 back."""
    columns = table.columns()
    texts = [[f"{v:.9g}" for v in c] if c.dtype.kind == "f" else c.tolist() for c in columns.values()]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*texts, strict=True))


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
        for column in ("index", "target", "probabilities"):
            columns[column].append(arrays[column][rows])
    joined = {column: np.concatenate(values) for column, values in columns.items()}
    return OOFTable(task, backbone, model, class_names, **joined)
