"""A task of a published study on disk: what is the same for all repeats, and one compressed file a repeat.

    fits/<task>/task.json                what the report shows of the data, circuits and channels; no pixels
    fits/<task>/images.safetensors.xz    labels, official split, groups, exact copies, near-duplicates: once, (N,) each
    fits/<task>/repeat-<r>.safetensors.xz

A repeat's file is a function of that repeat's fits alone. Arrays in it:

    folds                         int32 (3, rows): image, role and fold, the fold table's rows of this repeat
    oof <backbone> <model>        uint8 (2 or 4, K, scored): see rounding.py; ordered by fold and image
    test <backbone> <model>       the same of a test part scored by every fit (train-cv)
    history <backbone> <model>    float32 (folds, epochs, columns)
    about                         JSON as uint8: config.json of each fit, the history's columns, steps of predictions
"""

from __future__ import annotations

import json
import lzma
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from qlcnet.config import Params
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
from qlcnet.data.fold_table import ROLES, FoldTable
from qlcnet.data.imageset import PARTS, ImageSet
from qlcnet.data.mechanism import Mechanism
from qlcnet.data.near_duplicates import NearDuplicates
from qlcnet.evidence.metrics import check_predictions
from qlcnet.evidence.oof import OOFTable, check_coverage
from qlcnet.publish.rounding import least_steps, pack, unpack
from qlcnet.report.study import Fit, ModelResults, TaskResults, changed_settings, scored_images
from qlcnet.stored import DamagedError, read_object
from qlcnet.whole import write_synced

Arrays = dict[str, np.ndarray]
NEAR = tuple(field.name for field in fields(NearDuplicates))
TASK, IMAGES, SUFFIX = "task.json", "images.safetensors.xz", ".safetensors.xz"
REMEDY = "take the folder from git again, or publish the study again"


class PublishError(ValueError):
    """A study cannot be published, or what is published cannot be read; the message says why and what to do."""


# --- writing ------------------------------------------------------------------------------------------------------


