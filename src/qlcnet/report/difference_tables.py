"""Comparisons and claims as JSON and CSV: what scripts and the tracking store read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qlcnet.evidence.claims import Claim
from qlcnet.evidence.families import Line
from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.sentences import claim_sentence, sentence, standing_sentence
from qlcnet.evidence.verdicts import Silent
from qlcnet.report.differences import StudyEvidence
from qlcnet.report.summary import rounded

Record = dict[str, Any]


def evidence_json(found: StudyEvidence) -> Record:
    """The entry `evidence` of summary.json: by task answers, comparisons, claims, the share that the model explains."""
    return {
        name: {
            "metric": task.metric,
            "answers": [standing_sentence(one) for one in task.parts.standings],
            "comparisons": [_entry(role, line) for role, line in _lines(found, name)],
            "claims": [_claim(claim) for claim in task.claims],
            "refused": [one.reason for one in task.comparisons.refused],
            "model_share": None
            if task.spread is None or "model" in task.spread.not_varied
            else rounded(task.spread.share_with("model")),
        }
        for name, task in found.tasks.items()
    }


def comparison_records(found: StudyEvidence) -> Iterator[Record]:
    """Rows of tables/comparisons.csv."""
    for name in found.tasks:
        for role, line in _lines(found, name):
            entry = _entry(role, line)
            yield {"task": name} | entry | {"backbones": " ".join(entry["backbones"])}


def pair_records(found: StudyEvidence) -> Iterator[Record]:
    """Rows of tables/pairs.csv: every model against every later one, in the metric of the overview, unadjusted."""
    for name, task in found.tasks.items():
        for i, j in zip(*np.triu_indices(len(task.models), 1), strict=True):
            verdict = task.pairs[i, j]
            said = not isinstance(verdict, Silent)
            yield {
                "task": name,
                "metric": task.metric,
                "a": task.models[i],
                "b": task.models[j],
                "difference": rounded(verdict.test.mean) if said else None,
                "low": rounded(verdict.interval.low) if said else None,
                "high": rounded(verdict.interval.high) if said else None,
                "p": rounded(verdict.p) if said else None,
                "verdict": verdict.word,
            }


def leak_records(found: StudyEvidence) -> Iterator[Record]:
    """Rows of tables/leaks.csv: what folds that tear groups apart add, for each model and metric; paired by image."""
    for leak in found.leaks:
        said = leak.found if isinstance(leak.found, ImageDifference) else None
        yield {
            "ungrouped": leak.ungrouped,
            "grouped": leak.grouped,
            "backbone": leak.backbone,
            "model": leak.model,
            "metric": leak.metric,
            "difference": rounded(said.difference) if said else None,
            "low": rounded(said.interval.low) if said else None,
            "high": rounded(said.interval.high) if said else None,
            "p": rounded(said.p) if said and said.p is not None else None,
        }


def claim_records(found: StudyEvidence) -> Iterator[Record]:
    """Rows of tables/claims.csv."""
    for name, task in found.tasks.items():
        yield from ({"task": name} | _claim(claim) for claim in task.claims)


def _lines(found: StudyEvidence, task: str) -> Iterator[tuple[str, Line]]:
    for family in found.tasks[task].comparisons.families:
        yield from ((family.role, line) for line in family.lines)


def _entry(role: Any, line: Line) -> Record:
    """All keys in every row, None where there is no number."""
    contrast, verdict = line.contrast, line.verdict
    entry: Record = {
        "a": contrast.a,
        "b": contrast.b,
        "metric": contrast.metric,
        "over": contrast.kind,
        "backbones": list(contrast.backbones),
        "role": role,
        "verdict": verdict.word,
        "sentence": sentence(line, role),
    }
    numbers = ("difference", "low", "high", "low_alone", "high_alone", "p", "p_adjusted", "margin", "detectable")
    values = dict.fromkeys(numbers)
    if not isinstance(verdict, Silent):
        shown = (
            verdict.test.mean,
            verdict.interval.low,
            verdict.interval.high,
            verdict.unadjusted.low,
            verdict.unadjusted.high,
            verdict.p,
            verdict.adjusted.difference,
        )
        values = dict(zip(numbers, map(rounded, shown), strict=False)) | {
            "margin": verdict.margin,
            "detectable": None if verdict.outlook is None else rounded(verdict.outlook.detectable),
        }
    return entry | values


def _claim(claim: Claim) -> Record:
    return {
        "claim": claim.statement,
        "source": claim.source,
        "metric": claim.metric,
        "verdict": claim.word,
        "p": rounded(claim.p),
        "sentence": claim_sentence(claim),
    }
