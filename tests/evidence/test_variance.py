"""Components of variance: balanced examples worked out by hand, nesting, and drawn components found again."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.variance import Unbalanced, decompose


def grid(**levels: int) -> dict[str, list[int]]:
    rows = list(product(*(range(count) for count in levels.values())))
    return {name: [row[i] for row in rows] for i, name in enumerate(levels)}


def test_two_crossed_factors_by_hand():
    """
    |        | fold 0 | 1 | 2 | mean |
    | model 0 | 1 | 2 | 6 | 3 |
    | model 1 | 5 | 8 | 8 | 7 |

    Means of folds 3, 5, 7. SS model 6 x 2^2 = 24, fold 2 x (4 + 0 + 4) = 16, rest 4: MS 24, 8, 2.
    """
    found = decompose(np.array([1.0, 2, 6, 5, 8, 8]), grid(model=2, fold=3))
    model, fold, rest = found.components
    assert [c.factors for c in found.components] == [("model",), ("fold",), ("model", "fold")]
    assert [c.sum_of_squares for c in found.components] == pytest.approx([24, 16, 4])
    assert [c.df for c in found.components] == [1, 2, 2]
    assert [c.variance for c in found.components] == pytest.approx([(24 - 2) / 3, (8 - 2) / 2, 2])
    total = 22 / 3 + 3 + 2
    assert found.share("model") == pytest.approx(22 / 3 / total)
    assert model.omega_squared == pytest.approx((24 - 1 * 2) / (44 + 2))
    assert fold.omega_squared == pytest.approx((16 - 2 * 2) / (44 + 2))
    assert np.isnan(rest.omega_squared)


def test_mean_squares_are_those_of_an_analysis_of_variance():
    """One factor within another is a one-way analysis of variance, which scipy has."""
    values = np.random.default_rng(0).normal(size=(4, 6)) + np.arange(4)[:, None]
    found = decompose(values.ravel(), grid(set=4, fold=6), nested={"fold": "set"})
    between, within = found.components
    assert [c.factors for c in found.components] == [("set",), ("set", "fold")]
    assert (between.df, within.df) == (3, 20)
    f = (between.sum_of_squares / 3) / (within.sum_of_squares / 20)
    assert f == pytest.approx(stats.f_oneway(*values).statistic)
    assert between.variance == pytest.approx((between.sum_of_squares / 3 - within.sum_of_squares / 20) / 6)


def test_a_factor_with_one_level_is_not_varied():
    found = decompose(np.array([1.0, 2, 6, 5, 8, 8]), grid(set=1, model=2, fold=3, circuit=1))
    assert found.not_varied == ("set", "circuit")
    assert found.share("model") == decompose(np.array([1.0, 2, 6, 5, 8, 8]), grid(model=2, fold=3)).share("model")


def test_a_negative_component_is_shown_and_counts_as_nothing():
    """Folds that differ less than chance: means equal, cells not."""
    found = decompose(np.array([1.0, 2, 2, 1]), grid(model=2, fold=2))
    assert found.components[0].variance == pytest.approx(-0.5)
    assert [found.share("model"), found.share("fold"), found.share("model", "fold")] == [0, 0, 1]


def test_drawn_components_are_found_again():
    """Sets, folds in them, models, and models by sets: mean of 200 draws of known components."""
    levels = {"set": 6, "fold": 5, "model": 4}
    sd = {"set": 0.5, "fold": 0.3, "model": 0.4, "both": 0.2, "rest": 0.1}
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        values = (
            rng.normal(0, sd["set"], (6, 1, 1))
            + rng.normal(0, sd["fold"], (6, 5, 1))
            + rng.normal(0, sd["model"], (1, 1, 4))
            + rng.normal(0, sd["both"], (6, 1, 4))
            + rng.normal(0, sd["rest"], (6, 5, 4))
        )
        each = decompose(values.ravel(), grid(**levels), nested={"fold": "set"})
        found.append([component.variance for component in each.components])
    names = [component.factors for component in each.components]
    assert names == [("set",), ("model",), ("set", "fold"), ("set", "model"), ("set", "fold", "model")]
    mean = np.sqrt(np.mean(found, 0))
    assert mean == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1], abs=0.03)
    assert each.share_with("model") == pytest.approx(each.share("model") + each.share("set", "model"))


def test_what_does_not_fill_every_combination_is_refused():
    with pytest.raises(Unbalanced, match="1 of 6 combinations have no value, 0 several"):
        decompose(np.ones(5), {name: of[:5] for name, of in grid(model=2, fold=3).items()})


def test_equal_values_have_nothing_to_share():
    found = decompose(np.ones(6), grid(model=2, fold=3))
    assert [c.share for c in found.components] == [0, 0, 0]
