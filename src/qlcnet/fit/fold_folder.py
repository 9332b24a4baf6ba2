"""The folder of one fitted fold: which files it holds and how they are written and read. No pickle, no dates."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qlcnet.stored import DamagedError, read_object

if TYPE_CHECKING:
    from qlcnet.fit.spec import FitResult

CONFIG, HISTORY, PREDICTIONS, WEIGHTS = "config.json", "history.csv", "predictions.safetensors", "weights.safetensors"
PROVENANCE = "provenance.json"  # seconds, host, commit: in the store only, never in a DVC output
FILES = (CONFIG, HISTORY, PREDICTIONS, WEIGHTS)
VALIDATION, TEST = 0, 1  # `part` of a row of predictions.safetensors

REMEDY = "remove its folder and run `qlcnet train` of its task: that fit is then fitted again"


def fold_path(results: Path, task: str, backbone: str, model: str, repeat: int, fold: int) -> Path:
    """Where a fold stands below `results/folds`."""
    return results / task / path_in_task(backbone, model, repeat, fold)


def path_in_task(backbone: str, model: str, repeat: int, fold: int) -> Path:
    """The same below `results/folds/<task>`."""
    return Path(backbone, model, f"repeat-{repeat}", f"fold-{fold}")


def files_of(config: Mapping[str, Any], result: FitResult) -> dict[str, bytes]:
    """The bytes of each file of a fold folder: a pure function of the fit."""
    from safetensors.numpy import save as save_arrays

    files = {
        HISTORY: _history_csv(result.history).encode(),
        PREDICTIONS: save_arrays({name: np.ascontiguousarray(a) for name, a in result.predictions.items()}),
        WEIGHTS: save_arrays(result.weights),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    whole = {**config, **result.facts, "computed_on": result.computed_on, "files": digests}
    return {CONFIG: config_text(whole).encode(), **files}


def config_text(config: Mapping[str, Any]) -> str:
    """The text of config.json and provenance.json."""
    return json.dumps(config, indent=1, sort_keys=True) + "\n"


def _history_csv(history: list[dict[str, float]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in history for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({name: int(v) if name == "epoch" else repr(float(v)) for name, v in row.items()})
    return text.getvalue()


def read_config(folder: Path, keys: Collection[str] = ()) -> dict[str, Any]:
    """config.json of a fold folder, which has these keys."""
    return read_object(folder / CONFIG, REMEDY, keys)


def read_provenance(folder: Path) -> dict[str, Any]:
    """provenance.json of a folder of the store; empty where there is none."""
    path = folder / PROVENANCE
    return read_object(path, REMEDY) if path.is_file() else {}


def read_history(folder: Path) -> list[dict[str, float]]:
    """history.csv, one dict an epoch."""
    try:
        with (folder / HISTORY).open(encoding="utf-8", newline="") as lines:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{folder / HISTORY} is damaged ({error}); {REMEDY}") from None
    if not rows:
        raise DamagedError(f"{folder / HISTORY} is damaged (it has no epoch); {REMEDY}")
    return rows
