"""The space of a search: drawn, put back into params.yaml, and everything wrong with it said before the first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from qlcnet.config import ParamsError, parse_params
from qlcnet.search.errors import TuningError
from qlcnet.search.space import Space
from qlcnet.search.space_faults import Faults, check_all_read
from tests.params import REQUIRED

BASE: dict[str, Any] = {
    **REQUIRED,
    "datasets": {"digits": {"source": {"kind": "digits"}}},
    "circuits": {"ry": {}},
    "models": {
        "classical": {"inputs": ["image"]},
        "hybrid": {"inputs": ["image", "quanv:ry"], "head": "quantum"},
        "own": {"inputs": ["image"], "training": {"learning_rate": 0.01}},
    },
    "backbones": {"lcnet_0.5": {"architecture": "lcnet_050"}, "lcnet_050": {}},
}
RATE = {"low": 1e-4, "high": 1e-2, "log": True}
HEAD = "models.hybrid.head"
WIDE: dict[str, Any] = {
    "training.learning_rate": RATE,
    "training.batch_size": {"low": 16, "high": 128, "step": 16},
    "training.optimizer": ["adam", "sgd"],
    "training.momentum": {"low": 0.1, "high": 0.99, "when": {"training.optimizer": "sgd"}},
    "training.augmentation.crop_padding": [0, 2],
    "training.input_size": [None, 28],
    f"{HEAD}.layers": {"low": 1, "high": 3, "when": {f"{HEAD}.kind": ["quantum", "sine"]}},
    f"{HEAD}.kind": ["quantum", "sine", "linear"],
    f"{HEAD}.normalise": {"choices": [True, False], "when": {f"{HEAD}.kind": ["quantum", "sine"]}},
    "circuits.ry.seed": {"low": 0, "high": 99},
    "backbones.lcnet_0.5.strides": [[2, 2, 2, 2, 2], [1, 2, 1, 2, 2]],
}


def space(searched: dict[str, Any], model: str = "hybrid", backbone: str = "lcnet_0.5", **settings: Any) -> Space:
    return Space.of(parse_params({**BASE, **settings, "tuning": {"space": searched}}), model, backbone)


def test_keys_of_all_sections_are_drawn_and_stand_in_params() -> None:
    wide = space(WIDE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds, momenta = set(), 0
    for _ in range(40):
        trial = study.ask()
        setting = wide.draw(trial)
        params = wide.with_setting(setting)
        training, model = params.training, params.models["hybrid"]
        assert training.learning_rate == setting["training.learning_rate"]
        assert training.batch_size == setting["training.batch_size"]
        assert training.batch_size % 16 == 0
        assert params.circuits["ry"].seed == setting["circuits.ry.seed"]
        assert list(params.backbones["lcnet_0.5"].strides) == setting["backbones.lcnet_0.5.strides"]
        assert model.head.kind == setting[f"{HEAD}.kind"]
        # conditional keys are there under their conditions, and only there
        assert (f"{HEAD}.layers" in setting) == (model.head.kind in ("quantum", "sine"))
        assert ("training.momentum" in setting) == (training.optimizer == "sgd")
        assert wide.of_trial(trial.params) == setting
        kinds.add(model.head.kind)
        momenta += "training.momentum" in setting
    assert kinds == {"quantum", "sine", "linear"}
    assert 0 < momenta < 40


def test_the_default_is_what_params_says_and_can_be_told_to_a_trial() -> None:
    wide = space(WIDE, training={"learning_rate": 0.002})
    assert wide.default == {
        "training.learning_rate": 0.002,
        "training.batch_size": 64,
        "training.optimizer": "adam",
        "training.augmentation.crop_padding": 0,
        "training.input_size": None,
        f"{HEAD}.kind": "quantum",
        f"{HEAD}.layers": 1,
        f"{HEAD}.normalise": True,
        "circuits.ry.seed": 42,
        "backbones.lcnet_0.5.strides": [2, 2, 2, 2, 2],
    }
    assert Faults(wide).view(wide.with_setting(wide.default)) == Faults(wide).view(wide.params)
    study = optuna.create_study()
    study.enqueue_trial(wide.as_drawn(wide.default))
    assert wide.draw(study.ask()) == wide.default


def test_a_key_that_a_condition_leaves_out_is_removed_from_params() -> None:
    momentum = {key: WIDE[key] for key in ("training.optimizer", "training.momentum")}
    sgd = space(momentum, training={"optimizer": "sgd", "momentum": 0.5})
    assert sgd.default == {"training.optimizer": "sgd", "training.momentum": 0.5}
    assert sgd.with_setting({"training.optimizer": "adam"}).training.optimizer == "adam"


def test_without_a_space_it_lies_around_params() -> None:
    around = space({}, "own")
    assert around.default == {
        "models.own.training.learning_rate": 0.01,
        "training.batch_size": 64,
        "training.schedule": "constant",
    }
    rate = around.dimensions["models.own.training.learning_rate"]
    assert (rate.low, rate.high, rate.log) == (pytest.approx(0.001), pytest.approx(0.1), True)


@pytest.mark.parametrize(
    ("searched", "message"),
    [
        ({"training.learnin_rate": RATE}, r"training.learnin_rate: unknown key .*; remove it or correct its spelling"),
        ({"learning_rate": RATE}, r"learning_rate: no key of a fit; they begin with training\., models\."),
        ({"circuits.rz.seed": [1, 2]}, r"circuits.rz.seed: none of `circuits` .*\(there: ry\)"),
        ({"training.batch_size": [1, 64]}, r"training.batch_size: 1: .*greater than or equal to 2 \(given 1\)"),
        ({"training.momentum": {"low": 0.1, "high": 0.9}}, "the optimizer `adam` does not read `momentum`"),
        ({f"{HEAD}.layers": [1, 9]}, r"head.layers: 9: .*less than or equal to 4"),
        ({"training.device": ["auto", "cpu"]}, "training.device: no fit of hybrid on lcnet_0.5 reads it"),
        ({"training.learning_rate": {"low": 0.1, "high": 1.0}}, "params.yaml has 0.001, outside 0.1 to 1.0; widen"),
        ({"training.schedule": ["cosine"]}, r"params.yaml has 'constant', which is none of \['cosine'\]; add it"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_trial(searched: dict[str, Any], message: str) -> None:
    with pytest.raises(TuningError, match=message):
        space(searched)


def test_a_key_that_the_models_own_section_hides_is_not_read() -> None:
    with pytest.raises(TuningError, match=r"no fit of own .* reads it: models.own.training has its own"):
        space({"training.learning_rate": RATE}, "own")


@pytest.mark.parametrize(
    ("searched", "message"),
    [
        ({"training.epochs": {"low": 5, "high": 2}}, "low: 5, high: 2 is no range"),
        ({"training.epochs": {"low": 5}}, "a range needs `low` and `high`"),
        ({"training.epochs": []}, "no choice is left"),
        ({"training.epochs": [2, 2]}, "holds a choice twice"),
        ({"training.epochs": 3}, "neither a list of choices nor a range"),
        ({"training.learning_rate": {"low": 0, "high": 1, "log": True}}, "`log: true` needs a `low` above 0"),
        ({"a.b": {"choices": [1], "when": {"c.d": 1}}}, "c.d is no other key of the space"),
        ({"a.b": {"choices": [1], "when": {"c.d": 2}}, "c.d": [1]}, "2 is none of its choices"),
        (
            {"a.b": {"choices": [1], "when": {"c.d": 1}}, "c.d": {"choices": [1], "when": {"a.b": 1}}},
            "the conditions of a.b, c.d wait for each other",
        ),
    ],
)
def test_a_space_that_means_nothing_is_no_params(searched: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        parse_params({**BASE, "tuning": {"space": searched}})


def test_models_that_are_searched_together_have_their_own_keys_and_share_the_others(tmp_path: Path) -> None:
    keys = {"training.learning_rate": RATE, "circuits.ry.seed": [42, 1], f"{HEAD}.layers": [1, 2]}
    assert list(space(keys).dimensions) == list(keys)
    assert list(space(keys, "classical").dimensions) == ["training.learning_rate"]
    params = parse_params({**BASE, "tuning": {"space": keys}})
    check_all_read(params, ["classical", "hybrid"])
    with pytest.raises(TuningError, match=r"circuits.ry.seed: none of classical, own reads it"):
        check_all_read(params, ["classical", "own"])
    with pytest.raises(TuningError, match=r"models.hybrid.head.layers: of none of the models"):
        check_all_read(parse_params({**BASE, "tuning": {"space": {f"{HEAD}.layers": [1, 2]}}}), ["own"])
