"""Runs of MLflow as what was recorded: out-of-fold predictions of a model's run, histories of its fits' runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qlcnet.fit.fold_folder import path_in_task, read_config
from qlcnet.report.predictions import SCORED_PART
from qlcnet.reproduce.partial import History, Partial
from qlcnet.reproduce.recorded import Recorded
from qlcnet.reproduce.revision import Revision
from qlcnet.scratch import scratch_folder
from qlcnet.tracking.backend import Backend, brief, open_backend
from qlcnet.tracking.place import place_of

if TYPE_CHECKING:
    from mlflow.entities import Run

ORIGIN, TABLE = "MLflow", "oof/oof.csv"
COMPARED = ("fingerprint", "numerics", "computed_on")
OF_RUN = ("seconds_fit",)  # metrics that are no column of a history
Arrays = Mapping[str, np.ndarray]


def take_tracked(recorded: Recorded, root: Path, revision: Revision, made: Mapping[str, Path]) -> str:
    """Lay what the tracking store has of models of recomputed fits `made` beside what is at hand.

    A model's run is that which was asked for, or holds a fit with the fingerprint of a recomputed one, or is of the
    commit. Returns why nothing could be had, or nothing. The store is only read.
    """
    lacking = [fit for fit in made if not recorded.knows_fit(fit)]
    place = place_of(root)
    if not lacking or (place.file and not place.file.is_file()):
        return ""
    try:
        backend = open_backend(root)
        for model in sorted({fit.rsplit("/", 2)[0] for fit in lacking}):
            of_model = {fit: made[fit] for fit in lacking if fit.startswith(f"{model}/")}
            if found := _run_of(backend, model, revision, of_model):
                _lay(recorded, backend, *found, model, of_model)
    except Exception as error:
        return f"the tracking store: {brief(error)}"
    return ""


def _run_of(
    backend: Backend, model: str, revision: Revision, made: Mapping[str, Path]
) -> tuple[Run, dict[tuple[int, int], Run]] | None:
    """The run of a model with those of its fits by (repeat, fold)."""
    names = " AND ".join(
        f"tags.{key} = '{name}'"
        for key, name in zip(("task", "backbone", "model"), model.split("/"), strict=True)
    )  # fmt: skip
    now = {read_config(folder)["fingerprint"] for folder in made.values()}
    found = []
    for run in _search(backend, f"{names} AND tags.kind = 'model' AND attributes.status = 'FINISHED'"):
        children = {
            (int(child.data.tags["repeat"]), int(child.data.tags["fold"])): child
            for child in _search(backend, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
            if child.info.status == "FINISHED"
        }
        ids = {run.info.run_id, *(child.info.run_id for child in children.values())}
        same = sum(child.data.tags["fingerprint"] in now for child in children.values())
        is_of_commit = revision.commit in run.data.tags.get("commit", "").split(", ")
        if revision.run in ids or (not revision.run and (same or is_of_commit)):
            found.append((same, run.info.start_time, run, children))
    return max(found, key=lambda one: one[:2])[2:] if found else None


def _lay(
    recorded: Recorded,
    backend: Backend,
    run: Run,
    children: Mapping[tuple[int, int], Run],
    model: str,
    made: Mapping[str, Path],
) -> None:
    task, backbone, of_backbone = model.split("/")
    part = SCORED_PART[run.data.params["protocol.kind"]]
    with scratch_folder(recorded.root) as scratch:
        table = _read_table(Path(backend.client.download_artifacts(run.info.run_id, TABLE, str(scratch))), part)
    now = read_config(next(iter(made.values())))
    for (repeat, fold), child in children.items():
        name = f"{task}/{path_in_task(backbone, of_backbone, repeat, fold).as_posix()}"
        if recorded.knows_fit(name) or (repeat, fold) not in table:
            continue
        partial = Partial(f"{ORIGIN}, run {run.info.run_id}", {part: None}, compared=COMPARED)
        # others of the model show how far apart its fits are: of them the predictions alone are read
        history = _history(backend, child) if name in made else []
        partial.write(recorded.project.fits / name, _config(child, now), table[repeat, fold], history)
        recorded.partial[name] = partial
        recorded.lists.setdefault(f"results/folds/{task}", {})[f"{name.partition('/')[2]}/config.json"] = ""
        recorded.origins[f"results/folds/{task}"] = ORIGIN


def _read_table(path: Path, part: int) -> dict[tuple[int, int], Arrays]:
    """Rows of oof.csv of each (repeat, fold); its nine digits give every float32 back."""
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    first = names.index("repeat")  # names of task, model and backbone come before
    numbers = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(first, len(names)), ndmin=2)
    columns = dict(zip(names[first:], numbers.T, strict=True))
    probabilities = np.stack([columns[name] for name in columns if name.startswith("p_")], 1).astype(np.float32)
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, key in enumerate(zip(columns["repeat"], columns["fold"], strict=True)):
        rows[int(key[0]), int(key[1])].append(i)
    return {
        key: {
            "index": columns["index"][here].astype(np.int64),
            "target": columns["target"][here].astype(np.int64),
            "part": np.full(len(here), part, np.uint8),
            "probabilities": probabilities[here],
        }
        for key, here in rows.items()
    }


def _history(backend: Backend, run: Run) -> History:
    rows: dict[int, dict[str, float]] = {}
    for name in sorted(run.data.metrics.keys() - set(OF_RUN)):
        for metric in backend.client.get_metric_history(run.info.run_id, name):
            rows.setdefault(metric.step, {"epoch": float(metric.step)})[name] = metric.value
    return [rows[epoch] for epoch in sorted(rows)]


def _config(run: Run, now: Mapping[str, Any]) -> dict[str, Any]:
    """What a fit's run says of its config.json: the identity, what it was computed on, and its params as settings.

    now: config.json of a recomputed fit, with the types of what a tag has as text.
    """
    tags = run.data.tags
    numerics = {
        name: value if tags.get(name) == str(value) else tags.get(name) for name, value in now["numerics"].items()
    }
    computed_on: dict[str, Any] = {"variables": {}}
    for key, value in tags.items():
        if key.startswith("computed_on."):
            inner, _, name = key.removeprefix("computed_on.").rpartition(".")
            (computed_on[inner] if inner else computed_on)[name] = value
    about = {"fingerprint": tags["fingerprint"], "numerics": numerics, "computed_on": computed_on}
    return {**about, "settings": dict(run.data.params)}


def _search(backend: Backend, text: str) -> Iterator[Run]:
    yield from backend.client.search_runs([backend.experiment_id], text, max_results=1000)
