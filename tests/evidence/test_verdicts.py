"""Verdicts: Holm by hand, every line of the table reached and in its order, families, and pairs that are refused."""

from dataclasses import replace

import numpy as np
import pytest

from qlcnet.config import Evidence
from qlcnet.evidence.comparison import NotComparable, check_paired, compare, fold_scores
from qlcnet.evidence.families import MOST_MODELS, compare_task, matrix
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.metrics import metrics_of
from qlcnet.evidence.resampled import Design, PairedT
from qlcnet.evidence.verdicts import Silent, holm, judge
from tests.evidence.tables import PARAMETERS, around, make_scores, make_table
from tests.evidence.test_metrics import predictions

METRICS = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def paired(mean: float, sd: float = 0.01) -> PairedT:
    return PairedT(mean, sd, Design(3, 5, 0.25))  # se 0.00563, df 8


@pytest.mark.parametrize(
    ("mean", "sd", "margin", "word"),
    [
        (0.04, 0.01, 0.02, "better by more than the margin"),
        (0.02, 0.01, 0.05, "better, by less than the margin"),
        (0.02, 0.01, 0.02, "better"),
        (0.002, 0.01, 0.02, "equivalent"),
        (0.01, 0.01, 0.01, "undecided"),
    ],
)
def test_each_line_of_the_table(mean, sd, margin, word):
    (verdict,) = judge([paired(mean, sd)], margin, 0.05)
    assert verdict.word == word
    (mirrored,) = judge([paired(-mean, sd)], margin, 0.05)
    assert mirrored.word == word.replace("better", "worse")
    assert verdict.interval == verdict.unadjusted  # a family of one
    assert verdict.adjusted.difference == verdict.p


def test_the_border_of_each_line():
    margin = 0.02
    test = paired(margin + 2.306 * paired(0).se)  # t of 8 df at 0.975, above the margin
    assert judge([replace(test, mean=test.mean + 1e-5)], margin, 0.05)[0].word == "better by more than the margin"
    assert judge([replace(test, mean=test.mean - 1e-5)], margin, 0.05)[0].word == "better"
    found = 2.306 * paired(0).se
    assert judge([paired(found + 1e-5)], margin, 0.05)[0].word == "better"
    assert judge([paired(found - 1e-5)], margin, 0.05)[0].word == "undecided"


def test_a_family_is_adjusted_and_its_intervals_widen():
    tests = [paired(0.015), paired(0.0), paired(-0.001)]
    alone, family = judge(tests, 0.02, 0.05, adjust=False), judge(tests, 0.02, 0.05)
    assert [alone[0].word, family[0].word] == ["better", "undecided"]
    assert family[0].adjusted.difference == pytest.approx(3 * alone[0].p)
    assert family[0].interval == tests[0].interval(1 - 0.05 / 3)
    assert family[0].unadjusted == tests[0].interval(0.95)
    assert family[0].outlook.detectable > alone[0].outlook.detectable
    assert family[0].least_margin > alone[0].least_margin


def test_what_has_too_few_data_counts_in_its_family():
    silent, verdict = judge([TooFew("2 folds"), paired(0.0133)], 0.02, 0.05)
    assert silent == Silent("2 folds")
    assert verdict.family == 2
    assert verdict.adjusted.difference == pytest.approx(2 * verdict.p)


def test_no_spread_decides_nothing():
    assert judge([paired(0.0, 0.0)], 0.02, 0.05)[0].word == "undecided"
    assert judge([paired(0.1, 0.0)], 0.02, 0.05)[0].word == "undecided"


def test_a_trend_has_no_margin():
    rises, falls, flat = judge([paired(0.03), paired(-0.03), paired(0.001)], None, 0.05)
    assert [rises.word, falls.word, flat.word] == ["rises", "falls", "undecided"]
    assert rises.probabilities is None


