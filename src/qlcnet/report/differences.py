"""What a study says of differences: comparisons, claims and components of spread, made once for page and files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from qlcnet.evidence import claims as claims_of_paper
from qlcnet.evidence.claims import Claim
from qlcnet.evidence.comparison import FoldScores, NotComparable, fold_scores
from qlcnet.evidence.families import Comparisons, Contrast, Line, Role, compare_task, matrix
from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.networks import SeenAndUnseen, compare_networks, leakage, seen_and_unseen
from qlcnet.evidence.paper import MODELS, paper_set
from qlcnet.evidence.several_sets import RandomEffects, Ranks, random_effects, ranks
from qlcnet.evidence.variance import Decomposition, Unbalanced, decompose
from qlcnet.evidence.verdicts import Verdict
from qlcnet.report.quantum_parts import QuantumParts, pairs_of, quantum_parts
from qlcnet.report.study import Study, TaskResults
from qlcnet.report.summary import Summaries

UNDECLARED_METRIC = "accuracy"  # of the overview where nothing is declared
LEAKAGE_METRICS = ("accuracy", "balanced_accuracy", "auc_macro")


@dataclass(frozen=True)
class Networks:
    """Two models as fitted, at one backbone, paired by image; see evidence.networks."""

    contrast: Contrast
    found: ImageDifference | TooFew


@dataclass(frozen=True)
class Leak:
    """What ungrouped folds add to a metric of one model: task `ungrouped` minus task `grouped`."""

    ungrouped: str
    grouped: str
    backbone: str
    model: str
    metric: str
    found: ImageDifference | TooFew


@dataclass(frozen=True)
class Across:
    """One pair over all tasks that have it: mean over widths within each, then over data sets."""

    a: str
    b: str
    metric: str
    tasks: tuple[str, ...]
    found: RandomEffects | TooFew


@dataclass(frozen=True, eq=False)
class TaskEvidence:
    """Of one task. spread: of `metric` over fits; None where fits are missing.

    pairs: each of `models` (rows) against each (columns), unadjusted, see families.matrix.
    unseen: on the set's own split, by (backbone, model), metrics of images with and without relatives in training.
    parts: what may be said of the quantum parts and their twins.
    """

    metric: str
    comparisons: Comparisons
    networks: tuple[Networks, ...]
    claims: tuple[Claim, ...]
    spread: Decomposition | None
    models: tuple[str, ...]
    pairs: np.ndarray
    unseen: dict[tuple[str, str], tuple[SeenAndUnseen, ...]]
    parts: QuantumParts

    @property
    def headline(self) -> tuple[tuple[Role, Line], ...]:
        """The lines of the overview with their role: declared ones, else those of the baseline in `metric`."""
        role: Role = "primary" if self.comparisons.of("primary") else "exploratory"
        families = self.comparisons.of(role)
        first = families[0].lines[0].contrast.b if families else ""
        return tuple(
            (role, line)
            for family in families
            if family.kind != "trend over widths" and family.metric == self.metric
            for line in family.lines
            if role == "primary" or first in (line.contrast.a, line.contrast.b)
        )


@dataclass(frozen=True, eq=False)
class StudyEvidence:
    """Of all tasks, by name, and of several together."""

    tasks: dict[str, TaskEvidence]
    across: tuple[Across, ...]
    ranks: Ranks | TooFew
    leaks: tuple[Leak, ...]

    def lines(self) -> Iterator[tuple[str, Line]]:
        """Every comparison with its role."""
        for of_task in self.tasks.values():
            for family in of_task.comparisons.families:
                yield from ((family.role, line) for line in family.lines)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many primary comparisons got each word."""
        found: dict[str, int] = {}
        for role, line in self.lines():
            if role == "primary":
                found[line.verdict.word] = found.get(line.verdict.word, 0) + 1
        return found


