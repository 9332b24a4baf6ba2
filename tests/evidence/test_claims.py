"""The paper's claims on made-up fits in which they hold, fail, or cannot be told."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.claims import crossing, less_overfitting, narrower_gap, steadier
from tests.evidence.tables import around, make_scores

LARGE, COMPACT = ("lcnet_200",), ("lcnet_050", "lcnet_100")


def widths(gains: dict[str, float], sd: float = 0.005, repeats: int = 3) -> list:
    """Hybrid and classical at each width, hybrid ahead by its gain."""
    pairs = []
    for seed, (backbone, gain) in enumerate(gains.items()):
        base = around(0.7, 0.02, repeats, seed=seed)
        hybrid = base + around(gain, sd, repeats, seed=seed + 10)
        pairs.append((make_scores("hybrid", hybrid, backbone), make_scores("classical", base, backbone)))
    return pairs


@pytest.mark.parametrize(
    ("small", "large", "word"),
    [
        (0.03, -0.03, "supported"),
        (0.03, 0.03, "contradicted"),
        (-0.03, -0.03, "contradicted"),
        (0.03, 0.0, "undecided"),
    ],
)
def test_ahead_at_compact_widths_and_behind_at_large_ones(small, large, word):
    pairs = widths({"lcnet_050": small, "lcnet_100": small, "lcnet_200": large})
    claim = crossing(pairs, "accuracy", 0.05)
    assert claim.word == word
    assert [part.what for part in claim.decisive] == ["mean over lcnet_050, lcnet_100", "mean over lcnet_200"]
    assert claim.decisive[0].estimate == pytest.approx(small)
    assert claim.p == max(part.p for part in claim.decisive)
    (trend,) = claim.beside
    assert (trend.p < 0.05) == (small > large)


def test_a_single_width_s_p_by_hand():
    pairs = widths({"lcnet_050": 0.01, "lcnet_200": -0.01})
    se = 0.005 * np.sqrt(1 / 15 + 1 / 4)
    assert crossing(pairs, "accuracy", 0.05).decisive[0].p == pytest.approx(stats.t.sf(0.01 / se, 8))


def test_a_study_without_large_widths_cannot_tell():
    claim = crossing(widths({"lcnet_050": 0.03}), "accuracy", 0.05)
    assert claim.word == "not testable"
    assert claim.reason == "no network of the widths lcnet_150, lcnet_200"
    one_split = [tuple(make_scores(name, around(0.7, 0.01, 4, 1), "lcnet_050") for name in ("hybrid", "classical"))]
    assert steadier(one_split, "accuracy", 0.05).word == "not testable"


@pytest.mark.parametrize(("factor", "word"), [(0.3, "supported"), (3.0, "contradicted"), (1.0, "undecided")])
def test_steadier_over_folds(factor, word):
    pairs = []
    for seed, backbone in enumerate(COMPACT):
        base = around(0.7, 0.02, 5, seed=seed)
        noise = around(0.7, 0.02 * factor, 5, seed=seed + 5)
        pairs.append((make_scores("hybrid", noise, backbone), make_scores("classical", base, backbone)))
    claim = steadier(pairs, "accuracy", 0.05)
    assert claim.word == word
    assert claim.decisive[0].estimate == pytest.approx(factor, rel=0.15)  # within repeats, not over all
    assert [part.what for part in claim.beside] == ["ratio of sd, lcnet_050", "ratio of sd, lcnet_100"]


def recalls(model: str, easy: float, hard: float, seed: int, sd: float = 0.01):
    """make_table's class 0 is easy."""
    scores = make_scores(model, around(easy, sd, 3, seed=seed), metrics=("recall_0",))
    scores.values["recall_1"] = around(hard, sd, 3, seed=seed + 1)
    return scores


def test_a_gap_that_narrows_says_from_which_side():
    classical = recalls("classical", 0.9, 0.4, 1)
    claim = narrower_gap([(recalls("hybrid", 0.9, 0.5, 3), classical)], 0.05)
    assert claim.word == "supported"
    assert claim.decisive[0].estimate == pytest.approx(-0.1)
    hard, easy = claim.beside
    assert (hard.what, hard.estimate) == ("recall of hard", pytest.approx(0.1))
    assert (easy.what, easy.estimate) == ("recall of easy", pytest.approx(0.0, abs=1e-12))
    lost = narrower_gap([(recalls("hybrid", 0.8, 0.4, 3), classical)], 0.05)
    assert lost.word == "supported"  # it is narrower,
    assert lost.beside[0].p > 0.05  # and not because hard classes are recognised better
    assert narrower_gap([(recalls("hybrid", 0.9, 0.3, 3), classical)], 0.05).word == "contradicted"


def test_the_choice_of_hard_classes_favours_no_model():
    """Two models that are nothing but noise around equal recalls: of 300 studies as many narrow as widen."""
    rng = np.random.default_rng(0)
    narrower = 0
    for _ in range(300):
        draws = rng.normal(0.5, 0.1, (2, 2, 1, 5))
        one, other = (make_scores(name, draws[i, 0], metrics=("recall_0",)) for i, name in enumerate("ab"))
        one.values["recall_1"], other.values["recall_1"] = draws[0, 1], draws[1, 1]
        narrower += narrower_gap([(one, other)], 0.05).decisive[0].estimate < 0
    assert narrower / 300 == pytest.approx(0.5, abs=0.1)


def test_a_class_that_no_fold_shows_is_not_testable():
    classical = recalls("classical", 0.9, 0.4, 1)
    classical.values["recall_1"][0, 0] = np.nan
    assert narrower_gap([(recalls("hybrid", 0.9, 0.5, 3), classical)], 0.05).word == "not testable"


@pytest.mark.parametrize(("gap", "word"), [(0.02, "supported"), (0.2, "contradicted"), (0.1, "undecided")])
def test_less_overfitting(gap, word):
    like = make_scores("hybrid", around(0.7, 0.02, 3))
    gaps = [(around(gap, 0.01, 3, seed=1), around(0.1, 0.01, 3, seed=2))]
    claim = less_overfitting(gaps, like, "accuracy", 0.05)
    assert claim.word == word
    assert claim.decisive[0].estimate == pytest.approx(gap - 0.1, abs=1e-12)
    assert [part.estimate for part in claim.beside] == pytest.approx([gap, 0.1])
