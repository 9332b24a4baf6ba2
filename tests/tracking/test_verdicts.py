"""What the report found, on the runs of the store: verdicts on models, and one run a study with its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qlcnet.tracking import publish, sync
from qlcnet.tracking.backend import open_backend
from tests.tracking.studies import make_grid, make_results, runs_of


def comparison(**changes: Any) -> dict[str, Any]:
    """One of summary.json."""
    return {
        "a": "hybrid", "b": "classical", "metric": "accuracy", "over": "one width", "backbones": ["lcnet_050"],
        "role": "primary", "verdict": "better", "sentence": "hybrid is better.", **changes,
    }  # fmt: skip


@pytest.fixture
def study(root: Path) -> Path:
    make_results(root, make_grid(models=("classical", "hybrid")))
    sync(root)
    lines = [
        comparison(role="exploratory", sentence="looked at besides."),
        comparison(),
        comparison(role="exploratory", metric="auc_micro", sentence="of another metric."),
        comparison(a="third", b="fourth", sentence="of other models."),
    ]
    (root / "params.yaml").write_text("seed: 1\n")
    evidence = {"spots": {"metric": "accuracy", "comparisons": lines}}
    for name, text in (
        ("summary.json", json.dumps({"evidence": evidence})),
        ("metrics.json", "{}"),
        ("report.html", "<p>page"),
    ):
        (root / "results" / name).write_text(text)
    return root


def test_models_have_the_sentences_that_they_are_in_the_declared_ones_first(study: Path) -> None:
    publish(study)
    models = [run for run in runs_of(study) if run["tags"]["kind"] == "model"]
    assert {run["tags"]["verdict"] for run in models} == {"hybrid is better.\nlooked at besides."}
    assert len(models) == 2


def test_the_study_has_one_run_with_its_page_until_the_report_changes(study: Path) -> None:
    assert sync(study, reported=True) == 1
    assert sync(study, reported=True) == 0
    assert publish(study) == 0
    (run,) = [run for run in runs_of(study) if run["tags"]["kind"] == "study"]
    assert run["status"] == "FINISHED"
    assert run["tags"]["verdict"] == "hybrid is better.\nof other models."
    client = open_backend(study).client
    found = client.search_runs([open_backend(study).experiment_id], "tags.kind = 'study'")
    assert {file.path for file in client.list_artifacts(found[0].info.run_id)} == {
        "report.html", "summary.json", "metrics.json",
    }  # fmt: skip
    summary = json.loads((study / "results/summary.json").read_text())
    summary["evidence"]["spots"]["comparisons"][1]["sentence"] = "undecided."
    (study / "results/summary.json").write_text(json.dumps(summary))
    publish(study)
    assert len([run for run in runs_of(study) if run["tags"]["kind"] == "study"]) == 2
