"""The folder of what was found: results/search/<search>/ with the page, its figures, every trial as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qlcnet.paths import Project
from qlcnet.report.tables import as_csv
from qlcnet.search.outcome import Outcome
from qlcnet.search.page import page_of
from qlcnet.search.record import to_json
from qlcnet.search.tune import Found
from qlcnet.whole import whole_folder

PAGE = "search.html"


def write_results(found: Found, root: Path) -> Path:
    """Write the folder, whole or not at all; returns it. Not of DVC, and never read by the study's report."""
    html, figures = page_of(found)
    folder = Project(root).results / "search" / found.name
    with whole_folder(folder) as beside:
        (beside / PAGE).write_text(html, encoding="utf-8")
        (beside / "search.json").write_text(_json(found), encoding="utf-8")
        (beside / "trials.csv").write_text(as_csv(_trials(found)), encoding="utf-8")
        (beside / "figures").mkdir()
        for name, content in sorted(figures.items()):
            (beside / "figures" / name).write_bytes(content)
    return folder


def _json(found: Found) -> str:
    nested = [{**asdict(one), "verdict": one.verdict.word, "overtuned": one.overtuned} for one in found.nested]
    return json.dumps({"searches": [to_json(one) for one in found.outcomes], "nested": nested}, indent=1) + "\n"


def _trials(found: Found) -> Iterator[dict[str, Any]]:
    for outcome in found.outcomes:
        yield from _of_search(outcome)


def _of_search(outcome: Outcome) -> Iterator[dict[str, Any]]:
    search = outcome.search
    for one in search.trials:
        yield {
            "search": search.name, "model": search.model, "fold": search.fold, "seed": search.seed, "trial": one.number,
            "state": one.state, search.metric: one.value if one.values else None,
            **{f"fold_{i}": value for i, value in enumerate(one.values)}, "seconds": round(one.seconds, 3),
            "new_fits": one.new_fits, **{key: one.setting.get(key) for key in search.bounds}, "error": one.error,
        }  # fmt: skip