def write_task(task: TaskResults, folder: Path) -> None:
    """The task with all of its repeats. Files that hold the same already are left as they are, byte by byte.

    Raises PublishError where the folder is of other images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, names = task.images, task.images.class_names
    if (folder / TASK).is_file() and _read_about(folder)["digest"] != images.digest:
        raise PublishError(f"{folder.name} was published with other images: choose another name, or remove its folder")
    about = {
        "about": images.about,
        "class_names": list(names),
        "digest": images.digest,
        "shape": list(map(int, images.images.shape)),
        "cards": {name: asdict(card) for name, card in task.cards.items()},
        "circuits": task.circuits,
        "functions": task.functions,
        "mechanisms": {name: asdict(found) for name, found in task.mechanisms.items()},
        "failed": {" ".join(key): reasons for key, reasons in task.failed.items()},
    }
    write_synced(folder / TASK, json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    columns: Arrays = {"labels": _small(images.labels), "parts": _codes(images.parts, PARTS), "copies": task.copies}
    if images.groups is not None:
        columns["groups"] = images.groups
    if (near := task.near_duplicates) is not None:
        columns |= {f"near {key}": value for key, value in vars(near).items() if key in NEAR}
    _write_arrays(folder / IMAGES, columns)
    for repeat in task.folds.repeats:
        _write_arrays(repeat_file(folder, repeat), _arrays_of(task, repeat))


def repeat_file(folder: Path, repeat: int) -> Path:
    """Where a repeat of a task stands."""
    return folder / f"repeat-{repeat}{SUFFIX}"


def _arrays_of(task: TaskResults, repeat: int) -> Arrays:
    rows = task.folds.repeat == repeat
    table = [task.folds.index[rows], _codes(task.folds.part[rows], ROLES), task.folds.fold[rows]]
    found: Arrays = {"folds": np.stack(table).astype(np.int32)}
    configs: dict[str, list[dict[str, Any]]] = {}
    columns: dict[str, list[str]] = {}
    steps: dict[str, int] = {}
    for (backbone, model), results in task.results.items():
        name = f"{backbone} {model}"
        fits = sorted((fit for fit in results.fits if fit.repeat == repeat), key=lambda fit: fit.fold)
        configs[name], columns[name] = [fit.config for fit in fits], list(fits[0].history)
        found[f"history {name}"] = np.stack([np.stack([*fit.history.values()], 1) for fit in fits]).astype(np.float32)
        for kind, scored in (("oof", results.oof), ("test", results.test)):
            here = _ordered(scored.rows(scored.repeat == repeat))
            if len(here):
                of_folds = (here.rows(here.fold == fold) for fold in np.unique(here.fold))
                steps[f"{kind} {name}"] = n = least_steps((one.target, one.probabilities) for one in of_folds)
                found[f"{kind} {name}"] = pack(here.probabilities, n)
    text = json.dumps({"configs": configs, "columns": columns, "steps": steps}, sort_keys=True)
    found["about"] = np.frombuffer(text.encode(), np.uint8)
    return found


def _ordered(table: OOFTable) -> OOFTable:
    order = np.lexsort((table.index, table.fold))
    columns = (table.repeat, table.fold, table.index, table.target, table.probabilities)
    return OOFTable(table.task, table.backbone, table.model, table.class_names, *(one[order] for one in columns))


def _small(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint8 if numbers.max(initial=0) < 256 else np.uint16)


def _codes(texts: np.ndarray, allowed: tuple[str, ...]) -> np.ndarray:
    return np.array([allowed.index(text) for text in texts.tolist()], np.uint8)


def _write_arrays(path: Path, arrays: Arrays) -> None:
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    # another liblzma packs otherwise: what is there stays if it says the same
    if not path.is_file() or _unpacked(path) != content:
        write_synced(path, lzma.compress(content, preset=9))


# --- reading ------------------------------------------------------------------------------------------------------


def read_task(name: str, params: Params, folder: Path) -> TaskResults:
    """What `write_task` wrote. Raises PublishError, DamagedError, OOFError, FileNotFoundError."""
    about, columns = _read_about(folder), _read_arrays(folder / IMAGES)
    pixels = np.broadcast_to(np.uint8(0), about["shape"])  # the shape alone: no pixels are published
    parts, labels = np.array(PARTS)[columns["parts"]], columns["labels"].astype(np.int64)
    class_names = tuple(about["class_names"])
    images = ImageSet(pixels, labels, parts, class_names, columns.get("groups"), about["about"])
    images.__dict__["digest"] = about["digest"]
    pattern = f"repeat-*{SUFFIX}"
    numbers = sorted(int(path.name.removeprefix("repeat-").removesuffix(SUFFIX)) for path in folder.glob(pattern))
    if not numbers:
        raise PublishError(f"{folder} has no {pattern}: {REMEDY}")
    repeats = {number: _read_arrays(repeat_file(folder, number)) for number in numbers}
    folds = _fold_table(repeats, images)
    failed = {tuple(key.split(" ")): reasons for key, reasons in about["failed"].items()}
    results = {
        (backbone, model): _read_model(name, backbone, model, params, repeats, folds, images)
        for backbone in params.backbones
        for model in params.models
        if (backbone, model) not in failed
    }
    task = TaskResults(
        name,
        params.datasets[name],
        images,
        folds,
        {key: _card(known) for key, known in about["cards"].items()},
        about["circuits"],
        about["functions"],
        {key: Mechanism.from_json(known) for key, known in about["mechanisms"].items()},
        None,
        results,
        failed,
    )
    near = {key: columns[f"near {key}"] for key in NEAR if f"near {key}" in columns}
    task.__dict__["copies"], task.__dict__["near_duplicates"] = (
        columns["copies"],
        NearDuplicates(**near) if near else None,
    )
    return task


def steps_of(folder: Path, repeat: int, backbone: str, model: str) -> dict[str, int]:
    """Number of steps (rounding.py) that the predictions of a model in a repeat were rounded to: of `oof`, `test`."""
    steps = _steps_in(repeat_file(folder, repeat))
    name = f" {backbone} {model}"
    return {kind: steps[f"{kind}{name}"] for kind in ("oof", "test") if f"{kind}{name}" in steps}


@lru_cache(maxsize=8)
def _steps_in(path: Path) -> dict[str, int]:
    steps: dict[str, int] = json.loads(_read_arrays(path)["about"].tobytes())["steps"]
    return steps


def _read_about(folder: Path) -> dict[str, Any]:
    keys = ("about", "class_names", "digest", "shape", "cards", "circuits", "functions", "mechanisms", "failed")
    return read_object(folder / TASK, REMEDY, keys)


def _fold_table(repeats: dict[int, Arrays], images: ImageSet) -> FoldTable:
    index, role, fold = np.concatenate([one["folds"] for one in repeats.values()], 1).astype(np.int64)
    repeat = np.concatenate([np.full(one["folds"].shape[1], number) for number, one in repeats.items()])
    group = None if images.groups is None else images.groups[index]
    return FoldTable(index, images.labels[index], group, np.array(ROLES)[role], repeat, fold)


def _read_model(
    task: str,
    backbone: str,
    model: str,
    params: Params,
    repeats: dict[int, Arrays],
    folds: FoldTable,
    images: ImageSet,
) -> ModelResults:
    name, official = f"{backbone} {model}", params.datasets[task].protocol.kind == "official"
    fits: list[Fit] = []
    parts: dict[str, list[OOFTable]] = {"oof": [], "test": []}
    empty = np.zeros(0, np.int64)
    none = np.zeros((0, len(images.class_names)), np.float32)
    for repeat, arrays in repeats.items():
        about = json.loads(arrays["about"].tobytes())
        if name not in about["configs"]:
            raise PublishError(
                f"repeat {repeat} of {task} was published without {backbone}/{model}: fit it and publish the study "
                "again, or take the model out of params.yaml"
            )
        for fold, config in enumerate(about["configs"][name]):
            if changed := changed_settings(config, params, backbone, model):
                raise PublishError(
                    f"repeat {repeat} of {task} was published with other settings of {backbone}/{model} "
                    f"({', '.join(changed)}): fit it again, or publish under another name"
                )
            history = arrays[f"history {name}"][fold].astype(np.float64)
            fits.append(Fit(repeat, fold, config, dict(zip(about["columns"][name], history.T, strict=True))))
        for kind, tables in parts.items():
            index, fold_of = _scored_by(folds, repeat, len(about["configs"][name]), kind, official)
            if f"{kind} {name}" in arrays:
                steps = about["steps"][f"{kind} {name}"]
                probabilities = unpack(arrays[f"{kind} {name}"], steps)
                target = images.labels[index]
                check_predictions(target, probabilities)
                columns = (np.full(len(index), repeat), fold_of, index, target, probabilities)
                tables.append(OOFTable(task, backbone, model, images.class_names, *columns))
    joined = {}
    for kind, tables in parts.items():
        blank = OOFTable(task, backbone, model, images.class_names, empty, empty, empty, empty, none)
        whole = [blank, *tables]
        names = ("repeat", "fold", "index", "target", "probabilities")
        stacked = (np.concatenate([getattr(one, column) for one in whole]) for column in names)
        joined[kind] = OOFTable(task, backbone, model, images.class_names, *stacked)
    check_coverage(joined["oof"], scored_images(folds, params.datasets[task].protocol.kind))
    return ModelResults(task, backbone, model, tuple(fits), joined["oof"], joined["test"])


def _scored_by(folds: FoldTable, repeat: int, fits: int, kind: str, official: bool) -> tuple[np.ndarray, np.ndarray]:
    """Image and fold of each row, in the order in which they are stored."""
    here = folds.repeat == repeat
    if kind == "oof" and not official:
        rows = np.flatnonzero(here & (folds.part == "cv"))
        index, fold = folds.index[rows], folds.fold[rows]
    else:
        tested = np.sort(folds.index[here & (folds.part == "test")])
        index, fold = np.tile(tested, fits), np.repeat(np.arange(fits), len(tested))
    order = np.lexsort((index, fold))
    return index[order], fold[order]


def _card(known: dict[str, Any]) -> ChannelCard:
    made = {"decode": Decode(**known["decode"]), "evaluations": Evaluations(**known["evaluations"])}
    return ChannelCard(**{**known, "shape": tuple(known["shape"]), **made})


def _read_arrays(path: Path) -> Arrays:
    return dict(load(_unpacked(path)))


def _unpacked(path: Path) -> bytes:
    try:
        return lzma.decompress(path.read_bytes())
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedError(f"{path} is damaged ({error}); {REMEDY}") from None
