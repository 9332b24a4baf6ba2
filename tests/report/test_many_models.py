"""A study of more models than colours: models become rows and panels with a name, and large parts are folded away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlcnet.report import class_sections, difference_sections, results_sections
from qlcnet.report.content import Block, Context, Details, Plot, Row, Table, Text
from qlcnet.report.difference_tables import pair_records
from qlcnet.report.differences import gather
from qlcnet.report.many_plots import SIGNED, differences, dots
from qlcnet.report.page import has_closed
from qlcnet.report.study import read_study
from qlcnet.report.style import COLOURS, are_many
from qlcnet.report.summary import summarise
from qlcnet.report.words import join_some
from tests.report.fold_folders import CLASS_NAMES, SMALL, make_params, make_study

MODELS = [f"model-{i}" for i in range(len(COLOURS) + 1)]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Of one backbone, one model more than there are colours, and two folds."""
    root: Path = tmp_path_factory.mktemp("many")
    source = SMALL["datasets"]["spots"]["source"]
    params = make_params(
        datasets={"spots": {"source": source, "protocol": {"folds": 2}}},
        models={name: {"inputs": ["image"]} for name in MODELS},
        backbones={"lcnet_050": {}},
        circuits={},
    )
    study = read_study(make_study(root, params, images=60), root)
    summaries = summarise(study)
    return Context(study, summaries, gather(study, summaries))


def only_details(blocks: list[Block]) -> list[Details]:
    return [block for block in blocks if isinstance(block, Details)]


def test_a_legend_tells_as_many_models_apart_as_there_are_colours() -> None:
    assert not are_many(COLOURS)
    assert are_many(MODELS)
    assert join_some(MODELS) == "model-0, model-1, model-2 and 6 more"
    assert join_some(["a", "b"]) == "a and b"


def test_metrics_are_rows_named_on_the_axis_in_the_order_of_params(context: Context) -> None:
    (row,) = [block for block in results_sections.results(context) if isinstance(block, Row)]
    axes = row.plots[0].figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == MODELS
    points = axes.containers[0][0]
    expected = [context.summaries["spots"]["lcnet_050", name].oof.metrics["accuracy"].fold_mean for name in MODELS]
    np.testing.assert_array_equal(points.get_xdata(), expected)
    np.testing.assert_array_equal(points.get_ydata(), range(len(MODELS)))
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first at the top
    assert axes.lines[-1].get_xdata()[0] == context.study.tasks["spots"].majority_share


def test_backbones_of_a_row_have_a_colour_each_and_their_own_place(context: Context) -> None:
    of_one = context.summaries["spots"]
    both = of_one | {("lcnet_075", model): one for (_, model), one in of_one.items() if model != MODELS[0]}
    figure = dots(both, "accuracy", MODELS, None)
    first, second = (container[0] for container in figure.axes[0].containers)
    assert (first.get_color(), second.get_color()) == COLOURS[:2]
    np.testing.assert_allclose(first.get_ydata(), np.arange(9) - 0.2)
    np.testing.assert_allclose(second.get_ydata(), np.arange(1, 9) + 0.2)


def test_classes_are_columns_and_confusion_matrices_folded_away(context: Context) -> None:
    (part,) = only_details(list(class_sections.classes(context)))
    assert part.is_open
    recall, auc, precision, grid = part.blocks
    members = context.summaries["spots"]["lcnet_050", MODELS[0]].members
    for table in (recall, auc, *precision.blocks):
        assert isinstance(table, Table)
        assert list(table.headers) == ["Model", *(f"{n} ({m})" for n, m in zip(CLASS_NAMES, members, strict=True))]
        assert [row[0] for row in table.rows] == MODELS
    scores = context.summaries["spots"]["lcnet_050", MODELS[3]].oof
    assert recall.rows[3][2].sort_by == pytest.approx(scores.recalls[1].shown, abs=1e-6)
    assert auc.rows[3][2].sort_by == pytest.approx(scores.aucs[1].shown, abs=1e-6)
    assert precision.blocks[0].rows[3][2].sort_by == pytest.approx(scores.average_precisions[1].value, abs=1e-6)
    assert not precision.is_open
    assert not grid.is_open
    assert has_closed([part])  # so that the section has its button


def test_curves_are_folded_away_and_training_is_a_panel_a_model(context: Context) -> None:
    assert not any(part.is_open for part in only_details(list(class_sections.curves(context))))
    (part,) = only_details(list(class_sections.training(context)))
    assert not part.is_open
    for plot in part.blocks:
        assert [axes.get_title() for axes in plot.figure.axes] == MODELS


def test_every_pair_is_a_heat_map_with_a_mark_where_decided(context: Context) -> None:
    of_task = context.differences.tasks["spots"]
    pairs = of_task.pairs.copy()
    for at in np.ndindex(pairs.shape):
        pairs[at] = None if at[0] == at[1] else replace(pairs[at], word="undecided")
    pairs[0, 1], pairs[2, 3] = replace(pairs[0, 1], word="better"), replace(pairs[2, 3], word="equivalent")
    axes = differences(of_task.models, pairs, "").axes[0]
    means = axes.images[0].get_array()
    assert means[4, 5] == pairs[4, 5].test.mean == -pairs[5, 4].test.mean
    assert np.ma.getmaskarray(np.ma.masked_invalid(means)).sum() == len(MODELS)
    assert axes.images[0].get_cmap() is SIGNED
    found, ring = axes.lines
    assert (found.get_xdata().tolist(), found.get_ydata().tolist()) == ([1], [0])
    assert (ring.get_xdata().tolist(), ring.get_ydata().tolist()) == ([3], [2])
    assert ring.get_markerfacecolor() == "none"


def test_comparisons_are_folded_by_metric_the_headline_first(context: Context) -> None:
    blocks = list(difference_sections.comparisons(context))
    parts = only_details(blocks)
    exploratory = [part for part in parts if "exploratory" in part.title]
    assert exploratory[0].title.startswith("spots, accuracy: ")
    assert len(exploratory) > 1
    rows = [sum(len(table.rows) for table in part.blocks) for part in exploratory]
    assert [int(part.title.split(": ")[1].split()[0]) for part in exploratory] == rows
    assert sum(rows) == context.differences.tasks["spots"].comparisons.exploratory
    assert not any(part.is_open for part in parts)
    (every,) = [part for part in parts if "every pair" in part.title]
    assert isinstance(every.blocks[0], Plot)
    records = list(pair_records(context.differences))
    assert len(records) == 9 * 8 / 2
    pairs = context.differences.tasks["spots"].pairs
    assert [records[8]["a"], records[8]["b"]] == MODELS[1:3]
    assert records[8]["difference"] == pytest.approx(pairs[1, 2].test.mean, abs=1e-6)


def test_the_overview_names_a_few_of_many_models(context: Context) -> None:
    texts = [block.text for block in results_sections.overview(context) if isinstance(block, Text)]
    assert "**9 models** (model-0, model-1, model-2 and 6 more)" in texts[0]
