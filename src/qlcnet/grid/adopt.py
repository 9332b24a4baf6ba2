"""`qlcnet store adopt`: finished fits under their new names, once it is shown that today's code gives the same bytes.

A change of code that fits run gives all of them another identity, also one that changes no result. What shows that is
fitting some of them again: fits chosen by seed, from every kind of change, and every file compared byte by byte. Fits
that were made before identities were written (their config.json has `params`) are found by what they say of themselves.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qlcnet.config import Backbone, Model, Params, Section, Training, canonical, fingerprint
from qlcnet.fit.fold_folder import HISTORY, PREDICTIONS, WEIGHTS, files_of, read_config
from qlcnet.fit.identity import FIELDS, settings_of
from qlcnet.fit.soundness import digest_of
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.fit.task_data import NotPreparedError
from qlcnet.grid.grid import Grid, channels_of, plan_grid
from qlcnet.grid.local import LocalEngine
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")
COMPARED = (PREDICTIONS, HISTORY, WEIGHTS)

S = TypeVar("S", bound=Section)
Refit = Callable[[Grid, list[FitSpec]], Mapping[str, FitResult]]  # results by fingerprint


@dataclass(frozen=True)
class Candidate:
    """A fit of params.yaml that the store has under another name. `change`: from which code to which."""

    grid: Grid
    spec: FitSpec
    stored: str
    change: tuple[str, str]


@dataclass
class Adoption:
    """What `adopt` did: how many fits were compared, how many are kept under new names, and what differed."""

    candidates: int = 0
    checked: list[str] = field(default_factory=list)
    adopted: int = 0
    differ: list[str] = field(default_factory=list)  # a line each: the fit, its files

    def __str__(self) -> str:
        if not self.candidates:
            return "nothing to adopt: no fit to do stands in the store under another code"
        if self.differ:
            count = f"{len(self.differ)} of {len(self.checked)} fits that were fitted again"
            return "\n  ".join([f"{count} differ from the stored ones; nothing was adopted", *self.differ])
        left = self.candidates - self.adopted
        text = f"{len(self.checked)} fits fitted again, all bytes equal: {self.adopted} fits adopted"
        return text + (f"; {left} of other changes are left (a larger --check reaches them)" if left else "")


def adopt(params: Params, root: Path, store: FoldStore, check: int, refit: Refit, seed: int = 0) -> Adoption:
    """Fit `check` fits again and, if all of their bytes are equal, keep every fit of these changes under its new name.

    The former folders stay until `qlcnet store prune`. Raises ValueError for a `check` below 1.
    """
    if check < 1:
        raise ValueError("--check: at least one fit must be fitted again")
    found = find_candidates(params, root, store)
    result = Adoption(candidates=len(found))
    chosen = choose(found, check, seed)
    for grid in dict.fromkeys(id(candidate.grid) for candidate in chosen):
        of_grid = [candidate for candidate in chosen if id(candidate.grid) == grid]
        fitted = refit(of_grid[0].grid, [candidate.spec for candidate in of_grid])
        for candidate in of_grid:
            files = differing_files(store.path(candidate.stored), fitted[candidate.spec.fingerprint])
            result.checked.append(candidate.spec.name)
            if files:
                result.differ.append(f"{candidate.spec.name}: {', '.join(files)}")
    if result.differ:
        return result
    proven = {candidate.change for candidate in chosen}
    for candidate in found:
        if candidate.change in proven:
            spec, folder = candidate.spec, store.path(candidate.stored)
            config = {**_facts(folder, read_config(folder), candidate), **candidate.grid.configs[spec.fingerprint]}
            store.keep_as(candidate.stored, spec.fingerprint, config, {"name": spec.name})
            result.adopted += 1
    return result


def refit_here(params: Params, root: Path, workers: int) -> Refit:
    """Fits on worker processes of this machine."""

    def refit(grid: Grid, specs: list[FitSpec]) -> dict[str, FitResult]:
        paths, channels = DataPaths.of(root, grid.task), channels_of(params)
        engine = LocalEngine(paths, channels, min(workers, len(specs)), lambda event: None, Project(root).scratch)
        try:
            futures = {spec.fingerprint: engine.submit(spec) for spec in specs}
            results = {}
            for spec in specs:
                results[spec.fingerprint] = futures[spec.fingerprint].result()
                log.info("fitted again: %s (%d of %d)", spec.name, len(results), len(specs))
        except BaseException:
            engine.close(abort=True)
            raise
        engine.close()
        return results

    return refit


def choose(candidates: list[Candidate], check: int, seed: int) -> list[Candidate]:
    """`check` of them: at random by `seed`, and the changes in turn, so that as many of them as can be are reached."""
    rng = random.Random(seed)
    shuffled = rng.sample(candidates, len(candidates))
    by_change: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in shuffled:
        by_change.setdefault(candidate.change, []).append(candidate)
    chosen: list[Candidate] = []
    while len(chosen) < min(check, len(candidates)):
        for group in by_change.values():
            if group and len(chosen) < check:
                chosen.append(group.pop())
    return chosen


def find_candidates(params: Params, root: Path, store: FoldStore) -> list[Candidate]:
    """Fits to do of every task whose stored twin differs in its code alone."""
    stored: dict[str, str] = {}
    codes: dict[str, str] = {}
    for entry in store.entries():
        config = read_config(store.path(entry.fingerprint))
        key = _key_of_former(config) if "params" in config else _key_without_code(config)
        stored[key], codes[entry.fingerprint] = entry.fingerprint, config.get("code") or config.get("sources", "")
    found = []
    for task in params.datasets:
        try:
            grid = plan_grid(params, task, root, store)
        except NotPreparedError as error:
            log.info("%s is left out: %s", task, error)
            continue
        for spec in grid.todo:
            keys = (_key_without_code(grid.configs[spec.fingerprint]), _former_key_of(grid, spec))
            if known := next((stored[key] for key in keys if key in stored), None):
                found.append(Candidate(grid, spec, known, (codes[known], spec.code)))
    return found


def differing_files(folder: Path, fitted: FitResult) -> list[str]:
    """Names of the files of a stored fit that are not what `fitted` gives."""
    again = files_of({}, fitted)
    return [name for name in COMPARED if (folder / name).read_bytes() != again[name]]


# --- keys by which a fit is found again -----------------------------------------------------------------------------

BUT_CODE = tuple(name for name in FIELDS if name != "code")


def _key_without_code(config: Mapping[str, Any]) -> str:
    return fingerprint({name: config.get(name) for name in BUT_CODE})


def _former_key_of(grid: Grid, spec: FitSpec) -> str:
    """What a fit of before would say that has the same rows, inputs and settings."""
    assert grid.facts is not None
    config = grid.configs[spec.fingerprint]
    channels = {name: grid.facts.data["channels"][name] for name in spec.model.stored}
    return fingerprint(
        [
            grid.facts.data["images"], grid.facts.data["folds"], channels, list(map(str, spec.model.inputs)),
            spec.repeat, spec.fold, spec.seed, len(grid.facts.class_names), config["settings"], config["numerics"],
        ]
    )  # fmt: skip


def _key_of_former(config: Mapping[str, Any]) -> str:
    data, params = config["data"], config["params"]
    channels = {name: card["digest"] for name, card in data["channels"].items()}
    try:
        settings = settings_of(
            config["backbone"],
            _section(Backbone, params["backbone"]),
            _section(Model, params["model"]),
            _section(Training, params["training"]),
            data.get("pretrained"),
        )
    except ValueError:  # settings that are no longer known
        return ""
    return fingerprint(
        [
            data["images"], data["folds"], channels, params["model"]["inputs"],
            config["repeat"], config["fold"], config["seed"], len(config["class_names"]), settings, config["tuple"],
        ]
    )  # fmt: skip


def _section(kind: type[S], values: Mapping[str, Any]) -> S:
    """A section that was written whole, without its defaults: some keys may only be given where they are read."""
    defaults = {name: canonical(field.default) for name, field in kind.model_fields.items() if not field.is_required()}
    return kind.model_validate({k: v for k, v in values.items() if k not in defaults or v != defaults[k]})


def _facts(folder: Path, former: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """What the former config.json says beside its identity."""
    names = ("normalisation", "parameters", "multiply_adds", "circuit_evaluations", "images", "input_shape")
    facts = {name: former[name] for name in names}
    channels = list(candidate.grid.kind(candidate.spec).channels)  # names of inputs were there before
    digests = {name: digest_of((folder / name).read_bytes()) for name in COMPARED}
    return {
        **facts,
        "files": digests,
        "normalisation": {**facts["normalisation"], "channels": channels},
        "computed_on": former.get("computed_on", {}),
        **{name: former[name] for name in ("epoch_weights",) if name in former},
    }
