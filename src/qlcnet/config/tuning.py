"""What `qlcnet tune` searches: `tuning` of params.yaml. Never changes a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from qlcnet.config.evidence import Metric
from qlcnet.config.section import Section

Number = int | float


class Dimension(Section):
    """One searched key: a list of choices, or a range from `low` to `high`, both within it.

    A range is of whole numbers where the key is. when: other searched keys and the values of theirs under which this
    one is searched at all; under others it is left out of the setting.
    """

    choices: tuple[Any, ...] | None = None
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Number | None = None
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"choices": value}
        if isinstance(value, Mapping | cls):
            return value
        raise ValueError(f"{value!r} is neither a list of choices nor a range {{low: …, high: …, log: …}}")

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: one if isinstance(one, list | tuple) else (one,) for key, one in value.items()}

    @model_validator(mode="after")
    def _one_of_both(self) -> Dimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("`choices` beside `low`, `high`, `log` or `step`: write a list, or a range")
            if not self.choices:
                raise ValueError("no choice is left; list at least one")
            if len({repr(one) for one in self.choices}) < len(self.choices):
                raise ValueError(f"{list(self.choices)} holds a choice twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("a range needs `low` and `high`; else write a list of choices")
        if self.low >= self.high:
            raise ValueError(f"low: {self.low:g}, high: {self.high:g} is no range: `low` is the smaller one")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log: true` needs a `low` above 0, and no `step`")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step: {self.step:g} is no step; it is above 0")
        return self


class Tuning(Section):
    """Space, objective and folds of a search. An empty `space`: around the settings of params.yaml (docs/search.md)."""

    space: dict[str, Dimension] = Field(default_factory=dict)
    metric: Metric = "auc_macro"
    folds: int = Field(default=5, ge=2, le=20)  # inner folds of an outer training part
    replicates: int = Field(default=1, ge=0, le=20)  # of the default, with other weight seeds; 0: no trial is pruned

    @model_validator(mode="after")
    def _conditions_are_searched(self) -> Tuning:
        for key, dimension in self.space.items():
            for other, values in dimension.when.items():
                parent = self.space.get(other)
                if parent is None or other == key:
                    raise ValueError(f"space.{key}.when: {other} is no other key of the space")
                strange = [value for value in values if value not in (parent.choices or ())]
                if strange:
                    raise ValueError(
                        f"space.{key}.when.{other}: {strange[0]!r} is none of its choices "
                        f"{list(parent.choices or ())}; a condition is on a list of choices"
                    )
        self.in_order()
        return self

    def in_order(self) -> list[str]:
        """The keys of the space, each after those that its condition is on. Raises ValueError for a circle."""
        ordered: list[str] = []
        left = dict(self.space)
        while left:
            free = [key for key, dimension in left.items() if not dimension.when.keys() & left.keys()]
            if not free:
                raise ValueError(f"space: the conditions of {', '.join(left)} wait for each other")
            ordered += free
            for key in free:
                del left[key]
        return ordered
