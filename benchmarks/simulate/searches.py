"""Searches with known truth: what the pruner risks and saves, how optimistic a best value is, a planted optimum."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import parse_params
from qlcnet.evidence import image_difference, influence
from qlcnet.evidence.metrics import metrics_of
from qlcnet.search import outcome, pruner, study
from qlcnet.search.lanes import Predictions
from qlcnet.search.outcome import SearchRecord, TrialRecord, outcome_of
from qlcnet.search.pruner import ALPHA, Behind, SeedSpread, compare_on_folds
from qlcnet.search.space import Setting, Space
from qlcnet.search.study import Slots
from qlcnet.search.trials import FoldValue, run_all
from simulate.cells import Cell, Tally, digest

TRIALS, IMAGES, POSITIVE = 30, 125, 0.73  # images of an inner fold, and the share of a class, as of BreastMNIST
GOOD = 2.0  # quality of the best setting
RANDOM = 10**6  # random trials before TPE: all of them

Fold = tuple[np.ndarray, np.ndarray]  # labels and how hard each image is


def make_fold(rng: np.random.Generator, images: int = IMAGES) -> Fold:
    """Labels and difficulties of a fold's images."""
    return (rng.random(images) < POSITIVE).astype(np.int64), rng.normal(0, 1, images)


def predict(rng: np.random.Generator, fold: Fold, quality: float, seed_sd: float, image_sd: float) -> Predictions:
    """A network of this quality. seed_sd: how much its weight seed moves it, image_sd: how much each image."""
    labels, hard = fold
    score = (
        (2 * labels - 1) * (quality + rng.normal(0, seed_sd)) / 2 + 0.8 * hard + rng.normal(0, image_sd, len(labels))
    )
    positive = 1 / (1 + np.exp(-2 * score))
    return Predictions(np.arange(len(labels)), labels, np.c_[1 - positive, positive].astype(np.float32))


def value(of: Predictions, metric: str) -> float:
    """The metric of a fold."""
    return metrics_of(of.target, of.probabilities)[metric]


# --- the pruner -----------------------------------------------------------------------------------------------------

_known: dict[int, tuple[np.ndarray, Any]] = {}  # of one simulation: by id of its probabilities, which it keeps alive


def remembered(target: np.ndarray, probabilities: np.ndarray) -> Any:
    """`influence.linearised`, once a network: it is most of the time, and each is compared several times."""
    if id(probabilities) not in _known:
        _known[id(probabilities)] = (probabilities, influence.linearised(target, probabilities))
    return _known[id(probabilities)][1]


pruner.linearised = remembered  # type: ignore[attr-defined]


def pruner_cells() -> dict[str, Cell]:
    """By folds, metric, spread between weight seeds and spread of the settings' quality."""
    cells = {}
    for k in (3, 5):
        for metric in ("auc_macro", "accuracy"):
            for seeds, image_sd in (("even seeds", 0.3), ("uneven seeds", 0.5)):
                for spread in (0.3, 0.8):
                    seed_sd = 0.1 if seeds == "even seeds" else 0.3
                    name = f"k = {k}, {metric}, {seeds}, quality spread {spread}"
                    cells[name] = _pruner_cell(k, metric, seed_sd, image_sd, spread)
    return cells


