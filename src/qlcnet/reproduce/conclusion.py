"""The study's verdicts and numbers, recorded against recomputed: the same conclusion, whatever the bytes?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.summary import cost_of, summarise_model
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.report.predictions import fold_folders, read_oof, read_test
from qlcnet.report.summary import DIGITS, HEADLINE_DIGITS
from qlcnet.reproduce.recorded import METRICS as METRICS_FILE
from qlcnet.reproduce.recorded import SUMMARY, Recorded

NUMBER = re.compile(r"[-+]?\d[\d,.]*(e[-+]?\d+)?")


@dataclass(frozen=True)
class Conclusion:
    """same: None where it cannot be told. said: how many verdicts were compared. changes: those that are others."""

    same: bool | None
    basis: str
    said: int = 0
    changes: tuple[str, ...] = ()


def compare_conclusions(recorded: Path, recomputed: Path, basis: str) -> Conclusion:
    """Verdicts of two files summary.json: of comparisons, claims and answers, without their numbers."""
    for path, which in ((recorded, "recorded"), (recomputed, "recomputed")):
        if not path.is_file():
            return Conclusion(None, f"no {which} summary.json")
    then, now = (_verdicts(json.loads(path.read_text(encoding="utf-8"))) for path in (recorded, recomputed))
    if not then:
        return Conclusion(None, "the recorded summary.json states no verdict")
    changes = [
        f"{name}: {word} recorded, {now.get(name, 'not stated')} recomputed"
        for name, word in then.items()
        if now.get(name) != word
    ]
    changes += [
        f"{name}: not stated in the record, {word} recomputed" for name, word in now.items() if name not in then
    ]
    return Conclusion(not changes, basis, len(then), tuple(changes))


def _verdicts(summary: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for task, evidence in summary.get("evidence", {}).items():
        for one in evidence.get("comparisons", []):
            over = one["over"] if len(one["backbones"]) > 1 else ", ".join(one["backbones"])
            found[f"{task}, {one['a']} and {one['b']}, {one['metric']}, {over} ({one['role']})"] = one["verdict"]
        for one in evidence.get("claims", []):
            found[f"{task}, claim: {one['claim']} ({one['metric']})"] = one["verdict"]
        for i, answer in enumerate(evidence.get("answers", [])):
            found[f"{task}, answer {i + 1}"] = NUMBER.sub("#", answer)
    return found


def numbers_of(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a JSON value with dotted paths."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from numbers_of(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from numbers_of(value, f"{path}[{i}]")
    else:
        yield path, content


def differing_numbers(recorded: Path, recomputed: Path, section: str = "") -> list[str]:
    """Leaves of two JSON files that differ, as `path: then recorded, now recomputed`; of one `section` alone."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in (recorded, recomputed)]
    then, now = (dict(numbers_of(c.get(section, {}) if section else c)) for c in contents)
    return [
        f"{name}: {then.get(name, 'nothing')} recorded, {now.get(name, 'nothing')} recomputed"
        for name in dict.fromkeys([*then, *now])
        if then.get(name, "nothing") != now.get(name, "nothing")
    ]


def contradictions_of_metrics(recorded: Recorded) -> list[str]:
    """Recorded out-of-fold metrics that the recorded predictions do not give: one of the two was changed."""
    stated = {
        METRICS_FILE: (_read(recorded.root / METRICS_FILE), HEADLINE_DIGITS),
        SUMMARY: (_read(recorded.root / SUMMARY).get("tasks", {}), DIGITS),
    }
    found = []
    for folder in sorted({path.parents[2] for path in recorded.project.fits.glob("*/*/*/repeat-*/fold-*/config.json")}):
        task, backbone, model = folder.parts[-3:]
        try:
            metrics = metrics_of_model(folder)
        except Exception:  # damaged or incomplete: named elsewhere
            continue
        for file, (content, digits) in stated.items():
            entry = content.get(task, {}).get(backbone, {}).get(model, {})
            for name in METRICS:
                value = entry.get(name)
                value = value.get("oof") if isinstance(value, Mapping) else value
                if value is not None and abs(value - metrics[name]) > 0.6 * 10.0**-digits:
                    found.append(
                        f"{file}: {task}.{backbone}.{model}.{name} is {value}, its predictions give "
                        f"{round(metrics[name], digits)}"
                    )
    return found


def metrics_of_model(folder: Path) -> dict[str, float]:
    """Out-of-fold value of each metric of `results/folds/<task>/<backbone>/<model>`."""
    kind = TaskFacts.read(folder.parents[1]).protocol["kind"]
    configs = [read_config(fold) for fold in fold_folders(folder).values()]
    summary = summarise_model(read_oof(folder, kind), read_test(folder, kind), cost_of(configs))
    return {name: summary.oof.metrics[name].value for name in METRICS}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
