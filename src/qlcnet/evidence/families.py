"""The comparisons of a study in families: what was declared, in its order, and what was looked at besides.

For each task and each declared pair: first the mean over widths, then the trend over widths, then single widths. Each
of the three is a family of its own over the pairs (single widths: over pairs x widths), adjusted by Holm. Undeclared
pairs and metrics are exploratory: their p-values are not adjusted, and their number is stated. Pairs that must agree to
rounding, or differ by a seed alone, are A/A lines: they stand outside of every family, and prove nothing of the test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from qlcnet.config import Evidence
from qlcnet.evidence.comparison import (
    FoldScores,
    NotComparable,
    differences,
    mean_over_widths,
    paired_t,
    trend_over_widths,
)
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import PairedT
from qlcnet.evidence.verdicts import Silent, Verdict, judge

Role = Literal["primary", "exploratory", "A/A"]
Kind = Literal["mean over widths", "trend over widths", "one width"]
METRICS_WITH_MARGIN = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro")
MOST_MODELS = 8  # of which every pair is compared; of more, each with the first, and pairs of interest
ORDER: tuple[Kind, ...] = ("mean over widths", "trend over widths", "one width")
Scores = Mapping[tuple[str, str], FoldScores]  # by backbone and model


@dataclass(frozen=True)
class Contrast:
    """A minus B in one metric; `backbones` are those that it is over, one for `one width`."""

    task: str
    a: str
    b: str
    metric: str
    kind: Kind
    backbones: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A contrast and what may be said of it."""

    contrast: Contrast
    verdict: Verdict | Silent


