"""Where no predictions were recorded: out-of-fold metrics of whole models against those of results/summary.json."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from qlcnet.evidence.metrics import METRICS
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.grid.text import count_text
from qlcnet.report.summary import DIGITS
from qlcnet.reproduce.compare_fits import FitVerdict
from qlcnet.reproduce.conclusion import metrics_of_model
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.recorded import SUMMARY, Recorded


def compare_models(
    recorded: Recorded, made: Mapping[str, Path], fits: Collection[str], params: Path, folder: Path
) -> list[FitVerdict]:
    """A verdict for each model all of whose fits were recomputed, of none of which the predictions are recorded.

    fits: names of all fits of the study. params: the commit's params.yaml. folder: where links to the fits are made.
    """
    stated = _tasks(recorded.root / SUMMARY)
    protocols = yaml.safe_load(params.read_text(encoding="utf-8"))["datasets"]
    found = []
    for model in sorted({fit.rsplit("/", 2)[0] for fit in made}):
        of_model = [fit for fit in fits if fit.startswith(f"{model}/")]
        task, backbone, name = model.split("/")
        entry = stated.get(task, {}).get(backbone, {}).get(name)
        if entry is None or not set(of_model) <= made.keys() or any(map(recorded.knows_fit, of_model)):
            continue
        for fit in of_model:
            (folder / fit).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / fit).exists():
                (folder / fit).symlink_to(made[fit], target_is_directory=True)
        classes = read_config(made[of_model[0]]).get("classes", len(entry.get("recalls", {})))
        protocol = {"kind": "pooled-cv", **protocols[task]["protocol"]}
        TaskFacts(task, 0, tuple(map(str, range(classes))), protocol, {}, {}, {}).write(folder / task)
        found.append(_compare(model, entry, metrics_of_model(folder / model), len(of_model)))
    return found


def _compare(
    model: str, entry: Mapping[str, Mapping[str, float]], metrics: Mapping[str, float], fits: int
) -> FitVerdict:
    pairs = {
        name: (float(entry[name]["oof"]), round(metrics[name], DIGITS))
        for name in METRICS
        if entry.get(name, {}).get("oof") is not None and math.isfinite(metrics[name])
    }
    equal = bool(pairs) and all(then == now for then, now in pairs.values())
    found = FitVerdict(f"{model}, out of fold", Grade.METRICS if equal else Grade.UNKNOWN, SUMMARY, pairs)
    found.notes.append(
        f"no predictions are recorded: {count_text(len(pairs), 'metric')} of {count_text(fits, 'fit')} together "
        f"compared with summary.json, to {DIGITS} decimals"
        + ("" if equal else ", which shows no spread and names no kind of CPU")
    )
    return found


def _tasks(path: Path) -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]]:
    found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]] = (
        json.loads(path.read_text(encoding="utf-8")).get("tasks", {}) if path.is_file() else {}
    )
    return found