def gather(study: Study, summaries: Summaries) -> StudyEvidence:
    """All of it: 100 fits and 10,015 images in seconds."""
    scores = {name: _scores(task, summaries) for name, task in study.tasks.items()}
    tasks = {name: _task(study, task, scores[name]) for name, task in study.tasks.items()}
    # tasks that share images are one data set
    of_sets = {task.images.digest: name for name, task in reversed(study.tasks.items())}.values()
    sets = {name: tasks[name] for name in study.tasks if name in of_sets}
    return StudyEvidence(tasks, tuple(_across(sets)), _ranks(sets, scores), tuple(_leaks(study)))


def _scores(task: TaskResults, summaries: Summaries) -> list[FoldScores]:
    found = []
    for key, model in task.results.items():
        summary = summaries[task.name][key]
        found.append(fold_scores(model.oof, summary.cost.parameters, summary.oof.fits))
    return found


def _task(study: Study, task: TaskResults, scores: list[FoldScores]) -> TaskEvidence:
    declared = study.params.evidence
    metric = declared.primary.metric if declared.primary else UNDECLARED_METRIC
    comparisons = compare_task(scores, declared, *pairs_of(study.params))
    models = tuple(dict.fromkeys(one.model for one in scores))
    pairs = matrix(scores, metric, declared.margin.size_in(metric), declared.alpha)
    return TaskEvidence(
        metric,
        comparisons,
        tuple(_networks(task, comparisons, metric)),
        tuple(_claims(study, task, scores, declared.alpha)),
        _spread(scores, metric),
        models,
        pairs,
        _unseen(task),
        quantum_parts(study.params, task, scores, metric, comparisons, models, pairs),
    )


def _networks(task: TaskResults, comparisons: Comparisons, metric: str) -> Iterator[Networks]:
    """Each pair at each width, in the metric of the overview."""
    seen: set[tuple[str, str, str]] = set()
    for family in comparisons.families:
        for line in family.lines:
            one = line.contrast
            for backbone in one.backbones:
                if family.metric != metric or (one.a, one.b, backbone) in seen:
                    continue
                seen.add((one.a, one.b, backbone))
                pair = (task.results[backbone, one.a].oof, task.results[backbone, one.b].oof)
                contrast = Contrast(task.name, one.a, one.b, metric, "one width", (backbone,))
                try:
                    yield Networks(contrast, compare_networks(*pair, metric, task.groups))
                except NotComparable as error:
                    yield Networks(contrast, TooFew(str(error)))


def _claims(study: Study, task: TaskResults, scores: list[FoldScores], alpha: float) -> Iterator[Claim]:
    """The paper's claims of `hybrid` and `classical`, where there are such models."""
    by_name = {(one.backbone, one.model): one for one in scores}
    classical, hybrid = MODELS
    backbones = [b for b in study.params.backbones if (b, hybrid) in by_name and (b, classical) in by_name]
    if not backbones:
        return
    pairs = [(by_name[b, hybrid], by_name[b, classical]) for b in backbones]
    of_paper = paper_set(task.task)
    if of_paper and of_paper.name == "cifar10":
        widths: tuple[Collection[str], Collection[str]] = claims_of_paper.COMPACT_CIFAR10, claims_of_paper.LARGE_CIFAR10
    else:
        widths = (claims_of_paper.COMPACT, claims_of_paper.LARGE)
    for metric in ("accuracy", "auc_macro"):
        yield claims_of_paper.crossing(pairs, metric, alpha, *widths)
    yield claims_of_paper.steadier(pairs, "accuracy", alpha)
    yield claims_of_paper.narrower_gap(pairs, alpha)
    gaps = [(_gaps(task, b, hybrid), _gaps(task, b, classical)) for b in backbones]
    yield claims_of_paper.less_overfitting(gaps, pairs[0][0], "auc_macro", alpha)


def _gaps(task: TaskResults, backbone: str, model: str) -> np.ndarray:
    """Training minus validation macro AUC in the last epoch of each fit, (repeats, folds)."""
    fits = task.results[backbone, model].fits
    repeats = len({fit.repeat for fit in fits})
    each = [fit.history["train_auc_macro"][-1] - fit.history["val_auc_macro"][-1] for fit in fits]
    return np.array(each).reshape(repeats, -1)


