"""Classes of image files from a CSV with a file name and a label a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qlcnet.config import LabelsFile
from qlcnet.data.csv_table import read_csv
from qlcnet.data.folder.ids import match_ids
from qlcnet.data.imageset import DataError
from qlcnet.data.shown import shown


def read_labels(path: Path, labels: LabelsFile, names: Sequence[str]) -> list[str | None]:
    """The class of each file in `names` as the CSV writes it; None of files that it does not list.

    Several rows of one file must agree. Raises DataError for rows without a file, and for ids that mean several files.
    """
    table = read_csv(path, (labels.file, labels.label))
    written, classes = table.column(labels.file), table.column(labels.label)
    if not table.rows:
        raise DataError(f"{path.name}: no rows below its header; expected one an image")
    try:
        positions = match_ids(written, names)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    if missing := [text for text, position in zip(written, positions, strict=True) if position is None]:
        raise DataError(
            f"{path.name}: {len(missing):,} of {len(written):,} rows name no image that is there: {shown(missing)}; "
            "an id is a file's name, with or without its folders and its ending"
        )
    found: list[str | None] = [None] * len(names)
    for line, position, label in zip(table.lines, positions, classes, strict=True):
        assert position is not None
        if found[position] not in (None, label):
            raise DataError(
                f"{path.name}, line {line}: {names[position]} is {label!r} here and {found[position]!r} further up"
            )
        found[position] = label
    return found
