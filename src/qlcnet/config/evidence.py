"""What a study declares before it is run: the question, what difference matters, how often it may be wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qlcnet.config.section import Name, Section

Metric = Literal["accuracy", "balanced_accuracy", "auc_macro", "auc_micro"]  # greater is better, and has a margin
Difference = Annotated[float, Field(gt=0, le=1)]


class Primary(Section):
    """The comparisons that the study is about; every other one is exploratory."""

    metric: Metric
    compare: tuple[tuple[Name, Name], ...]  # [a, b]: is a better than b?

    @field_validator("compare")
    @classmethod
    def _each_pair_once(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if not value:
            raise ValueError("list at least one pair [a, b], or leave `primary` out")
        seen: set[frozenset[str]] = set()
        for a, b in value:
            if a == b:
                raise ValueError(f"[{a}, {b}] compares {a} with itself")
            if frozenset((a, b)) in seen:
                raise ValueError(f"[{a}, {b}] stands twice, whichever is first; a family holds each comparison once")
            seen.add(frozenset((a, b)))
        return value


class Margin(Section):
    """The difference in each metric below which it would not matter which model is better."""

    accuracy: Difference = 0.01
    balanced_accuracy: Difference = 0.02
    auc_macro: Difference = 0.01
    auc_micro: Difference = 0.005

    def size_in(self, metric: str) -> float:
        """The margin of one metric. Raises KeyError for a metric without one."""
        return dict(self)[metric]


class Evidence(Section):
    """What is declared of the statistics. No fit reads it, so that it changes none."""

    primary: Primary | None = None
    margin: Margin = Margin()
    alpha: float = Field(default=0.05, gt=0, lt=0.5)  # share of studies that may err where nothing differs

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_default(cls, values: object) -> object:
        return {} if values is None else values