def _spread(scores: list[FoldScores], metric: str) -> Decomposition | None:
    """Components of a metric over width, model, and fits: a fold is another in each repeat, and has its own seed."""
    rows = [
        (one.backbone, one.model, repeat, fold, value)
        for one in scores
        for (repeat, fold), value in np.ndenumerate(one.values[metric])
    ]
    backbone, model, repeat, fold, values = zip(*rows, strict=True)
    factors = {"width": backbone, "model": model, "repeat": repeat, "fold": fold}
    try:
        return decompose(np.array(values), factors, {"fold": "repeat"})
    except Unbalanced:
        return None


def _across(tasks: dict[str, TaskEvidence]) -> Iterator[Across]:
    """Pairs that several tasks have, in the metric of the overview; the role does not matter to a summary."""
    found: dict[tuple[str, str, str], list[tuple[str, Verdict]]] = {}
    for name, task in tasks.items():
        for family in task.comparisons.families:
            if family.kind != "mean over widths" or family.metric != task.metric or family.role == "A/A":
                continue
            for line in family.lines:
                if isinstance(line.verdict, Verdict):
                    key = (line.contrast.a, line.contrast.b, family.metric)
                    found.setdefault(key, []).append((name, line.verdict))
    for (a, b, metric), verdicts in found.items():
        if len(verdicts) > 1:
            names, judged = zip(*verdicts, strict=True)
            yield Across(a, b, metric, names, random_effects([verdict.test for verdict in judged]))


def _ranks(tasks: dict[str, TaskEvidence], scores: dict[str, list[FoldScores]]) -> Ranks | TooFew:
    """Ranks of models by the mean over widths and fits of the first task's metric, over tasks that have them all."""
    metric = next(iter(tasks.values())).metric
    models = max((task.models for task in tasks.values()), key=len)
    rows = [
        [np.mean([one.values[metric].mean() for one in of_task if one.model == model]) for model in models]
        for name, of_task in scores.items()
        if name in tasks and tasks[name].models == models
    ]
    return ranks(models, np.array(rows).reshape(-1, len(models)))


def _leaks(study: Study) -> Iterator[Leak]:
    """Tasks of the same images whose protocols differ in `grouped` alone, model by model."""
    for one, other in combinations(study.tasks.values(), 2):
        ungrouped, grouped = (one, other) if other.is_grouped else (other, one)
        groups = grouped.images.groups
        if not grouped.is_grouped or ungrouped.is_grouped or groups is None or not _alike(ungrouped, grouped):
            continue
        for key in (key for key in ungrouped.results if key in grouped.results):
            pair = ungrouped.results[key].oof, grouped.results[key].oof
            for metric in LEAKAGE_METRICS:
                try:
                    found: ImageDifference | TooFew = leakage(*pair, metric, groups)
                except NotComparable as error:
                    found = TooFew(str(error))
                yield Leak(ungrouped.name, grouped.name, *key, metric, found)


def _alike(ungrouped: TaskResults, grouped: TaskResults) -> bool:
    protocols = [task.task.protocol.model_dump(exclude={"grouped"}) for task in (ungrouped, grouped)]
    return protocols[0] == protocols[1] and ungrouped.images.digest == grouped.images.digest


def _unseen(task: TaskResults) -> dict[tuple[str, str], tuple[SeenAndUnseen, ...]]:
    """Only of the set's own split, where groups are known: folds either keep them together or leak as a whole."""
    groups = task.images.groups
    if groups is None or task.task.protocol.kind != "official":
        return {}
    trained = task.folds.index[task.folds.part == "train"]
    seen = np.isin(groups, groups[trained])
    found = {}
    for key, model in task.results.items():
        both = [seen_and_unseen(model.oof, seen, metric, groups) for metric in LEAKAGE_METRICS]
        found[key] = tuple(one for one in both if one is not None)
    return {key: parts for key, parts in found.items() if parts}
