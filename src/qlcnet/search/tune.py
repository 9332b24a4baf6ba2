"""`qlcnet tune`: searches side by side, each of one model in one outer training part, and what comes of them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qlcnet import git
from qlcnet.config import Params, fingerprint
from qlcnet.cost.room import auto_workers
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.streams import stream
from qlcnet.fit.code import LOADED
from qlcnet.fit.identity import numerics_of
from qlcnet.fit.spec import DataPaths
from qlcnet.fit.store import FoldStore
from qlcnet.fit.task_data import data_of
from qlcnet.grid.grid import DECIDING, channels_of, device_of, plan_grid, weights_digest
from qlcnet.paths import Project
from qlcnet.search.cluster_lanes import SharedEngines
from qlcnet.search.errors import TuningError
from qlcnet.search.fits import Bench
from qlcnet.search.inner import InnerProject
from qlcnet.search.lanes import Costs, Lane
from qlcnet.search.nested import Nested, OuterFit, nested_of
from qlcnet.search.outcome import Outcome, SearchRecord, outcome_of
from qlcnet.search.progress import SearchBar
from qlcnet.search.pruner import FoldPruner
from qlcnet.search.record import record_of
from qlcnet.search.running import Lanes, Unit, search
from qlcnet.search.space import Space
from qlcnet.search.space_faults import check_all_read
from qlcnet.search.stopping import Clock
from qlcnet.search.study import Slots
from qlcnet.search.trial_store import TrialStore

log = logging.getLogger("qlcnet")
# told of each search in which a trial was settled: its name, and what says how it stands. Must return at once.
Follow = Callable[[str, Callable[[], SearchRecord]], None]


@dataclass(frozen=True)
class Asked:
    """What the command was asked for. workers None: as many as this machine's cores and memory carry.

    fold: the outer fold in whose training part is searched; nested: in that of each. trials: settled ones in the end,
    of each search. flat: stop when the last trials brought less than the noise of the folds. name: of the folder of
    what is found, below results/search; None: made of task, models and what decides the trials.
    """

    task: str
    models: tuple[str, ...] = ()
    backbone: str | None = None
    trials: int = 20
    workers: int | None = None
    scheduler: str | None = None
    storage: str | None = None
    nested: bool = False
    fold: int = 0
    search_seeds: int = 1
    minutes: float | None = None
    flat: bool = False
    simplest: bool = False
    prune: bool = True
    lost: tuple[str, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Found:
    """What came of it: an outcome a search, and for --nested the outer scores of each model and search seed."""

    asked: Asked
    name: str
    outcomes: tuple[Outcome, ...]
    nested: tuple[Nested, ...]
    params: Params

    def of_model(self, model: str) -> list[Outcome]:
        """The searches of a model."""
        return [one for one in self.outcomes if one.search.model == model]


def tune(params: Params, root: Path, asked: Asked, follow: Follow = lambda search, now: None) -> Found:
    """Settle the trials that were asked for, in whichever processes, and say what was found. Raises TuningError.

    Run again it goes on; what is settled stays. `tuning` of params.yaml says what is searched.
    """
    models, backbone = _chosen(params, asked)
    project = Project(root)
    check_all_read(params, models)
    spaces = {model: Space.of(params, model, backbone) for model in models}
    trials = TrialStore(project)
    benches = _benches(params, root, asked, spaces, trials)
    units = [_unit(params, root, asked, bench, fold, seed) for (fold, _, seed), bench in benches.items()]
    title = f"{asked.task}, {', '.join(models)}"
    done = sum(len(unit.slots.settled()) for unit in units)
    bar = SearchBar(title, asked.trials * len(units), done, params.tuning.folds, params.tuning.metric)
    lanes = Lanes(_lanes(params, root, asked, units, trials))

    def settled(unit: Unit) -> None:
        follow(unit.slots.name, lambda: _record(unit, asked.task, ended=False))

    try:
        search(lanes, units, bar, Clock(asked.minutes), asked.flat, settled)
        records = [_record(unit, asked.task) for unit in units]
        outcomes = [_outcome(record, params, asked) for record in records]
        nested = _nested(params, asked, units, outcomes, lanes, bar) if asked.nested else []
    finally:
        bar.close()
        lanes.close()
    name = f"{asked.task}-{backbone}-{'-'.join(models)}-{fingerprint([unit.slots.name for unit in units])[:8]}"
    return Found(asked, asked.name or name, tuple(outcomes), tuple(nested), params)


def study_name(
    params: Params, task: str, root: Path, space: Space, fold: int = 0, seed: int = 0, prune: bool = True
) -> str:
    """Task, network and a fingerprint of all that decides a trial's score: trials under one name can be compared."""
    model, backbone = space.model, space.backbone
    # what is searched is named by what params.yaml says without it: changed there, trial 0 is another
    stored = params.models[model].stored
    decides = {
        "training": params.training_of(model),
        "model": params.models[model],
        "backbone": params.backbones[backbone],
        "pretrained": weights_digest(backbone, params.backbones[backbone], root),
        "channels": {name: one for name, one in {**params.circuits, **params.channels}.items() if name in stored},
        "tuning": params.tuning.model_copy(update={"space": dict(space.dimensions)}),
        "prune": prune,
        "seed": params.seed,
        "data": data_of(root, task, stored).digests,
        "code": LOADED.whole,
        "numerics": numerics_of(device_of(params), params.training_of(model).precision),
    }
    return f"{task}/{backbone}/{model}/{fingerprint(decides)[:8]}/fold-{fold}/seed-{seed}"