def _pruner_cell(k: int, metric: str, seed_sd: float, image_sd: float, spread: float) -> Cell:
    expected = _expected(metric, seed_sd, image_sd)

    def one(rng: np.random.Generator) -> Tally:
        _known.clear()
        folds = [make_fold(rng) for _ in range(k)]

        def fitted(quality: float) -> list[Predictions]:
            return [predict(rng, fold, quality, seed_sd, image_sd) for fold in folds]

        qualities = GOOD - np.abs(rng.normal(0, spread, TRIALS))
        default, again = fitted(qualities[0]), fitted(qualities[0])
        spread_of_seeds = SeedSpread.of(np.array([[value(p, metric) for p in side] for side in (default, again)]).T)
        assert spread_of_seeds
        tally = dict.fromkeys(("compared", "dropped", "dropped without seeds", "saved", "loss"), 0.0)
        for j in range(1, k):  # an equal trial, after each number of folds
            equal = fitted(qualities[0])
            for key, of_seeds in (("dropped", spread_of_seeds), ("dropped without seeds", SeedSpread(0.0, 1))):
                found = compare_on_folds(equal[:j], default[:j], metric, of_seeds)
                tally[key] += isinstance(found, Behind) and found.p < ALPHA
            tally["compared"] += 1
        best, kept, whole = (_mean(default, metric), default), [], []
        for number, quality in enumerate(qualities):
            trial = default if number == 0 else fitted(quality)
            full = _mean(trial, metric)
            whole.append((full, quality))
            dropped_after = k
            for j in range(1, k if number else 1):
                found = compare_on_folds(trial[:j], best[1][:j], metric, spread_of_seeds)
                if isinstance(found, Behind) and found.p < ALPHA:
                    dropped_after = j
                    break
            tally["saved"] += k - dropped_after
            if dropped_after == k:
                kept.append((full, quality))
                best = max(best, (full, trial), key=lambda pair: pair[0])
        tally["loss"] = expected(max(whole)[1]) - expected(max(kept)[1])
        # comparisons after 1, 2, … folds share their fits, so errors are of simulations, not of comparisons
        return tally | {f"{key} squared": tally[key] ** 2 for key in ("dropped", "saved", "loss")}

    def summary(sums: Tally, simulations: int) -> dict[str, Any]:
        def mean(key: str, of: float) -> tuple[float, float]:
            """Of `of` parts a simulation, with its Monte-Carlo error."""
            each = sums.get(key, 0.0) / simulations
            variance = max(0.0, sums.get(f"{key} squared", 0.0) / simulations - each**2)
            return each / of, float(np.sqrt(variance / simulations)) / of

        dropped, saved, loss = mean("dropped", k - 1), mean("saved", TRIALS * k), mean("loss", 1)
        return {
            "equal_dropped": round(dropped[0], 4),
            "se": round(dropped[1], 4),
            "equal_dropped_without_seeds": round(sums.get("dropped without seeds", 0.0) / sums["compared"], 4),
            "saved": round(saved[0], 3),
            "saved_se": round(saved[1], 4),
            "saved_less_replicates": round(saved[0] - 1 / TRIALS, 3),
            "loss_of_winner": round(loss[0], 5),
            "loss_se": round(loss[1], 5),
        }

    return Cell(one, summary, f"{digest(pruner, influence, image_difference)}-se", block=20)


def _mean(trial: list[Predictions], metric: str) -> float:
    return float(np.mean([value(p, metric) for p in trial]))


def _expected(metric: str, seed_sd: float, image_sd: float) -> Any:
    """The metric of a quality on very many images, by a polynomial through a grid of qualities."""
    rng = np.random.default_rng(0)
    grid = np.linspace(-1.5, GOOD, 15)
    values = [
        np.mean([value(predict(rng, make_fold(rng, 4000), q, seed_sd, image_sd), metric) for _ in range(10)])
        for q in grid
    ]
    return np.poly1d(np.polyfit(grid, values, 4))


# --- noise ----------------------------------------------------------------------------------------------------------


def noise_cells() -> dict[str, Cell]:
    """Searches in which no setting is better than another: 30 trials, 5 outer folds."""
    return {f"k = {k}, {metric}": _noise_cell(k, metric) for k in (3, 4, 5) for metric in ("auc_macro", "accuracy")}


