"""What a study says of its quantum parts: where each stands among its twins, identities, and draws of circuits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qlcnet.config import Params
from qlcnet.config.controls import (
    draws_in,
    identities_in,
    quantum_models,
    reference_of,
    replicates_in,
    twins_in,
)
from qlcnet.evidence.answers import Standing, standing
from qlcnet.evidence.comparison import FoldScores
from qlcnet.evidence.draws import Draws, draws
from qlcnet.evidence.families import Comparisons
from qlcnet.evidence.verdicts import Silent, Verdict
from qlcnet.report.study import TaskResults

Pairs = set[frozenset[str]]


@dataclass(frozen=True)
class Agreement:
    """Two models that are one function: the largest difference of a probability, over all scored images."""

    a: str
    b: str
    backbone: str
    largest: float


@dataclass(frozen=True)
class QuantumParts:
    """Of one task. standings: of each quantum model. identities: pairs that are one function. draws: of circuits."""

    standings: tuple[Standing, ...]
    identities: tuple[Agreement, ...]
    draws: tuple[Draws, ...]


def pairs_of(params: Params) -> tuple[Pairs, Pairs]:
    """Pairs that must be alike (one function, or a seed apart), and pairs of a quantum model and a twin."""
    alike = {frozenset(pair) for pair in (*identities_in(params), *replicates_in(params))}
    return alike, {frozenset((twin.model, twin.control)) for twin in twins_in(params)} - alike


def quantum_parts(
    params: Params,
    task: TaskResults,
    scores: list[FoldScores],
    metric: str,
    comparisons: Comparisons,
    models: tuple[str, ...],
    pairs: np.ndarray,
) -> QuantumParts:
    """All of it. models, pairs: the matrix of every pair, see families.matrix."""
    return QuantumParts(
        tuple(_standings(params, comparisons, models, pairs)),
        tuple(_identities(params, task)),
        tuple(_draws(params, scores, metric)),
    )


def _standings(
    params: Params, comparisons: Comparisons, models: tuple[str, ...], pairs: np.ndarray
) -> Iterator[Standing]:
    """Of each quantum model, by the declared comparison where there is one, else by the matrix of every pair."""
    declared = {
        (line.contrast.a, line.contrast.b): line.verdict
        for family in comparisons.of("primary")
        if family.kind == "mean over widths"
        for line in family.lines
    }

    def judged(a: str, b: str) -> Verdict | Silent | None:
        if {a, b} - set(models):
            return None  # left out: fits of it failed
        return declared.get((a, b)) or pairs[models.index(a), models.index(b)]

    twins = twins_in(params)
    for model in quantum_models(params):
        mine = tuple(twin for twin in twins if twin.model == model)
        if (found := standing(model, reference_of(params, model), mine, judged)) is not None:
            yield found


def _identities(params: Params, task: TaskResults) -> Iterator[Agreement]:
    for a, b in identities_in(params):
        for backbone in params.backbones:
            if (backbone, a) in task.results and (backbone, b) in task.results:
                both = [task.results[backbone, model].oof.probabilities for model in (a, b)]
                yield Agreement(a, b, backbone, float(np.abs(both[0] - both[1]).max()))


def _draws(params: Params, scores: list[FoldScores], metric: str) -> Iterator[Draws]:
    means = {(one.backbone, one.model): float(one.values[metric].mean()) for one in scores}
    for group in draws_in(params):
        for backbone in params.backbones:
            here = [model for model in group if (backbone, model) in means]
            reference = reference_of(params, group[0])
            if len(here) > 1:
                at = {model: means[backbone, model] for model in params.models if (backbone, model) in means}
                yield draws(backbone, here, at, reference if reference in at else None, params.evidence.alpha)
