"""declarations.csv: when the comparisons of a study were declared, and how many fits there were then.

A row a task and declaration, appended by `train` and never rewritten. The file is in git, so that a commit witnesses
when a row came.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qlcnet.config import Evidence
from qlcnet.config.digest import fingerprint

HEADER = ("task", "digest", "commit", "time", "fits")
NOTHING = "none"  # the digest of a study that declares nothing


class DeclarationsError(ValueError):
    """The file is not as `train` writes it; the message names the row."""


@dataclass(frozen=True)
class Declaration:
    """fits: of the task's models, that there were when it was first seen. commit: of the project, then."""

    task: str
    digest: str
    commit: str
    time: str
    fits: int


def digest_of(evidence: Evidence) -> str:
    """Of what is declared; NOTHING where no comparison is."""
    return fingerprint(evidence) if evidence.primary else NOTHING


def declare(path: Path, task: str, evidence: Evidence, commit: str, fits: int) -> bool:
    """Append what is declared now unless the task's last row says the same; returns whether a row came.

    The file is made where there is none: the report depends on it.
    """
    if not path.is_file():
        path.write_text(",".join(HEADER) + "\n", encoding="utf-8")
    last = last_of(path, task)
    digest = digest_of(evidence)
    if digest == (last.digest if last else NOTHING):
        return False
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with path.open("a", encoding="utf-8", newline="") as file:  # one write: tasks may be trained side by side
        file.write(",".join((task, digest, commit, now, str(fits))) + "\n")
    return True


def last_of(path: Path, task: str) -> Declaration | None:
    """The declaration that holds for a task; None where there was none. Raises DeclarationsError."""
    return next((row for row in reversed([*_rows(path)]) if row.task == task), None)


def _rows(path: Path) -> Iterator[Declaration]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or tuple(row) == HEADER:
                continue
            if len(row) != len(HEADER) or not row[-1].isdigit():
                raise DeclarationsError(
                    f"{path.name}, line {number}: expected {', '.join(HEADER)}; take the file from git again, "
                    "`train` appends to it and nothing else does"
                )
            task, digest, commit, time, fits = row
            yield Declaration(task, digest, commit, time, int(fits))
