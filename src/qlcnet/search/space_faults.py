"""What is wrong with a space, found before the first trial: on the schema, and by what a fit of the model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlcnet.config import Dimension, Params, ParamsError, fingerprint
from qlcnet.data.sharing import recipe_of
from qlcnet.fit.identity import settings_of
from qlcnet.search.errors import TuningError
from qlcnet.search.space import SECTIONS, Setting, Space

RANDOM_PROBES = 64  # settings tried on the schema besides the ends of each key
ABSENT = object()


@dataclass(frozen=True)
class Faults:
    """The faults of a space, a line each."""

    space: Space

    def in_words(self) -> Iterator[str]:
        """What is wrong with the space, a line each."""
        unknown = [line for key in self.space.dimensions for line in self._unknown(key)]
        if unknown or not self.space.dimensions:
            yield from unknown or ["no key is left to search; write one under tuning.space"]
            return
        refused = list(self._refused())
        yield from refused
        if not refused:
            yield from self._outside()
            yield from self._not_read()

    def _unknown(self, key: str) -> Iterator[str]:
        head, *rest = key.split(".")
        if head not in SECTIONS or not rest:
            yield f"{key}: no key of a fit; they begin with {', '.join(f'{one}.' for one in SECTIONS)}"
            return
        parts = self.space.path_of(key)
        if head in ("circuits", "channels", "models", "backbones"):
            there = getattr(self.space.params, head)
            if parts[1] not in there or len(parts) < 3:
                yield f"{key}: none of `{head}` in params.yaml is meant (there: {', '.join(there) or 'none'})"

    def _refused(self) -> Iterator[str]:
        """Settings that the schema refuses; of each key the ends, and some at random."""
        for probe in self._probes():
            try:
                self.space.with_setting(probe)
            except ParamsError as error:
                changed = {key: value for key, value in probe.items() if value != self.space.default.get(key, ABSENT)}
                about = str(error).partition("\n")[2].strip() or str(error)
                yield f"{_words(changed or probe)}: {about}"

    def _outside(self) -> Iterator[str]:
        """Trial 0 is the setting of params.yaml, so that it has to be in the space."""
        for key, value in self.space.default.items():
            dimension = self.space.dimensions[key]
            if dimension.choices is not None:
                if value not in dimension.choices:
                    yield f"{key}: params.yaml has {value!r}, which is none of {list(dimension.choices)}; add it"
            elif not isinstance(value, int | float):
                yield f"{key}: params.yaml has {value!r}, which is in no range; write a list of choices"
            elif not dimension.low <= value <= dimension.high:  # type: ignore[operator]
                yield f"{key}: params.yaml has {value!r}, outside {dimension.low} to {dimension.high}; widen the range"

    def _not_read(self) -> Iterator[str]:
        """Keys of which no value changes what a fit of this model is."""
        for key in self.space.dimensions:
            views = {
                self.view(self.space.with_setting(self._completed({**base, key: value})))
                for base in [self._activated(key)]
                for value in self._ends(key)
            }
            if len(views) == 1 and len(self._ends(key)) > 1:
                own = self.space.params.models[self.space.model].training
                name = key.removeprefix("training.").split(".")[0]
                why = (
                    f": models.{self.space.model}.training has its own"
                    if key.startswith("training.") and name in own
                    else ""
                )
                fit = f"{self.space.model} on {self.space.backbone}"
                yield f"{key}: no fit of {fit} reads it{why}; remove it from the space"

    def view(self, params: Params) -> str:
        """Fingerprint of all that a fit of this model reads of params.yaml, but for the seed and the data."""
        model, backbone = params.models[self.space.model], params.backbones[self.space.backbone]
        sections = {**params.circuits, **params.channels}
        inputs = [
            [str(one.channel), one.kind, recipe_of(sections[one.name])] if one.is_stored else str(one)
            for one in model.inputs
        ]
        weights = str(backbone.pretrained) if isinstance(backbone.pretrained, str) else None
        return fingerprint(
            [settings_of(self.space.backbone, backbone, model, params.training_of(self.space.model), weights), inputs]
        )

    def _probes(self) -> Iterator[dict[str, Any]]:
        yield self.space.default
        for key in self.space.dimensions:
            base = self._activated(key)
            for value in self._ends(key):
                yield self._completed({**base, key: value})
        rng = np.random.default_rng(0)
        for _ in range(RANDOM_PROBES):
            yield self._completed({}, rng)

    def _ends(self, key: str) -> Sequence[Any]:
        """All choices, or both ends of a range."""
        dimension = self.space.dimensions[key]
        if dimension.choices is not None:
            return dimension.choices
        whole = self.space.is_whole(key)
        return [int(end) if whole else float(end) for end in (dimension.low, dimension.high)]  # type: ignore[arg-type]

    def _activated(self, key: str) -> dict[str, Any]:
        """The default, but for what must be otherwise for `key` to be searched."""
        wanted: dict[str, Any] = {}
        todo = [key]
        while todo:
            for other, values in self.space.dimensions[todo.pop()].when.items():
                if wanted.get(other, self.space.current(other)) not in values:
                    wanted[other] = values[0]
                todo.append(other)
        return self._completed({**wanted})

    def _completed(self, fixed: Setting, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """A whole setting with these values: the others at random, or as in params.yaml where that is in the space."""
        setting: dict[str, Any] = {}
        for key in self.space.dimensions:
            if not self.space.is_active(key, setting):
                continue
            if key in fixed:
                setting[key] = fixed[key]
            elif rng is not None:
                setting[key] = self._ends(key)[int(rng.integers(len(self._ends(key))))]
            else:
                now = self.space.current(key)
                setting[key] = self._ends(key)[0] if now is None and self.space.dimensions[key].choices is None else now
                if self.space.dimensions[key].when and not _is_in(self.space.dimensions[key], setting[key]):
                    setting[key] = self._ends(key)[0]
        return setting


def check_all_read(params: Params, models: Sequence[str]) -> None:
    """Raise TuningError for keys of models, circuits or channels that none of `models` has or reads."""
    read = {name for model in models for name in params.models[model].stored}
    for key in params.tuning.space:
        head, _, rest = key.partition(".")
        if head == "models" and not any(rest.startswith(f"{model}.") for model in models):
            raise TuningError(f"tuning.space.{key}: of none of the models that are searched ({', '.join(models)})")
        if head in ("circuits", "channels") and not any(rest.startswith(f"{name}.") for name in read):
            raise TuningError(f"tuning.space.{key}: none of {', '.join(models)} reads it")


def _is_in(dimension: Dimension, value: Any) -> bool:
    if dimension.choices is not None:
        return value in dimension.choices
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high  # type: ignore[operator]


def _words(setting: Setting) -> str:
    return ", ".join(f"{key}: {value}" for key, value in setting.items())
