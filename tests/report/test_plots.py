"""A model has one colour in all figures, also where a model before it is not there."""

import numpy as np

from qlcnet.evidence.calibration import Reliability
from qlcnet.evidence.learning import LearningCurve
from qlcnet.evidence.limits import Limits
from qlcnet.evidence.metrics import METRICS, Confusion
from qlcnet.evidence.summary import CircuitEvaluations, Estimate, ModelSummary, NetworkCost, Scores
from qlcnet.report.plots import TRAINING, by_backbone, error_bar, training
from qlcnet.report.style import COLOURS

ORDER = ["classical", "hybrid"]


def summary_of(backbone: str, model: str) -> ModelSummary:
    scores = Scores(10, dict.fromkeys(METRICS, Estimate(0.8, 0.8, 0.1)), (), (), (), ())
    confusion, cost = Confusion(np.eye(2, dtype=np.int64)), NetworkCost(1, 1, CircuitEvaluations(0, 0, 0))
    diagram = Reliability(*(np.ones(1) for _ in range(4)))
    return ModelSummary("t", backbone, model, ("a", "b"), (5, 5), confusion, diagram, scores, None, cost)


def test_training_curves_keep_the_colour_of_their_model():
    curve = LearningCurve(np.arange(3), np.ones(3), np.zeros(3))
    curves = {f"{part}_{metric}": curve for part in ("train", "val") for metric in TRAINING}
    figure = training({"hybrid": curves}, ORDER)
    assert {line.get_color() for axes in figure.axes for line in axes.lines} == {COLOURS[1]}
    assert figure.legends[0].legend_handles[0].get_color() == COLOURS[1]


def test_points_by_backbone_keep_the_colour_of_their_model():
    summaries = {("b050", "hybrid"): summary_of("b050", "hybrid")}
    axes = by_backbone(summaries, "accuracy", ORDER, None).axes[0]
    assert [bar[0].get_color() for bar in axes.containers] == [COLOURS[1]]
    summaries |= {("b075", model): summary_of("b075", model) for model in ORDER}
    axes = by_backbone(summaries, "accuracy", ORDER, None).axes[0]
    points = {bar.get_label(): (bar[0].get_color(), bar[0].get_xdata().round().tolist()) for bar in axes.containers}
    assert points == {"classical": (COLOURS[0], [1]), "hybrid": (COLOURS[1], [0, 1])}


def test_a_bar_is_the_spread_of_folds_or_with_one_fit_the_interval():
    assert error_bar(Estimate(0.8, 0.7, 0.1, Limits(0.8, 0.5, 0.9, "by hand"))) == (0.1, 0.1)
    nan = float("nan")
    np.testing.assert_allclose(error_bar(Estimate(0.8, 0.8, nan, Limits(0.8, 0.5, 0.9, "by hand"))), (0.3, 0.1))
    assert error_bar(Estimate(0.8, 0.8, nan)) == (0.0, 0.0)
