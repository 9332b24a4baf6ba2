"""What a run holds, computed from config.json, history.csv and provenance.json alone. Imports no MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from qlcnet.config import fingerprint

Config = Mapping[str, Any]  # config.json of a fold folder with the names under which it stands (TaskFacts.describe)
LONGEST_VALUE = 5000  # characters of a tag; MLflow's own limit is 5,000 for tags and 6,000 for params
# keys of config.json that the fit adds and that are worth a column
FACTS = ("parameters", "multiply_adds", "circuit_evaluations", "images", "input_shape")
PROVENANCE_TAGS = ("commit", "dirty", "host", "workers", "finished_at")


def fold_name(config: Config) -> str:
    """Readable in the nested table and, because charts of several parents show it alone, unique among them."""
    repeat = f"repeat {config['repeat']} " if _repeats(config) > 1 else ""
    return f"{repeat}fold {config['fold']}, {model_name(config)}"


def model_name(config: Config) -> str:
    """For example `lcnet_050 hybrid`."""
    return f"{config['backbone']} {config['model']}"


def parent_fingerprint(configs: Sequence[Config]) -> str:
    """Fingerprint of a task x backbone x model: of its names and of its folds', which any change of a fold changes.

    Of its names too, since equal fits can stand under several.
    """
    names = [configs[0][name] for name in ("task", "backbone", "model")]
    return fingerprint([*names, *sorted(config["fingerprint"] for config in configs)])


def fits_of(config: Config) -> int:
    """How many fits the config's protocol makes of one model."""
    protocol = config["params"]["protocol"]
    return _repeats(config) * (1 if protocol["kind"] == "official" else int(protocol["folds"]))


def _repeats(config: Config) -> int:
    return int(config["params"]["protocol"]["repeats"])


def fold_tags(config: Config) -> dict[str, str]:
    """Tags of a child run."""
    own = {"kind": "fold", "repeat": config["repeat"], "fold": config["fold"], "fingerprint": config["fingerprint"]}
    return {**_shared_tags(config), **_texts(own)}


def parent_tags(configs: Sequence[Config]) -> dict[str, str]:
    """Tags of a parent run."""
    own = {"kind": "model", "fits": len(configs), "fingerprint": parent_fingerprint(configs)}
    return {**_shared_tags(configs[0]), **_texts(own)}


def study_tags(digest: str, tasks: Sequence[str], verdict: str) -> dict[str, str]:
    """Tags of the run of a whole study."""
    source = {"mlflow.source.name": "qlcnet report", "mlflow.source.type": "LOCAL"}
    return _texts({"kind": "study", "fingerprint": digest, "task": ", ".join(tasks), "verdict": verdict, **source})


def _shared_tags(config: Config) -> dict[str, str]:
    """Names, the tuple that decides rounding, digests of the data."""
    names = {name: config[name] for name in ("task", "backbone", "model")}
    source = {"mlflow.source.name": f"qlcnet train {config['task']}", "mlflow.source.type": "LOCAL"}
    numerics = {**config.get("numerics", {}), **dict(flatten(config.get("computed_on", {}), "computed_on"))}
    return _texts({**names, **numerics, **dict(flatten(config.get("data", {}), "data")), **source})


def params_of(config: Config) -> dict[str, str]:
    """The sections of params.yaml that the fit read, one param a key."""
    return _texts(
        {**dict(flatten(config["params"])), "seed": config["seed"], "class_names": config.get("class_names", ())}
    )


def facts_of(config: Config) -> dict[str, str]:
    """What the fit found out: sizes of the network and of the parts, circuit evaluations."""
    return _texts(dict(flatten({name: config[name] for name in FACTS if name in config})))


def provenance_tags(provenances: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Commit, dirty flag, host …: what all fits have in common, or all values there are, comma-separated."""
    values = {
        name: sorted({_text(p[name]) for p in provenances if p.get(name) is not None}) for name in PROVENANCE_TAGS
    }
    tags = {name: ", ".join(texts)[:LONGEST_VALUE] for name, texts in values.items() if texts}
    if len(values["commit"]) == 1:
        tags["mlflow.source.git.commit"] = tags["commit"]
    return tags


def fit_seconds(provenances: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metric `seconds_fit`, the sum over `provenances`; empty where one does not know its own."""
    seconds = [p.get("seconds") for p in provenances]
    known = [float(s) for s in seconds if s is not None]
    return {"seconds_fit": sum(known)} if known and len(known) == len(seconds) else {}


def fit_times(provenance: Mapping[str, Any]) -> tuple[int, int] | None:
    """Start and end of a fit in ms since 1970; None where they are not known."""
    if "finished_at" not in provenance or "seconds" not in provenance:
        return None
    end = datetime.fromisoformat(provenance["finished_at"])
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    return milliseconds(end - timedelta(seconds=provenance["seconds"])), milliseconds(end)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return round(moment.timestamp() * 1000)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that are numbers: an undefined one (AUC of a class that is absent) is left out, not drawn as 0."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted keys."""
    for key, item in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, Mapping):
            yield from flatten(item, name)
        else:
            yield name, item


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value)[:LONGEST_VALUE] for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()  # as in params.yaml, none apart
    return str(value)
