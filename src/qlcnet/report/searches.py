"""Searches of this project that a study's models have their settings from, read from the journals of `qlcnet tune`."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qlcnet.config import Params
from qlcnet.evidence.check_facts import CheckedSearch, SearchedSetting
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")


def searches_in_use(params: Params, root: Path) -> tuple[CheckedSearch, ...]:
    """Searches whose best settings a model has now, by name. Journals are not of DVC: a fresh clone has none.

    A search's name ends in a fingerprint of what its trials had in common (the code too), so it is found by its task,
    backbone and model; whether it still matters is whether params.yaml has what it found.
    """
    folder = Project(root).searches
    if not folder.is_dir():
        return ()
    found = (_search(path, params) for path in sorted(folder.glob("*.log")))
    return tuple(one for one in found if one)


def _search(path: Path, params: Params) -> CheckedSearch | None:
    """The search of one journal, None where no model has what it found, or nothing can be read."""
    try:
        name, trials = _read(path)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        log.info("%s is no journal that can be read (%r); the report does not speak of this search", path, error)
        return None
    task, backbone, model = ([*name.split("/"), "", "", ""])[:3]
    complete = [trial for trial in trials if trial.get("state") == 1 and trial.get("values")]
    if not complete or task not in params.datasets or backbone not in params.backbones or model not in params.models:
        return None
    best = max(complete, key=lambda trial: trial["values"][0])
    values: dict[str, tuple[Any, dict[str, Any]]] = {}
    for key, (drawn, distribution) in best["params"].items():
        values[key] = (_value(drawn, distribution), distribution["attributes"])
        # a number may have been copied with fewer digits
        if not _is_same(values[key][0], _set_to(params, model, key)):
            return None
    return CheckedSearch(f"{task}/{backbone}/{model}", len(complete), tuple(_numeric(values)))


def _numeric(values: dict[str, tuple[Any, dict[str, Any]]]) -> Iterator[SearchedSetting]:
    """Settings with an order: ranges, and choices that are numbers."""
    for key, (value, about) in values.items():
        choices = about.get("choices", (about.get("low"), about.get("high")))
        if all(isinstance(one, int | float) and not isinstance(one, bool) for one in choices):
            log_scale = bool(about.get("log")) or ("choices" in about and min(choices) > 0)
            yield SearchedSetting(key, float(value), float(min(choices)), float(max(choices)), log_scale)


def _value(drawn: float, distribution: dict[str, Any]) -> Any:
    """What was drawn: a journal holds the position of a choice."""
    choices = distribution["attributes"].get("choices")
    return drawn if choices is None else choices[int(drawn)]


def _set_to(params: Params, model: str, key: str) -> Any:
    """What params.yaml says of a searched key, by its dotted name; a choice that is a list as its JSON, like drawn."""
    head, *rest = key.split(".")
    own = f"models.{model}.training."
    if head == "training" or key.startswith(own):
        value: Any = params.training_of(model).model_dump(mode="json")
        rest = key.removeprefix(own).removeprefix("training.").split(".")
    else:
        value = params.model_dump(mode="json").get(head)
    for part in rest:
        value = value.get(part) if isinstance(value, Mapping) else None
    return json.dumps(value) if isinstance(value, list | dict) else value


def _is_same(found: Any, set_to: Any) -> bool:
    if isinstance(found, float) and isinstance(set_to, int | float):
        return math.isclose(found, set_to, rel_tol=1e-3)
    return bool(found == set_to)


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Name and trials of a journal, from its lines: opening it with Optuna takes locks, and seconds of imports.

    The codes are of optuna.storages.journal (JournalOperation): 0 a study, 4 a trial, 5 a drawn setting, 6 its state.
    tests/report/test_searches.py reads with it what Optuna wrote.
    """
    name = ""
    trials: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that its writer did not finish; `tune` mends it
        match entry.get("op_code"):
            case 0:
                name = str(entry["study_name"])
            case 4:
                trials.append({"params": {}})
            case 5:
                drawn = entry["param_value_internal"], json.loads(entry["distribution"])
                trials[entry["trial_id"]]["params"][entry["param_name"]] = drawn
            case 6:
                trials[entry["trial_id"]] |= {"state": entry["state"], "values": entry.get("values")}
    return name, trials