@dataclass(frozen=True)
class Family:
    """Lines that are judged together (`primary`), or beside one another (`exploratory`, `A/A`: unadjusted)."""

    task: str
    role: Role
    kind: Kind
    metric: str
    alpha: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Refused:
    """Two models that are no pair, and why."""

    task: str
    a: str
    b: str
    reason: str


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one task."""

    families: tuple[Family, ...]
    refused: tuple[Refused, ...]

    def of(self, role: Role) -> tuple[Family, ...]:
        """Families of one role, in order."""
        return tuple(family for family in self.families if family.role == role)

    @property
    def exploratory(self) -> int:
        """How many comparisons were looked at without being declared."""
        return sum(len(family.lines) for family in self.of("exploratory"))


def compare_task(
    scores: Sequence[FoldScores],
    declared: Evidence,
    alike: Collection[frozenset[str]] = (),
    of_interest: Collection[frozenset[str]] = (),
) -> Comparisons:
    """All comparisons of the models of one task.

    alike: pairs of models that are one function, or one model with another seed (A/A). of_interest: the undeclared
    pairs to look at besides those with the first model, where there are more than MOST_MODELS.
    """
    by_name: Scores = {(one.backbone, one.model): one for one in scores}
    task = scores[0].task
    primary = declared.primary.compare if declared.primary else ()
    metric_of_primary = declared.primary.metric if declared.primary else None
    families: list[Family] = []
    refused: dict[tuple[str, str], Refused] = {}
    for role, metric, pairs in _wanted(by_name, primary, metric_of_primary, alike, of_interest):
        lines: list[tuple[Contrast, PairedT | TooFew]] = []
        for a, b in pairs:
            if (a, b) in refused:
                continue
            try:
                lines += _contrasts(by_name, task, a, b, metric)
            except NotComparable as error:
                refused[a, b] = Refused(task, a, b, str(error))
                if role == "primary":  # it was declared, and counts
                    contrast = Contrast(task, a, b, metric, "mean over widths", ())
                    lines.append((contrast, TooFew(str(error))))
        families += _families(task, role, metric, lines, declared)
    return Comparisons(tuple(families), tuple(refused.values()))


def _wanted(
    scores: Scores,
    primary: Sequence[tuple[str, str]],
    metric_of_primary: str | None,
    alike: Collection[frozenset[str]],
    of_interest: Collection[frozenset[str]],
) -> Iterator[tuple[Role, str, list[tuple[str, str]]]]:
    """Role, metric and pairs; an undeclared pair has the later model first, as params.yaml lists the baseline first."""
    models = list(dict.fromkeys(model for _, model in scores))
    every = [(later, former) for former, later in combinations(models, 2)]
    others = every
    if len(models) > MOST_MODELS:
        others = [pair for pair in every if models[0] in pair or frozenset(pair) in of_interest]
    declared = {frozenset(pair) for pair in primary}
    if metric_of_primary is not None:
        yield "primary", metric_of_primary, [pair for pair in primary if frozenset(pair) not in alike]
    for metric in METRICS_WITH_MARGIN:
        oriented = {frozenset(pair): pair for pair in [*others, *primary] if set(pair) <= set(models)}
        yield (
            "exploratory",
            metric,
            [
                pair
                for names, pair in oriented.items()
                if names not in alike and not (metric == metric_of_primary and names in declared)
            ],
        )
    for metric in METRICS_WITH_MARGIN:
        yield "A/A", metric, [pair for pair in every if frozenset(pair) in alike]


def _contrasts(scores: Scores, task: str, a: str, b: str, metric: str) -> list[tuple[Contrast, PairedT | TooFew]]:
    """Mean, trend and single widths of one pair. Raises NotComparable."""
    backbones = list(dict.fromkeys(backbone for backbone, model in scores if model == a and (backbone, b) in scores))
    if not backbones:
        raise NotComparable(f"{task}: {a} and {b} share no backbone")
    pairs = [(scores[one, a], scores[one, b]) for one in backbones]
    like, names = pairs[0][0], tuple(backbones)
    mean = paired_t(mean_over_widths(pairs, metric), like)
    found = [(Contrast(task, a, b, metric, "mean over widths", names), mean)]
    if len(pairs) == 1:
        return found
    sizes = {other.parameters for _, other in pairs}
    trend = (
        paired_t(trend_over_widths(pairs, metric), like)
        if len(sizes) > 1
        else TooFew("all networks have one size: a trend over widths takes at least 2")
    )
    found.append((Contrast(task, a, b, metric, "trend over widths", names), trend))
    for backbone, (one, other) in zip(backbones, pairs, strict=True):
        single = paired_t(differences(one, other, metric), like)
        found.append((Contrast(task, a, b, metric, "one width", (backbone,)), single))
    return found


def _families(
    task: str, role: Role, metric: str, lines: Sequence[tuple[Contrast, PairedT | TooFew]], declared: Evidence
) -> list[Family]:
    families = []
    for kind in ORDER:
        of_kind = [line for line in lines if line[0].kind == kind]
        if not of_kind:
            continue
        margin = None if kind == "trend over widths" else declared.margin.size_in(metric)
        verdicts = judge([test for _, test in of_kind], margin, declared.alpha, adjust=role == "primary")
        judged = tuple(Line(contrast, verdict) for (contrast, _), verdict in zip(of_kind, verdicts, strict=True))
        families.append(Family(task, role, kind, metric, declared.alpha, judged))
    return families


def matrix(scores: Sequence[FoldScores], metric: str, margin: float, alpha: float) -> np.ndarray:
    """Every model against every other, mean over their common widths: object (models, models) of Verdict or Silent.

    Row A, column B, unadjusted: a cell depends on its two models alone (test_a_cell_of_the_matrix_depends_on_its_pair).
    The diagonal is None; the order of models is that of `scores`.
    """
    by_name: Scores = {(one.backbone, one.model): one for one in scores}
    models = list(dict.fromkeys(model for _, model in by_name))
    cells = np.full((len(models), len(models)), None, dtype=object)
    for i, a in enumerate(models):
        for j, b in enumerate(models):
            if i == j:
                continue
            try:
                (_, test), *_ = _contrasts(by_name, scores[0].task, a, b, metric)
            except NotComparable as error:
                test = TooFew(str(error))
            (cells[i, j],) = judge([test], margin, alpha)
    return cells