def study(gain: dict[str, float], widths: tuple[str, ...] = ("lcnet_050", "lcnet_100"), repeats: int = 3) -> list:
    """Fits of models that are ahead of `classical` by `gain`, in every metric and width."""
    scores = []
    for backbone in widths:
        base = around(0.7, 0.02, repeats, seed=1)
        scores.append(make_scores("classical", base, backbone, METRICS))
        for i, (model, by) in enumerate(gain.items()):
            scores.append(make_scores(model, base + around(by, 0.005, repeats, seed=i + 2), backbone, METRICS))
    return scores


def declared(*pairs: tuple[str, str], metric: str = "accuracy") -> Evidence:
    return Evidence.model_validate({"primary": {"metric": metric, "compare": pairs}})


def test_a_planted_difference_gets_its_verdict_and_the_families_their_order():
    found = compare_task(
        study({"hybrid": 0.03, "quanv": 0.0}), declared(("hybrid", "classical"), ("quanv", "classical"))
    )
    mean, trend, single = found.of("primary")
    assert [family.kind for family in (mean, trend, single)] == ["mean over widths", "trend over widths", "one width"]
    assert [line.verdict.word for line in mean.lines] == ["better by more than the margin", "equivalent"]
    assert [line.verdict.word for line in trend.lines] == ["undecided", "undecided"]
    assert [len(family.lines) for family in (mean, trend, single)] == [2, 2, 4]
    assert {line.verdict.family for line in single.lines} == {4}
    assert mean.lines[0].contrast.backbones == ("lcnet_050", "lcnet_100")
    assert mean.lines[0].verdict.test.mean == pytest.approx(0.03)
    assert not found.refused


def test_what_is_not_declared_is_exploratory_counted_and_not_adjusted():
    found = compare_task(study({"hybrid": 0.03, "quanv": 0.0}), declared(("hybrid", "classical")))
    # 3 pairs x 4 metrics without the declared one, each with mean, trend and two widths
    assert found.exploratory == (3 * 4 - 1) * 4
    lines = [line for family in found.of("exploratory") for line in family.lines]
    assert {line.verdict.family for line in lines} == {1}
    of_accuracy = {(line.contrast.a, line.contrast.b) for line in lines if line.contrast.metric == "accuracy"}
    assert of_accuracy == {("quanv", "classical"), ("quanv", "hybrid")}
    assert ("hybrid", "classical") in {(line.contrast.a, line.contrast.b) for line in lines}  # in other metrics


def test_without_a_declaration_nothing_is_primary():
    found = compare_task(study({"hybrid": 0.03}), Evidence())
    assert not found.of("primary")
    assert found.exploratory == 16


def test_twins_stand_outside_of_every_family():
    scores = study({"hybrid": 0.0, "sine": 0.0})
    pairs = declared(("hybrid", "classical"), ("hybrid", "sine"))
    found = compare_task(scores, pairs, alike=[frozenset(("hybrid", "sine"))])
    assert [len(family.lines) for family in found.of("primary")] == [1, 1, 2]
    assert {(line.contrast.a, line.contrast.b) for family in found.of("A/A") for line in family.lines} == {
        ("sine", "hybrid")
    }
    exploratory = [line.contrast for family in found.of("exploratory") for line in family.lines]
    assert not [contrast for contrast in exploratory if {contrast.a, contrast.b} == {"hybrid", "sine"}]


def test_of_many_models_pairs_with_the_first_and_those_of_interest_are_compared():
    scores = study({f"model-{number}": 0.0 for number in range(MOST_MODELS)})
    twins = [frozenset(("model-2", "model-5"))]
    found = compare_task(scores, declared(("model-1", "model-3")), of_interest=twins)
    pairs = {frozenset((line.contrast.a, line.contrast.b)) for f in found.of("exploratory") for line in f.lines}
    with_first = {frozenset(("classical", f"model-{number}")) for number in range(MOST_MODELS)}
    assert pairs == {*with_first, *twins, frozenset(("model-1", "model-3"))}, "the declared pair in other metrics"


