"""The space of a search: keys of params.yaml by their dotted names, drawn by Optuna, put back into params.yaml.

A setting is a dict from key to value that holds the keys whose conditions hold, and no others. Everything that could go
wrong with one is found before the first trial: an unknown name, a value that the schema refuses, a key that no fit of
the model reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qlcnet.config import Dimension, Evidence, Params, parse_params
from qlcnet.search.errors import TuningError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Setting = Mapping[str, Any]
SECTIONS = ("training", "models", "backbones", "circuits", "channels")
RATE_FACTOR = 10.0  # of the default space, to both sides of the rate in params.yaml
DROPPED = object()


@dataclass(frozen=True)
class Space:
    """The keys that are searched for one model on one backbone, and what params.yaml says without them."""

    params: Params  # with that model and that backbone alone
    model: str
    backbone: str
    dimensions: Mapping[str, Dimension]  # each after those that its condition is on

    @classmethod
    def of(cls, params: Params, model: str, backbone: str) -> Space:
        """The space of params.yaml, checked, without keys of other models. Raises TuningError naming each wrong key."""
        alone = _alone(params, model, backbone)
        tuning = (
            alone.tuning if alone.tuning.space else alone.tuning.model_copy(update={"space": _around(alone, model)})
        )
        mine = {key: tuning.space[key] for key in tuning.in_order() if not _is_of_another(key, params, model, backbone)}
        space = cls(alone, model, backbone, mine)
        from qlcnet.search.space_faults import Faults  # which needs a Space

        if wrong := list(dict.fromkeys(Faults(space).in_words())):
            raise TuningError("\n  ".join([f"tuning.space cannot be searched for {model} on {backbone}", *wrong]))
        return space

    # --- settings -----------------------------------------------------------------------------------------------

    @cached_property
    def default(self) -> dict[str, Any]:
        """The setting of params.yaml: trial 0."""
        setting: dict[str, Any] = {}
        for key in self.dimensions:
            if self.is_active(key, setting):
                setting[key] = self.current(key)
        return setting

    def current(self, key: str) -> Any:
        """What params.yaml says of a key, or its default; None where there is no such key."""
        head, *rest = self.path_of(key)
        if head == "training" or (head == "models" and rest[1:2] == ["training"]):
            value: Any = self.params.training_of(self.model).model_dump(mode="json")
            rest = rest if head == "training" else rest[2:]
        else:
            value = self.params.model_dump(mode="json")[head]
        for part in rest:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def is_active(self, key: str, setting: Setting) -> bool:
        """Whether a key is searched, given those before it."""
        return all(other in setting and setting[other] in values for other, values in self.dimensions[key].when.items())

    def with_setting(self, setting: Setting) -> Params:
        """params.yaml with a setting in place. Raises ParamsError."""
        raw = self.params.model_dump(mode="json", exclude_unset=True)
        for key in self.dimensions:
            # what a condition leaves out is left out, also where params.yaml has a value for another condition
            _put(raw, self.path_of(key), setting.get(key, DROPPED))
        return parse_params(raw, "tuning.space")

    def draw(self, trial: optuna.Trial) -> dict[str, Any]:
        """A setting, by Optuna's sampler, or as the trial was told."""
        setting: dict[str, Any] = {}
        for key, dimension in self.dimensions.items():
            if self.is_active(key, setting):
                setting[key] = self._drawn(trial, key, dimension)
        return setting

    def _drawn(self, trial: optuna.Trial, key: str, dimension: Dimension) -> Any:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        of = self.distribution(key)
        if isinstance(of, CategoricalDistribution):
            return _chosen(dimension, trial.suggest_categorical(key, of.choices))
        if isinstance(of, IntDistribution):
            return trial.suggest_int(key, of.low, of.high, log=of.log, step=of.step)
        return trial.suggest_float(key, of.low, of.high, log=of.log, step=of.step)  # type: ignore[attr-defined]

    def of_trial(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The setting of a trial, from its params as Optuna holds them."""
        return {
            key: drawn[key] if dimension.choices is None else _chosen(dimension, drawn[key])
            for key, dimension in self.dimensions.items()
            if key in drawn
        }

    def as_drawn(self, setting: Setting) -> dict[str, Any]:
        """A setting as Optuna holds it: a choice that is a list or a section becomes its JSON."""
        return {
            key: _label(value) if self.dimensions[key].choices is not None else value for key, value in setting.items()
        }

    def distribution(self, key: str) -> BaseDistribution:
        """What Optuna draws a key from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        dimension = self.dimensions[key]
        if dimension.choices is not None:
            return CategoricalDistribution([_label(one) for one in dimension.choices])
        low, high = dimension.low, dimension.high
        assert low is not None
        assert high is not None
        if self.is_whole(key):
            return IntDistribution(int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
        step = None if dimension.step is None else float(dimension.step)
        return FloatDistribution(float(low), float(high), log=dimension.log, step=step)

    def is_whole(self, key: str) -> bool:
        """Whether a range is of whole numbers: its key is one in params.yaml, or is empty there and the ends are."""
        dimension, now = self.dimensions[key], self.current(key)
        ends = (dimension.low, dimension.high)
        return isinstance(now, int) or (now is None and all(isinstance(end, int) for end in ends))

    def path_of(self, key: str) -> list[str]:
        """The key's path. Names of models, backbones, circuits and channels may hold dots themselves."""
        head, _, rest = key.partition(".")
        there: Iterable[str] = getattr(self.params, head, ()) if head in SECTIONS[1:] else ()
        name = max((name for name in there if rest.startswith(f"{name}.")), key=len, default=None)
        return key.split(".") if name is None else [head, name, *rest.removeprefix(f"{name}.").split(".")]


def _alone(params: Params, model: str, backbone: str) -> Params:
    return params.model_copy(
        update={
            "models": {model: params.models[model]},
            "backbones": {backbone: params.backbones[backbone]},
            "evidence": Evidence(margin=params.evidence.margin, alpha=params.evidence.alpha),  # pairs name other models
        }
    )


def _around(params: Params, model: str) -> dict[str, Dimension]:
    """The space where params.yaml has none: the rate a factor to both sides, batches halved and doubled, schedules."""
    training = params.training_of(model)
    own = f"models.{model}.training" if params.models[model].training else "training"
    prefix = {
        key: own if key in params.models[model].training else "training"
        for key in ("learning_rate", "batch_size", "schedule")
    }
    batches = sorted({max(2, training.batch_size // 2), training.batch_size, min(65_536, training.batch_size * 2)})
    rate = training.learning_rate
    return {
        f"{prefix['learning_rate']}.learning_rate": Dimension(
            low=rate / RATE_FACTOR, high=rate * RATE_FACTOR, log=True
        ),
        f"{prefix['batch_size']}.batch_size": Dimension(choices=tuple(batches)),
        f"{prefix['schedule']}.schedule": Dimension(choices=("constant", "cosine", "one-cycle")),
    }


def _is_of_another(key: str, params: Params, model: str, backbone: str) -> bool:
    """Whether a key belongs to another model, backbone, or to channels that this model does not read."""
    head, _, rest = key.partition(".")
    mine = {
        "models": {model},
        "backbones": {backbone},
        "circuits": set(params.models[model].stored),
        "channels": set(params.models[model].stored),
    }
    if head not in mine:
        return False
    named = max((name for name in getattr(params, head) if rest.startswith(f"{name}.")), key=len, default=None)
    return named is not None and named not in mine[head]


def _put(raw: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a nested key, or remove it. A head that is written as its kind alone becomes a section."""
    *path, last = parts
    for part in path:
        if not isinstance(raw.get(part), dict):
            if value is DROPPED:
                return
            raw[part] = {}
        raw = raw[part]
    if value is DROPPED:
        raw.pop(last, None)
    else:
        raw[last] = value


def _label(value: Any) -> Any:
    """A choice as Optuna takes it."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _chosen(dimension: Dimension, label: Any) -> Any:
    """The choice that a label stands for."""
    return next(one for one in dimension.choices or () if _label(one) == label and isinstance(_label(one), type(label)))
