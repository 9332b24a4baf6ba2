"""Sections of results: at a glance, metrics by backbone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qlcnet.evidence.coverage import coverage_like
from qlcnet.evidence.further import ALL_METRICS, FURTHER_METRICS, baselines
from qlcnet.evidence.metrics import METRICS
from qlcnet.report import many_plots, plots
from qlcnet.report.content import (
    Block,
    Cell,
    Context,
    Details,
    Heading,
    Note,
    Plot,
    Row,
    Table,
    Text,
    estimated,
    interval_words,
    mean_sd,
    number,
)
from qlcnet.report.difference_sections import answers
from qlcnet.report.study import TaskResults
from qlcnet.report.style import are_many
from qlcnet.report.summary import method
from qlcnet.report.words import counted, join_some, join_words, protocol_words

BASELINES = {"majority": "majority class", "priors": "class shares"}
FURTHER_TITLES = ("Macro F1", "Cohen's kappa", "Brier score", "Average precision", "Calibration error")
TITLES = {
    **plots.METRIC_TITLES,
    **dict(zip(FURTHER_METRICS, FURTHER_TITLES, strict=True)),
    "recall": "Recall of a class",
    "auc": "AUC of a class",
}
WIDE = 12  # models x backbones from which a figure takes the whole width


def overview(context: Context) -> list[Block]:
    """The answers, then what was run on what in one paragraph and one table."""
    study, params = context.study, context.study.params
    fits = sum(len(model.fits) for model in study)
    rows: list[list[Cell | str]] = [
        [
            name,
            str(task.images.about.get("title", name)),
            Cell(f"{len(task.used):,}", len(task.used)),
            Cell(str(len(task.images.class_names)), len(task.images.class_names)),
            protocol_words(task.task.protocol),
            number(task.majority_share, 3),
        ]
        for name, task in study.tasks.items()
    ]
    models, backbones = counted(len(params.models), "model"), counted(len(params.backbones), "backbone")
    return [
        *answers(context),
        Text(
            f"This study trained **{models}** ({join_some(list(params.models))}) on **{backbones}** "
            f"({join_words(list(params.backbones))}) and {counted(len(study.tasks), 'task')}: "
            f"**{counted(fits, 'fit')}**. "
            "Every number below is computed from out-of-fold predictions: each image is predicted by a network that "
            "never saw it in training."
        ),
        Table(
            ["Task", "Images from", "Images", "Classes", "Protocol", "Majority class"],
            rows,
            "A task is a set of images with a protocol. Majority class: accuracy of always naming the commonest class.",
            sortable=False,
        ),
    ]


def results(context: Context) -> list[Block]:
    """Per task: the headline table and each metric by backbone."""
    blocks: list[Block] = []
    for name, task in context.study.tasks.items():
        blocks += [Heading(name)] if len(context.study.tasks) > 1 else []
        blocks += [*_failures(task), *_limits(task)]
        figures = list(_by_backbone(context, task))
        blocks += [
            _headline(context, task),
            _further(context, task),
            _promises(context, task),
            *(figures if _is_wide(task) else [Row(figures)]),
        ]
        if any(len(model.test) for model in task.results.values()):
            blocks.append(_test_table(context, name))
    return blocks


def _failures(task: TaskResults) -> list[Block]:
    """Models that the tables lack, because fits of theirs raised."""
    return [
        Note(
            f"Task {task.name}: **{backbone} {model} is left out**, {counted(len(reasons), 'fit')} of it failed "
            f"({reasons[0]}). `qlcnet train {task.name}` tries again.",
            "warning",
        )
        for (backbone, model), reasons in task.failed.items()
    ]


def _limits(task: TaskResults) -> list[Block]:
    if task.task.images_per_class is None:
        return []
    return [
        Note(
            f"Task {task.name} uses a random subset: at most {task.task.images_per_class:,} images of each class, "
            f"{len(task.used):,} of {len(task.images):,} in all. Its numbers are not those of the whole set.",
            "warning",
        )
    ]


def _headline(context: Context, task: TaskResults) -> Table:
    rows: list[list[Cell | str]] = []
    for (backbone, model), summary in context.summaries[task.name].items():
        cells = [estimated(summary.oof.metrics[metric]) for metric in METRICS]
        rows.append([backbone, model, cells[0], mean_sd(summary.oof.metrics["accuracy"]), *cells[1:]])
    for name, values in _baselines(task).items():
        cells = [number(values[metric]) for metric in METRICS]
        rows.append(["–", BASELINES[name], cells[0], Cell("–"), *cells[1:]])
    fits = next(iter(task.results.values())).fits
    drawn = "groups" if task.is_grouped else "images"
    return Table(
        [
            "Backbone",
            "Model",
            "Accuracy",
            "Folds, mean\u00a0±\u00a0sd",
            "Balanced accuracy",
            "Macro AUC",
            "Micro AUC",
            "Loss (nats)",
        ],
        rows,
        f"{task.name}: out-of-fold metrics of {len(task.scored):,} images, below each its 95 % interval for these "
        f"networks on other {drawn} like these (closed forms; `summary.json` names each). Of macro AUC the mean over "
        "fits. "
        f"Mean and sd (ddof 1) of accuracy over {counted(len(fits), 'fit')}. A class absent from a fold is left out of "
        "macro means. Last rows: always naming the commonest class, and each class with its share.",
    )


def _further(context: Context, task: TaskResults) -> Details:
    """The metrics beside the five."""
    rows: list[list[Cell | str]] = [
        [backbone, model, *(estimated(summary.oof.metrics[metric]) for metric in FURTHER_METRICS)]
        for (backbone, model), summary in context.summaries[task.name].items()
    ]
    rows += [
        ["–", BASELINES[name], *(number(values[metric]) for metric in FURTHER_METRICS)]
        for name, values in _baselines(task).items()
    ]
    table = Table(
        ["Backbone", "Model", *FURTHER_TITLES],
        rows,
        f"{task.name}: out-of-fold. Brier score over all classes (0 to 2). Calibration error: root mean square gap of "
        "confidence and accuracy in 15 bins of equal mass, with the noise subtracted; too small where over- and "
        "underconfidence meet in a bin. For it and average precision no interval is known to hold.",
        sortable=False,
    )
    return Details(f"{task.name}: F1, kappa, Brier score, average precision, calibration", [table], is_open=False)


def _promises(context: Context, task: TaskResults) -> Details:
    """Which method made each interval, and what simulation gave for the shapes that are most like this one."""
    first = next(iter(context.summaries[task.name].values())).oof
    named = {**{m: [first.metrics[m]] for m in ALL_METRICS}, "recall": [*first.recalls], "auc": [*first.aucs]}
    known = coverage_like(len(task.images.class_names), len(task.scored), task.is_grouped)
    rows: list[list[Cell | str]] = []
    for metric, estimates in named.items():
        methods = dict.fromkeys(str(method(one.interval)) for one in estimates)
        seen = known.get(metric)
        of_shape = Cell("–") if seen is None else Cell(f"{seen.coverage:.3f}", seen.coverage, seen.shape)
        rows.append([TITLES[metric], "; ".join(methods), of_shape])
    table = Table(
        ["Metric", "Method, or why there is none", "Held the truth in"],
        rows,
        f"{task.name}: intervals of nominal 95 %. Last column: the worst of the simulated shapes nearest to "
        f"{len(task.scored):,} images{' in groups' if task.is_grouped else ''}, of 2,000 studies each where "
        "benchmarks/statistics.json says nothing else. Out-of-fold predictions of networks really fitted are a little "
        "dependent: read 0.91.",
        sortable=False,
        stacks=True,
    )
    return Details(f"{task.name}: what the intervals promise", [table], is_open=False)


def _baselines(task: TaskResults) -> dict[str, dict[str, float]]:
    return baselines(task.images.labels[task.scored].astype(np.int64), len(task.images.class_names))


def _by_backbone(context: Context, task: TaskResults) -> Iterator[Plot]:
    classes, order = len(task.images.class_names), list(context.study.params.models)
    baselines = {"accuracy": task.majority_share, "balanced_accuracy": 1 / classes}
    several = len(next(iter(task.results.values())).fits) > 1
    bars = "mean of folds, bars one standard deviation (ddof 1)" if several else "bars: 95 % interval"
    for metric in ("accuracy", "auc_macro", "balanced_accuracy", "auc_micro"):
        width = 10.0 if _is_wide(task) else 4.9
        drawn = context.summaries[task.name], metric, order, baselines.get(metric)
        figure = many_plots.dots(*drawn) if are_many(_models(task)) else plots.by_backbone(*drawn, width)
        title = plots.METRIC_TITLES[metric]
        yield Plot(f"{task.name}-{metric}-by-backbone", figure, f"{task.name}: {title} by backbone, {bars}.")


def _is_wide(task: TaskResults) -> bool:
    return len(task.results) > WIDE and not are_many(_models(task))


def _models(task: TaskResults) -> set[str]:
    return {model for _, model in task.results}


def _test_table(context: Context, task: str) -> Table:
    rows: list[list[Cell | str]] = []
    test_n = 0
    for (backbone, model), summary in context.summaries[task].items():
        if summary.test:
            test_n = summary.test.n
            estimates = [summary.test.metrics[metric] for metric in METRICS]
            rows.append([backbone, model, *(mean_sd(one, interval_words(one.interval)) for one in estimates)])
    return Table(
        ["Backbone", "Model", "Accuracy", "Balanced accuracy", "Macro AUC", "Micro AUC", "Loss (nats)"],
        rows,
        f"{task}: the official test part ({test_n:,} images), scored with every fit: mean ± sd over fits, below it the "
        "95 % interval of that mean.",
    )
