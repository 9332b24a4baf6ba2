"""What `qlcnet reproduce --record` left in reproductions/, as the report and the index of published studies name it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlcnet.stored import DamagedError, read_object

KEYS = ("commit", "study", "verdict", "conclusion", "compared", "fingerprints", "fits_of_study", "machine")
REMEDY = "take it from git again, or remove it"


@dataclass(frozen=True)
class Reproduced:
    """A record. verdict: of the farthest fit. same: whether the conclusion is; None: cannot be told. fits: compared.

    fingerprints: of the recorded fits. total: fits of the study. machine: what the fits were made again on.
    """

    commit: str
    study: str
    verdict: str
    same: bool | None
    fits: int
    fingerprints: frozenset[str]
    total: int
    machine: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Reproduced:
        """What record.py wrote. Raises DamagedError."""
        known = read_object(path, REMEDY, KEYS)
        machine: dict[str, Any] = known["machine"]
        kind = tuple(str(machine[name]) for name in ("vendor", "onednn", "accelerator") if name in machine)
        prints = frozenset(known["fingerprints"].values())
        fits, total = len(known["compared"]), known["fits_of_study"]
        same = known["conclusion"]["same"]
        return cls(known["commit"], known["study"], known["verdict"], same, fits, prints, total, kind)

    @property
    def words(self) -> str:
        """For a table: how many fits, and how near."""
        return f"{self.fits} of {self.total} fits: {self.verdict}"


def read_reproductions(folder: Path) -> tuple[Reproduced, ...]:
    """All records of a project, ordered by their files' names; those that are damaged are left out."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Reproduced.read(path))
        except DamagedError:
            continue
    return tuple(found)


def of_fits(records: Collection[Reproduced], fingerprints: Collection[str]) -> tuple[Reproduced, ...]:
    """Records of a study with these fits: each names fits that the study has."""
    return tuple(one for one in records if one.fingerprints and one.fingerprints <= set(fingerprints))
