"""A CSV of the user's: a header and rows of text, checked so far that its columns can be relied on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from qlcnet.data.imageset import DataError


@dataclass(frozen=True)
class CsvTable:
    """Rows of a CSV with the line on which each ends."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """A column's values without blanks around them. Raises DataError for an empty one."""
        values = [row[self.header.index(name)].strip() for row in self.rows]
        if "" in values:
            line = self.lines[values.index("")]
            raise DataError(f"{self.name}, line {line}: {name} is empty ({values.count('')} such rows)")
        return values


def read_csv(path: Path, columns: tuple[str, ...]) -> CsvTable:
    """Read a CSV in UTF-8 that has these columns. Raises DataError naming the line."""
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for fields in filter(None, reader):
                rows.append(tuple(fields))
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: not a CSV in UTF-8 ({error})") from None
    if not rows:
        raise DataError(f"{path.name}: empty; expected a header and one row an image")
    header = tuple(name.strip() for name in rows[0])
    for column in columns:
        if column not in header:
            raise DataError(f"{path.name}: no column {column!r}; its columns are {', '.join(header)[:200]}")
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise DataError(f"{path.name}, line {line}: {len(row)} fields, the header has {len(header)}")
    return CsvTable(path.name, header, tuple(rows[1:]), tuple(lines[1:]))