def test_a_declared_model_without_fits_is_refused_and_counts():
    found = compare_task(study({"hybrid": 0.03}), declared(("hybrid", "classical"), ("quanv", "classical")))
    assert [refused.a for refused in found.refused] == ["quanv"]
    mean = found.of("primary")[0]
    assert [line.verdict.word for line in mean.lines] == ["better by more than the margin", "too few"]
    assert mean.lines[0].verdict.family == 2


def test_one_width_has_one_contrast():
    found = compare_task(study({"hybrid": 0.03}, widths=("lcnet_050",)), declared(("hybrid", "classical")))
    assert [family.kind for family in found.of("primary")] == ["mean over widths"]


def test_the_trend_over_widths_by_hand():
    """Ahead by 0.03 at 0.6 M parameters and level at 5.3 M: down by 0.03 / log2(5.3 / 0.6) a doubling."""
    scores = []
    for seed, (backbone, by) in enumerate((("lcnet_050", 0.03), ("lcnet_200", 0.0))):
        base = around(0.7, 0.02, 3, seed=1)
        scores += [
            make_scores("classical", base, backbone, METRICS),
            make_scores("hybrid", base + around(by, 0.002, 3, seed=seed), backbone, METRICS),
        ]
    line = compare_task(scores, declared(("hybrid", "classical"))).of("primary")[1].lines[0]
    doublings = np.log2(PARAMETERS["lcnet_200"] / PARAMETERS["lcnet_050"])
    assert line.verdict.test.mean == pytest.approx(-0.03 / doublings)
    assert line.verdict.word == "falls"


def test_a_cell_of_the_matrix_depends_on_its_pair():
    scores = study({"hybrid": 0.03, "quanv": 0.01})
    three = matrix(scores, "accuracy", 0.01, 0.05)
    two = matrix([one for one in scores if one.model != "quanv"], "accuracy", 0.01, 0.05)
    assert three[1, 0] == two[1, 0]
    assert three[1, 0].word == "better by more than the margin"
    assert three[0, 1].word == "worse by more than the margin"
    assert three[0, 0] is None


def test_pairs_that_share_too_little_are_refused_with_the_reason():
    a = make_table("hybrid", repeats=2)
    check_paired(a, make_table("classical", repeats=2))
    with pytest.raises(NotComparable, match="not the same task"):
        check_paired(a, make_table("classical", task="other", repeats=2))
    with pytest.raises(NotComparable, match="5 and 0 of them have no partner"):
        check_paired(a, make_table("classical"))
    other = make_table("classical", repeats=2)
    swapped = other.index.copy()
    swapped[[0, 4]] = swapped[[4, 0]]  # an image of fold 0 against one of fold 1
    with pytest.raises(NotComparable, match="not the same folds: 2 of 40 images"):
        check_paired(a, replace(other, index=swapped))
    with pytest.raises(NotComparable, match="not the same labels: 1 of 40"):
        check_paired(a, replace(other, target=np.r_[1 - other.target[0], other.target[1:]]))


def test_scores_of_a_table_and_the_share_of_its_images_that_is_tested():
    table = make_table("m", repeats=2)
    target, p = predictions(40, 2)
    table = replace(table, target=target, probabilities=p)
    scores = fold_scores(table, 10)
    first = table.of_fit(1, 2)
    assert scores.values["auc_macro"][1, 2] == metrics_of(first.target, first.probabilities)["auc_macro"]
    assert scores.test_share == pytest.approx(1 / 4)
    everything = replace(table, index=np.tile(np.arange(4), 10))  # each fit scores the same images
    assert fold_scores(everything, 10).same_images
    with pytest.raises(NotComparable, match="7 fits are not 2 repeats of 5 folds"):
        fold_scores(table.rows((table.repeat == 0) | (table.fold < 2)), 10)


def test_the_official_split_speaks_of_these_images():
    one, other = (make_scores(name, around(0.7, 0.01, 4, 1, seed)) for seed, name in enumerate(("hybrid", "classical")))
    test = compare(one, other, "accuracy")
    assert test.design.scope == "on these images"
    assert test.design.df == 3
