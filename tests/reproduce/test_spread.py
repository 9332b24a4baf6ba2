"""The range that a study's own fits give, and what many fits say together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import stats

from qlcnet.reproduce.compare_fits import LOSS, FitVerdict
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.spread import CLASSES, ENOUGH, FEWEST, Pairs, Spreads, spread_of
from qlcnet.reproduce.together import settle, sign_flip_p


def drawn(seed: int, sizes: dict[str, tuple[int, float]]) -> Pairs:
    """Distances in two criteria, of as many pairs of each model as asked for, of that usual size."""
    rng = np.random.default_rng(seed)
    return {
        model: [{"accuracy": abs(float(a)), LOSS: abs(float(b))} for a, b in size * rng.standard_normal((count, 2))]
        for model, (count, size) in sizes.items()
    }


def test_few_pairs_tell_nothing() -> None:
    found = spread_of("folds", drawn(0, {"a": (3, 0.01), "b": (FEWEST - 4, 0.01)}), "a")
    assert found.limits is None
    assert found.words == f"{FEWEST - 1} pairs of folds of 2 models of the task: too few for a range"
    assert spread_of("folds", {}, "a").limits is None
    assert spread_of("folds", drawn(0, {"b": (30, 0.01)}), "a").limits is None, "none of its own"


def test_many_pairs_of_its_own_are_enough() -> None:
    pairs = drawn(0, {"a": (ENOUGH, 0.01), "b": (50, 1.0)})
    assert spread_of("repeats", pairs, "a") == spread_of("repeats", {"a": pairs["a"]}, "a")
    assert "95 % range of 19 pairs of repeats of this model" in spread_of("repeats", pairs, "a").words


def test_other_models_lend_their_ratios_not_their_size() -> None:
    """A model whose fits are ten times as far apart has a range ten times as wide, of the same pairs."""
    pairs = drawn(1, {"a": (6, 0.01), "b": (10, 0.1)})
    limits = [spread_of("folds", pairs, model).limits for model in "ab"]
    assert limits[0]
    assert limits[1]
    assert 4 < limits[1][LOSS] / limits[0][LOSS] < 20


@pytest.mark.parametrize("sizes", [{"a": (40, 0.02)}, {"a": (10, 0.02), "b": (10, 0.05), "c": (10, 0.01)}])
def test_false_alarms_are_few_whatever_the_number_of_criteria(sizes: dict[str, tuple[int, float]]) -> None:
    """Of new pairs; with a range of 95 % for each criterion apart they would be 10 % for two of them."""
    alarms, stated = [], []
    for seed in range(60):
        found = spread_of("repeats", drawn(seed, sizes), "a")
        new = drawn(1000 + seed, {"a": (50, 0.02)})["a"]
        alarms.append(np.mean([bool(found.outside(one)) for one in new]))
        stated.append(found.false_alarms)
    assert np.mean(alarms) < 0.08
    assert np.mean(stated) == pytest.approx(np.mean(alarms), abs=0.03), "what is printed is what happens"


def write_fit(folder: Path, seed: int, settings: str = "s", same_folds: bool = True) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    target = np.arange(30) % 2
    p = np.clip(0.5 + (2 * target - 1) * 0.2 + 0.2 * rng.standard_normal(30), 0.01, 0.99)
    save_file(
        {
            "index": np.arange(30), "target": target, "part": np.zeros(30, np.uint8),
            "probabilities": np.stack([1 - p, p], 1).astype(np.float32),
        },
        folder / "predictions.safetensors",
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"settings": settings, "rows": same_folds}))


def test_pairs_are_of_replicates_else_of_repeats_else_of_folds(tmp_path: Path) -> None:
    for model in ("one", "other"):
        for repeat in range(2):
            for fold in range(5):
                write_fit(
                    tmp_path / f"t/b/{model}/repeat-{repeat}/fold-{fold}",
                    1000 * (model == "one") + 10 * repeat + fold,
                    model,
                )
    assert Spreads(tmp_path).of("t/b/one/repeat-0/fold-0").kind == "repeats"
    for repeat in range(2):
        for fold in range(5):
            write_fit(tmp_path / f"t/b/again/repeat-{repeat}/fold-{fold}", 100 + 10 * repeat + fold, "one")
    found = Spreads(tmp_path).of("t/b/one/repeat-0/fold-0")
    assert (found.kind, found.pairs) == ("replicates", 10), "a pair of both models is one pair"
    assert found.limits
    assert CLASSES in found.limits, "they saw the same images"
    alone = tmp_path / "alone"
    for fold in range(5):
        write_fit(alone / f"t/b/one/repeat-0/fold-{fold}", fold)
    assert Spreads(alone).of("t/b/one/repeat-0/fold-0").kind == "folds"


def held(times: float, then: float = 0.5, now: float = 0.5, fit: str = "t/b/m/repeat-0/fold-0") -> FitVerdict:
    """A fit that was held against a range of which it is so many times away."""
    grade = Grade.DIFFERENT if times > 1 else Grade.CONSISTENT
    return FitVerdict(fit, grade, "b", {LOSS: (then, now)}, times=times, usual=0.1)


@pytest.mark.parametrize(("outside", "of", "different"), [(1, 1, True), (1, 2, False), (3, 60, False), (8, 60, True)])
def test_one_in_twenty_is_outside_by_chance(outside: int, of: int, different: bool) -> None:
    fits = [held(1.2) for _ in range(outside)] + [held(0.4) for _ in range(of - outside)]
    said = settle(fits)
    assert any(fit.grade == Grade.DIFFERENT for fit in fits) == different
    assert f"{outside} of {of} fits are outside their range" in said[0]


def test_what_no_chance_explains_stays_different() -> None:
    """One fit of sixty that is another network: chance leaves a fit a little outside, not many times."""
    fits = [held(4.0), *(held(0.4) for _ in range(59))]
    settle(fits)
    assert fits[0].grade == Grade.DIFFERENT
    assert {fit.grade for fit in fits[1:]} == {Grade.CONSISTENT}


def test_fits_that_are_all_worse_are_different_though_each_is_inside() -> None:
    rng = np.random.default_rng(0)
    losses = 0.5 + 0.1 * rng.standard_normal(12)
    fits = [held(0.5, then, then + 0.03 + 0.01 * noise) for then, noise in zip(losses, rng.random(12), strict=True)]
    said = settle(fits)
    assert {fit.grade for fit in fits} == {Grade.DIFFERENT}
    assert "the loss is higher in 12 of 12 recomputed fits" in said[-1]
    noisy = [held(0.5, then, then + 0.03 * sign) for then, sign in zip(losses, [1, -1] * 6, strict=True)]
    assert settle(noisy) == []
    tiny = [held(0.5, then, then + 1e-4) for then in losses]
    assert settle(tiny) == [], "all worse, by a thousandth of what two fits are apart"


def test_signs_are_flipped_as_scipy_does() -> None:
    ds = np.array([0.3, 0.1, 0.25, -0.05, 0.2, 0.4, 0.1])
    expected = stats.permutation_test((ds,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p([ds]) == pytest.approx(expected, abs=1e-12)
    assert sign_flip_p([np.ones(3), -np.ones(3)]) == 4 / 64, "each model either way: by counting"
    many = np.abs(np.random.default_rng(0).standard_normal(30))
    assert sign_flip_p([many]) < 1e-3, "drawn, where they are too many to count"
