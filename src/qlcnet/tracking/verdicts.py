"""What the report found, in the tracking store: verdicts on the runs of models, and a run of the whole study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qlcnet.config.digest import fingerprint
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.paths import Project
from qlcnet.report.predictions import fold_folders
from qlcnet.tracking import content
from qlcnet.tracking.projection import FINISHED, RUNNING, Projection

VERDICT = "verdict"  # tag of a model's run: sentences, one a line
LONGEST = 5000  # characters of a tag's value, MLflow's limit on some stores


def publish(root: Path) -> int:
    """Bring verdicts of results/summary.json to the runs of the models compared, and the page to the study's own run.

    A model without a run (`track sync` adds it) is left out. The study's run is found by params and results: made anew
    it is another run, and the same report is not logged twice. Returns how many runs were added, 0 or 1. Raises
    TrackingError, or what MLflow raises.
    """
    project = Project(root)
    summary = json.loads((project.results / "summary.json").read_text(encoding="utf-8"))
    projection = Projection.open(root)
    for folder in sorted({path.parents[2] for path in project.fits.glob("*/*/*/repeat-*/fold-*/config.json")}):
        sentences = _sentences(summary.get("evidence", {}), *folder.parts[-3:])
        if sentences and (run := projection.find_model(_configs(folder))):
            projection.client.set_tag(run, VERDICT, "\n".join(sentences)[:LONGEST])
    return _publish_study(projection, project, summary)


def _configs(folder: Path) -> list[dict[str, Any]]:
    facts = TaskFacts.read(folder.parents[1])
    return [
        facts.describe(folder.parent.name, folder.name, *key, read_config(fold))
        for key, fold in fold_folders(folder).items()
    ]


def _sentences(evidence: dict[str, Any], task: str, backbone: str, model: str) -> list[str]:
    """Of comparisons that the model takes part in, the declared ones first; exploratory ones of the task's metric."""
    of_task = evidence.get(task, {"comparisons": []})
    mine = [
        one
        for one in of_task["comparisons"]
        if model in (one["a"], one["b"])
        and backbone in one["backbones"]
        and (one["role"] == "primary" or one["metric"] == of_task["metric"])
    ]
    return [one["sentence"] for one in sorted(mine, key=lambda one: one["role"] != "primary")]


def _publish_study(projection: Projection, project: Project, summary: dict[str, Any]) -> int:
    digest = fingerprint([project.params.read_text(encoding="utf-8"), summary])
    page = project.results / "report.html"
    evidence: dict[str, Any] = summary.get("evidence", {})
    sentences = [answer for task in evidence.values() for answer in task.get("answers", [])]
    sentences += [
        one["sentence"]
        for task in evidence.values()
        for one in task["comparisons"]
        if one["role"] == "primary" or (one["metric"] == task["metric"] and one["over"] == "mean over widths")
    ]
    tags = content.study_tags(digest, tuple(evidence), "\n".join(sentences)[:LONGEST])
    with projection.backend.lock():
        found = projection.find_study(digest)
        run, status = found or (projection.create_study(tags), RUNNING)
    if status == FINISHED:
        return 0
    for path in (page, project.results / "summary.json", project.results / "metrics.json"):
        projection.client.log_artifact(run, str(path))
    projection.client.set_terminated(run, FINISHED)
    return int(found is None)
