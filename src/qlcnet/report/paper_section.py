"""Section: the paper's stated figures beside ours. This code against itself is no part of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from qlcnet.evidence.paper import METRICS, MODELS, Cell, Difference, Level, SideBySide, paper_set, side_by_side
from qlcnet.evidence.statistics import Interval
from qlcnet.evidence.summary import ModelSummary
from qlcnet.evidence.verdicts import Verdict
from qlcnet.report import content
from qlcnet.report.content import Block, Context, Note, Table, Text
from qlcnet.report.differences import StudyEvidence
from qlcnet.report.plots import METRIC_TITLES
from qlcnet.report.study import TaskResults

Intervals = Mapping[tuple[str, str, str], Interval]  # of hybrid minus classical by (task, backbone, metric)
Row = list[content.Cell | str]


def paper(context: Context) -> list[Block]:
    """A table a task whose images are the paper's, none for other studies."""
    blocks: list[Block] = []
    for name, task in context.study.tasks.items():
        rows = beside_the_paper(task, context.summaries[name], intervals_of_differences(context.differences))
        if rows:
            blocks += [*_differences_of(name, task), _levels(name, rows), _differences(name, rows)]
    if not blocks:
        return []
    return [
        Text(
            "Stated figures of the paper (Computation 2025, 13(12), 278; its text, whose tables are pictures) beside "
            "those of this study, models `classical` and `hybrid`. **Level** and **difference** are two questions: a "
            "level that is not the paper's can come with its difference, and the other way round."
        ),
        *blocks,
    ]


def intervals_of_differences(found: StudyEvidence) -> Intervals:
    """Unadjusted intervals of hybrid minus classical at each width, as the comparisons have them."""
    classical, hybrid = MODELS
    intervals: dict[tuple[str, str, str], Interval] = {}
    for _, line in found.lines():
        one, verdict = line.contrast, line.verdict
        if isinstance(verdict, Verdict) and {one.a, one.b} == set(MODELS) and len(one.backbones) == 1:
            low, high = verdict.unadjusted.low, verdict.unadjusted.high
            turned = Interval(low, high) if (one.a, one.b) == (hybrid, classical) else Interval(-high, -low)
            intervals[one.task, one.backbones[0], one.metric] = turned
    return intervals


def beside_the_paper(
    task: TaskResults, summaries: Mapping[tuple[str, str], ModelSummary], intervals: Intervals
) -> tuple[SideBySide, ...]:
    """Rows of one task, none where its images are not the paper's."""
    known = paper_set(task.task)
    if known is None:
        return ()
    folds = 1 if task.task.protocol.kind == "official" else task.task.protocol.folds
    ours = {
        Cell(known.name, backbone, metric, model): Level(
            summary.oof.metrics[metric].fold_mean, summary.oof.metrics[metric].fold_sd, len(summary.oof.fits), folds
        )
        for (backbone, model), summary in summaries.items()
        for metric in METRICS
        if model in MODELS
    }
    of_task: dict[tuple[str, str, str], Interval] = {
        (known.name, *key[1:]): interval for key, interval in intervals.items() if key[0] == task.name
    }
    return side_by_side(ours, of_task)


def _differences_of(name: str, task: TaskResults) -> Iterator[Note]:
    known = paper_set(task.task)
    if known and known.differs:
        yield Note(
            f"Task {name} is not the paper's {known.name} in every respect: {'; '.join(known.differs)}.", "warning"
        )


def _levels(name: str, rows: tuple[SideBySide, ...]) -> Table:
    body: list[Row] = []
    for row in rows:
        for model in MODELS:
            stated, ours = row.stated[model], row.ours[model]
            if stated is None or ours is None:
                continue
            numbers = _mean_sd(stated.value, stated.sd), _mean_sd(ours.mean, ours.sd)
            body.append([row.backbone, METRIC_TITLES[row.metric], model, *numbers, row.level[model], stated.where])
    return Table(
        ["Backbone", "Metric", "Model", "Paper", "Ours", "Our level", "Section of the paper"],
        body,
        f"{name}, level: mean ± sd over folds. As stated: within what two means over folds of equally good networks "
        "differ by (95 %, variance corrected for shared training images).",
        sortable=False,
    )


def _differences(name: str, rows: tuple[SideBySide, ...]) -> Table:
    body: list[Row] = [
        [
            row.backbone,
            METRIC_TITLES[row.metric],
            _stated_words(row.stated_difference),
            _our_words(row),
            row.difference,
            {True: "yes", False: "no", None: "–"}[row.within],
            row.stated_difference.where,
        ]
        for row in rows
        if row.stated_difference
    ]
    return Table(
        ["Backbone", "Metric", "Paper", "Ours", "Sign", "Paper's within our interval", "Section of the paper"],
        body,
        f"{name}, difference: hybrid minus classical. ≈: a rounded number of the text; < and >: all that it says.",
        sortable=False,
    )


def _mean_sd(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "–" if math.isnan(sd) else f"sd {sd:.4f}"
    return f"{mean:.4f}" if math.isnan(sd) else f"{mean:.4f} ± {sd:.4f}"


def _stated_words(stated: Difference) -> str:
    if not math.isnan(stated.value):
        return f"{'' if stated.precision == 'stated' else '≈ '}{stated.value:+.4f}"
    if math.isnan(stated.low):
        return f"< {stated.high:g}"
    if math.isnan(stated.high):
        return f"> {stated.low:g}"
    return f"{'≈ ' if stated.precision == 'about' else ''}{stated.low:+g} to {stated.high:+g}"


def _our_words(row: SideBySide) -> content.Cell:
    if math.isnan(row.our_difference):
        return content.Cell("–")
    interval = row.our_interval
    detail = "" if interval is None else f"{interval.low:+.4f} to {interval.high:+.4f}"
    return content.Cell(f"{row.our_difference:+.4f}", detail=detail)