def _noise_cell(k: int, metric: str) -> Cell:
    truth = float(_expected(metric, 0.2, 0.4)(GOOD - 0.5))

    def one(rng: np.random.Generator) -> Tally:
        tally = dict.fromkeys(("inner", "corrected", "outer", "overtuned", "shown"), 0.0)
        for _ in range(5):
            folds = [make_fold(rng) for _ in range(k)]
            trials = []
            for number in range(TRIALS):
                values = tuple(value(predict(rng, fold, GOOD - 0.5, 0.2, 0.4), metric) for fold in folds)
                trials.append(TrialRecord(number, "complete", {"training.learning_rate": float(number + 1)}, values))
            bounds = {"training.learning_rate": {"low": 1.0, "high": 30.0, "log": False}}
            found = outcome_of(SearchRecord("", "", "", "", 0, 0, metric, k, TRIALS, tuple(trials), bounds), 0.01, 0.05)
            assert found
            outside = make_fold(rng, IMAGES * k // (k - 1))
            tuned, default = (value(predict(rng, outside, GOOD - 0.5, 0.2, 0.4), metric) for _ in range(2))
            tally["inner"] += (found.winner.value - truth) / 5
            tally["corrected"] += (found.corrected - truth) / 5
            tally["outer"] += (tuned - truth) / 5
            tally["overtuned"] += (tuned < default) / 5
            tally["shown"] += found.is_better / 5
        return {**tally, **{f"{key} squared": tally[key] ** 2 for key in ("inner", "corrected", "outer")}}

    def summary(sums: Tally, simulations: int) -> dict[str, Any]:
        result: dict[str, Any] = {"truth": round(truth, 4)}
        for key in ("inner", "corrected", "outer"):
            mean = sums.get(key, 0.0) / simulations
            variance = max(0.0, sums[f"{key} squared"] / simulations - mean**2)
            result |= {f"{key}_bias": round(mean, 5), f"{key}_se": round(float(np.sqrt(variance / simulations)), 5)}
        return result | {
            "overtuned": round(sums.get("overtuned", 0.0) / simulations, 3),
            "gain_shown": round(sums.get("shown", 0.0) / simulations, 3),
        }

    return Cell(one, summary, digest(outcome), block=10)


# --- a planted optimum ----------------------------------------------------------------------------------------------

PLANTED = {
    "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "training.weight_decay": {"low": 0.0, "high": 1.0},
    "training.batch_size": {"low": 16, "high": 256, "log": True},
    "training.optimizer": ["adam", "adamw", "sgd"],
    "training.momentum": {"low": 0.0, "high": 0.99, "when": {"training.optimizer": "sgd"}},
}
NEAR = 0.95  # of the best value: then it counts as found
MOST_TRIALS = 80


class Planted:
    """An objective with its best at a rate of 0.003, a decay of 0.2, batches of 64, and sgd with momentum 0.8."""

    folds = 2

    def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
        rate = (np.log10(setting["training.learning_rate"]) - np.log10(0.003)) / 2
        decay, batch = setting["training.weight_decay"] - 0.2, np.log2(setting["training.batch_size"] / 64) / 4
        other = abs(setting.get("training.momentum", 0.0) - 0.8) if setting["training.optimizer"] == "sgd" else 0.7
        return FoldValue(float(np.exp(-1.5 * (rate**2 + decay**2 + batch**2 + other**2))), f"{number}-{fold}")


def planted_cells() -> dict[str, Cell]:
    """Trials until the planted optimum is found, by this search and by random search; a simulation is a seed."""
    base = {"seed": 1, "circuits": {}, "channels": {}, "datasets": {"digits": {"source": {"kind": "digits"}}}}
    base |= {"models": {"classical": {"inputs": ["image"]}}, "backbones": {"lcnet_050": {}}, "training": {}}
    space = Space.of(parse_params({**base, "tuning": {"space": PLANTED}}), "classical", "lcnet_050")

    def trials_until_found(seed: int, startup: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            told = space.as_drawn(space.default)
            slots = Slots.open(Path(folder), "planted/x", MOST_TRIALS, seed, told, startup=startup)
            objective = Planted()
            run_all(slots, space, objective, 0, more=lambda: not any(t.value > NEAR for t in slots.settled()))
            return len(slots.settled())

    def one(rng: np.random.Generator) -> Tally:
        seed = int(rng.integers(2**31))
        return {
            f"{kind} {trials_until_found(seed, startup)}": 1.0 for kind, startup in (("tpe", 10), ("random", RANDOM))
        }

    def summary(sums: Tally, simulations: int) -> dict[str, Any]:
        return {f"median_trials_{kind}": _median(sums, kind) for kind in ("tpe", "random")} | {"at_most": MOST_TRIALS}

    return {"5 keys, one conditional": Cell(one, summary, digest(study), block=2, most=20)}


def _median(sums: Mapping[str, float], kind: str) -> float:
    """Of counts that are keys `kind n`."""
    counts = [
        int(key.split()[1]) for key, times in sums.items() if key.startswith(f"{kind} ") for _ in range(int(times))
    ]
    return float(np.median(counts))
