"""Sections of what lies behind the metrics: classes, confusion matrices, ROC, calibration and training curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from qlcnet.evidence.learning import LearningCurve, learning_curve
from qlcnet.evidence.metrics import roc_curves
from qlcnet.evidence.summary import ModelSummary, Scores
from qlcnet.report import many_plots, plots
from qlcnet.report.content import Block, Cell, Context, Details, Plot, Table, Text, count, estimated, number
from qlcnet.report.study import ModelResults, TaskResults
from qlcnet.report.style import are_many
from qlcnet.report.summary import class_labels
from qlcnet.report.words import counted

T = TypeVar("T")
FEW = 2  # backbones whose figures are all open at first


def classes(context: Context) -> list[Block]:
    """Recall of each class and the confusion matrices, by backbone."""
    blocks: list[Block] = [
        Text(
            "Recall is the share of a class that is recognised; the paper calls it per-class accuracy. In a confusion "
            "matrix rows are true classes and columns predicted ones; the numbers are per cent of the row, empty is no "
            "image at all."
        )
    ]
    for name, task in context.study.tasks.items():
        for backbone, summaries in _backbone_by_backbone(context.summaries[name]):
            tables = (
                _by_model(task, backbone, summaries) if are_many(summaries) else [_by_class(task, backbone, summaries)]
            )
            confusions = {model: summary.confusion for model, summary in summaries.items()}
            figure = plots.confusions(confusions, task.images.class_names)
            caption = (
                f"{name}, {backbone}: out-of-fold confusion matrices, per cent of each true class" + _over_repeats(task)
            )
            grid: Block = Plot(f"{name}-{backbone}-confusion", figure, caption)
            if are_many(summaries):
                grid = Details(f"{name} · {backbone}: confusion matrices", [grid], is_open=False)
            blocks.append(_details(task, backbone, [*tables, grid]))
    return blocks


def _by_class(task: TaskResults, backbone: str, summaries: Mapping[str, ModelSummary]) -> Table:
    """A row a class, columns by model."""
    members = next(iter(summaries.values())).members
    rows: list[list[Cell | str]] = []
    for k, label in enumerate(class_labels(task.images.class_names)):
        found = [
            cell
            for summary in summaries.values()
            for cell in (
                estimated(summary.oof.recalls[k]),
                estimated(summary.oof.aucs[k]),
                number(summary.oof.average_precisions[k].value),
            )
        ]
        rows.append([Cell(f"{k}", k), label, count(members[k]), *found])
    caption = (
        f"{task.name}, {backbone}: out-of-fold recall, AUC against the rest and average precision (AP) of each class, "
        "below them the 95 % interval where one holds. Too few: classes of so few images have none."
    )
    headers = [f"{model}: {what}" for model in summaries for what in ("recall", "AUC", "AP")]
    return Table(["Label", "Class", "Images", *headers], rows, caption)


def _by_model(task: TaskResults, backbone: str, summaries: Mapping[str, ModelSummary]) -> list[Block]:
    """A row a model, a column a class: a table each for recall, AUC and, folded away, average precision."""
    members = next(iter(summaries.values())).members
    labels = class_labels(task.images.class_names)
    headers = ["Model", *(f"{label} ({n:,})" for label, n in zip(labels, members, strict=True))]

    def table(what: str, cells: Callable[[Scores], list[Cell]]) -> Table:
        rows: list[list[Cell | str]] = [[model, *cells(summary.oof)] for model, summary in summaries.items()]
        return Table(
            headers, rows, f"{task.name}, {backbone}: out-of-fold {what}. Behind a class the number of its images."
        )

    interval = " of each class, below it the 95 % interval where one holds"
    precision = table(
        "average precision of each class", lambda scores: [number(one.value) for one in scores.average_precisions]
    )
    return [
        table(f"recall{interval}", lambda scores: [estimated(one) for one in scores.recalls]),
        table(f"AUC against the rest{interval}", lambda scores: [estimated(one) for one in scores.aucs]),
        Details(f"{task.name} · {backbone}: average precision", [precision], is_open=False),
    ]


def curves(context: Context) -> list[Block]:
    """ROC curves and reliability diagrams by backbone."""
    blocks: list[Block] = [
        Text(
            "Each class against the rest, from out-of-fold probabilities. The area below the thick curve is the macro "
            "AUC; the dashed diagonal is chance."
        )
    ]
    for name, task in context.study.tasks.items():
        for backbone, models in _backbone_by_backbone(task.results):
            found = {key: roc_curves(model.oof.target, model.oof.probabilities) for key, model in models.items()}
            figure = plots.rocs(found, task.images.class_names)
            caption = f"{name}, {backbone}: out-of-fold ROC curves{_over_repeats(task)}"
            diagrams = {key: context.summaries[name][backbone, key].reliability for key in models}
            of_bins = (
                f"{name}, {backbone}: reliability of the predicted class, out of fold{_over_repeats(task)}; in each "
                "title the calibration error. Below the diagonal a network says more than it holds"
            )
            plots_here = [
                Plot(f"{name}-{backbone}-roc", figure, caption),
                Plot(f"{name}-{backbone}-reliability", plots.reliability(diagrams), of_bins),
            ]
            blocks.append(_details(task, backbone, plots_here, are_many(models)))
    return blocks


def training(context: Context) -> list[Block]:
    """Loss, accuracy and macro AUC by epoch."""
    order = list(context.study.params.models)
    blocks: list[Block] = [
        Text(
            "Mean over fits, bands one standard deviation. Training values (dashed) are collected while the weights "
            "still change and with augmentation, validation values (solid) after each epoch and without."
        )
    ]
    for name, task in context.study.tasks.items():
        for backbone, models in _backbone_by_backbone(task.results):
            found = {key: _learning(model) for key, model in models.items()}
            fits = counted(len(next(iter(models.values())).fits), "fit")
            about = f"{name}, {backbone}: training and validation by epoch, mean ± sd over {fits}"
            figure_name = f"{name}-{backbone}-training"
            if are_many(found):
                shown = [
                    Plot(
                        f"{figure_name}-{metric}",
                        many_plots.training_by_model(found, metric),
                        f"{about}: {plots.METRIC_TITLES[metric]}.",
                    )
                    for metric in plots.TRAINING
                ]
            else:
                shown = [Plot(figure_name, plots.training(found, order), f"{about}.")]
            blocks.append(_details(task, backbone, shown, are_many(found)))
    return blocks


def _learning(model: ModelResults) -> dict[str, LearningCurve]:
    columns = [f"{part}_{metric}" for part in ("train", "val") for metric in plots.TRAINING]
    return {column: learning_curve([fit.history for fit in model.fits], column) for column in columns}


def _backbone_by_backbone(found: Mapping[tuple[str, str], T]) -> Iterator[tuple[str, dict[str, T]]]:
    """From what is there by (backbone, model): each backbone, and what it has by model."""
    for backbone in dict.fromkeys(backbone for backbone, _ in found):
        yield backbone, {model: one for (of, model), one in found.items() if of == backbone}


def _details(task: TaskResults, backbone: str, blocks: Sequence[Block], is_large: bool = False) -> Details:
    """A part that is open at first where there are few, else only for the first backbone; a large one never."""
    backbones = list(dict.fromkeys(backbone for backbone, _ in task.results))
    is_open = len(backbones) <= FEW or backbone == backbones[0]
    return Details(f"{task.name} · {backbone}", blocks, is_open and not is_large)


def _over_repeats(task: TaskResults) -> str:
    repeats = len(task.folds.repeats)
    return f", {repeats} repeats together." if repeats > 1 else "."
