"""reproductions/<commit>.json: what a reproduction found, small enough for git, and without names of machines."""

from __future__ import annotations

from pathlib import Path

from qlcnet.paths import Project
from qlcnet.report.summary import to_json
from qlcnet.reproduce.verdict import Verdict
from qlcnet.whole import write_whole


def write_record(root: Path, verdict: Verdict) -> Path:
    """Write what was compared, the verdict, its basis and the kind of machine; returns the file."""
    found = verdict.to_json()
    keys = (
        "commit", "study", "verdict", "conclusion", "first_divergence", "fits_of_study", "fits_run", "fingerprints",
        "problems", "together", "not_checked", "machine", "differs",
    )  # fmt: skip
    compared = {fit["fit"]: fit["grade"] for fit in found["fits"]}
    basis = [line for line in found["basis"] if not line.startswith("kept: ")]  # a place of this machine
    path = Project(root).reproductions / f"{'-'.join(filter(None, (verdict.commit, verdict.study)))}.json"
    write_whole(path, to_json({**{key: found[key] for key in keys}, "basis": basis, "compared": compared}))
    return path