def _chosen(params: Params, asked: Asked) -> tuple[tuple[str, ...], str]:
    """Models and backbone by name, checked."""
    if asked.trials < 1:
        raise TuningError(f"--trials: {asked.trials} is no number of trials; give 1 or more")
    if asked.search_seeds < 1:
        raise TuningError(f"--search-seeds: {asked.search_seeds} is no number of searches; give 1 or more")
    models = asked.models or (next(iter(params.models)),)
    backbone = asked.backbone or next(iter(params.backbones))
    named = [("model", model, list(params.models)) for model in models]
    for kind, name, known in [*named, ("backbone", backbone, list(params.backbones))]:
        if name not in known:
            raise TuningError(f"no {kind} {name!r} in params.yaml (there: {', '.join(known)})")
    if len(set(models)) < len(models):
        raise TuningError(f"--models: {','.join(models)} names a model twice")
    return models, backbone


def _benches(
    params: Params, root: Path, asked: Asked, spaces: Mapping[str, Space], trials: TrialStore
) -> dict[tuple[int, str, int], Bench]:
    """A bench for each (outer fold, model, search seed), in the order in which they run: models take turns."""
    project, tuning = Project(root), params.tuning
    data_of(root, asked.task, ())  # names the stage that has not run
    outer = FoldTable.read(project.folds(asked.task)).folds if asked.nested else (asked.fold,)
    inner = {fold: InnerProject.make(params, asked.task, root, tuning.folds, fold) for fold in outer}
    benches = {}
    for fold, seed, (model, space) in itertools.product(outer, range(asked.search_seeds), spaces.items()):
        name = study_name(params, asked.task, root, space, fold, seed, asked.prune)
        used = project.searches / f"{name.replace('/', '_')}.fits"
        benches[fold, model, seed] = Bench(space, inner[fold], trials, used, tuning.metric, tuning.folds)
    return benches


def _unit(params: Params, root: Path, asked: Asked, bench: Bench, fold: int, seed: int) -> Unit:
    replicates = params.tuning.replicates if asked.prune else 0
    pruner = FoldPruner(bench.metric, bench.predictions, bench.groups if _is_grouped(params, asked.task) else None)
    slots = Slots.open(
        Project(root).searches,
        study_name(params, asked.task, root, bench.space, fold, seed, asked.prune),
        asked.trials,
        params.seed if seed == 0 else stream(params.seed, "search", seed),
        bench.space.as_drawn(bench.space.default),
        pruner if replicates else None,
        asked.storage,
        lost=frozenset(asked.lost),
    )
    return Unit(slots, bench, fold, seed, replicates)


def _is_grouped(params: Params, task: str) -> bool:
    return bool(params.datasets[task].protocol.grouped)


def _lanes(params: Params, root: Path, asked: Asked, units: Sequence[Unit], trials: TrialStore) -> list[Lane]:
    """One worker each; as many as asked for, or as cores and memory carry at the default setting."""
    costs = Costs(FoldStore(Project(root).store), asked.workers)
    provenance = {"commit": git.head(root), "dirty": git.differs(root, DECIDING), "search": True}
    count = asked.workers
    if count is None:
        count = 1
        for unit in units:
            default = unit.bench.params_of(unit.bench.space.default)
            grid = plan_grid(default, asked.task, unit.bench.inner.root, trials)
            grid.todo = grid.specs[:1]
            needs = grid.most_memory({name: one.work for name, one in costs.expected(grid).items()})
            copied = DataPaths.of(unit.bench.inner.root, asked.task).size(channels_of(default))
            device = grid.specs[0].device
            count = max(
                count, auto_workers(asked.trials * len(units), device, needs, copied if device == "cuda" else 0)
            )
    shared = SharedEngines() if asked.scheduler else None
    return [Lane(trials, provenance, costs, asked.scheduler, shared) for _ in range(count)]


def _record(unit: Unit, task: str, ended: bool = True) -> SearchRecord:
    return record_of(unit.slots, unit.bench.space, task, unit.fold, unit.seed, unit.replicates, unit.stopped, ended)


def _outcome(record: SearchRecord, params: Params, asked: Asked) -> Outcome:
    margin, alpha = params.evidence.margin.size_in(record.metric), params.evidence.alpha
    found = outcome_of(record, margin, alpha, asked.simplest)
    if found is None:
        errors = list(dict.fromkeys(one.error for one in record.trials if one.error))
        why = f": {errors[0]}" if errors else ""
        raise TuningError(f"no trial of {record.name} has all its folds ({len(record.trials)} settled){why}")
    return found


def _nested(
    params: Params, asked: Asked, units: Sequence[Unit], outcomes: Sequence[Outcome], lanes: Lanes, bar: SearchBar
) -> list[Nested]:
    """The winner and the default of each search on its outer fold, fitted where the store lacks them."""
    jobs = [
        OuterFit(unit.bench, setting, unit.fold)
        for unit, outcome in zip(units, outcomes, strict=True)
        for setting in (unit.bench.space.default, outcome.winner.setting)
    ]
    folders: dict[int, Path] = {}
    waiting = iter(range(len(jobs)))

    def work(lane: Lane) -> None:
        while not lanes.stopping.is_set() and (number := next(waiting, None)) is not None:
            folders[number] = jobs[number].run(lane, [bar])

    lanes.run(work)
    official = params.datasets[asked.task].protocol.kind == "official"
    by_search: dict[tuple[str, int], list[int]] = {}
    for number, unit in enumerate(units):
        by_search.setdefault((unit.bench.space.model, unit.seed), []).append(number)
    margin, alpha = params.evidence.margin.size_in(params.tuning.metric), params.evidence.alpha
    return [
        nested_of(
            [outcomes[one] for one in numbers],
            [(folders[2 * one], folders[2 * one + 1]) for one in numbers], official, margin, alpha,
        )
        for numbers in by_search.values()
    ]  # fmt: skip
