"""Where does the spread come from? Components of variance over data set, fold, seeds, width and model.

A balanced design with one value a cell and every factor random: expected mean squares (Searle, Casella and McCulloch
1992, Variance Components, chapter 4) are linear in the components, and are solved from the highest interaction down:
E MS_S = sum over T containing S of (product of the levels outside T) sigma^2_T. Interactions are told apart up to all
factors together, which is the residual. A nested factor (fold 0 of one data set has nothing to do with fold 0 of
another) takes that in which it is nested with it wherever it goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


class Unbalanced(ValueError):
    """The values do not fill every combination of the factors once; the message says how many are missing."""


@dataclass(frozen=True)
class Component:
    """One source: a factor, or factors together. variance: its component, before negative ones are set to 0.

    share: of the sum of all components, negative ones as 0 (they say that a source is too small to be seen).
    omega_squared: share of the total sum of squares beyond chance, (SS - df MS_residual) / (SS_total + MS_residual);
    NaN for the residual.
    """

    factors: tuple[str, ...]
    df: int
    sum_of_squares: float
    variance: float
    share: float
    omega_squared: float


@dataclass(frozen=True)
class Decomposition:
    """Components, main sources first; the last is the residual. not_varied: factors with one level, told by no data."""

    components: tuple[Component, ...]
    not_varied: tuple[str, ...]

    def share(self, *factors: str) -> float:
        """Share of the source made of exactly these factors."""
        return next(each.share for each in self.components if set(each.factors) == set(factors))

    def share_with(self, factor: str) -> float:
        """Share of a factor and of its interactions (the residual is none): whether it matters anywhere."""
        return sum(each.share for each in self.components[:-1] if factor in each.factors)


def decompose(
    values: np.ndarray, factors: Mapping[str, Sequence[object]], nested: Mapping[str, str] | None = None
) -> Decomposition:
    """Components of `values` (N,) over `factors`, the level of each value by factor, (N,) each.

    nested: for a factor that in which it is nested ({"fold": "data set"}); its levels are numbered anew in each. Raises
    Unbalanced.
    """
    levels = {name: np.unique(np.asarray(of), return_inverse=True)[1] for name, of in factors.items()}
    varied = [name for name, code in levels.items() if code.max(initial=0) > 0]
    table = _table(values, [levels[name] for name in varied])
    inside = {name: outer for name, outer in (nested or {}).items() if name in varied and outer in varied}
    sources = _sources(varied, inside)
    sums = _sums_of_squares(table, varied, inside, sources)
    size = dict(zip(varied, table.shape, strict=True))
    df = {source: _df(source, size, inside) for source in sources}
    components: dict[frozenset[str], float] = {}
    for source in sorted(sources, key=len, reverse=True):
        above = sum(_outside(size, other) * components[other] for other in components if source < other)
        components[source] = (sums[source] / df[source] - above) / _outside(size, source)
    return Decomposition(
        _described(varied, sources, df, sums, components), tuple(n for n in factors if n not in varied)
    )


def _table(values: np.ndarray, codes: Sequence[np.ndarray]) -> np.ndarray:
    """The values as an array with an axis a factor. Raises Unbalanced."""
    shape = tuple(int(code.max()) + 1 for code in codes)
    cell = np.ravel_multi_index(tuple(codes), shape) if codes else np.zeros(len(values), np.int64)
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    if (count != 1).any():
        raise Unbalanced(
            f"{int((count == 0).sum())} of {len(count)} combinations have no value, {int((count > 1).sum())} several; "
            "a variance decomposition takes one each"
        )
    table = np.empty(int(np.prod(shape)))
    table[cell] = values
    return table.reshape(shape)


def _sources(varied: Sequence[str], nested: Mapping[str, str]) -> list[frozenset[str]]:
    """Every set of factors in which a nested one comes with that in which it is nested; the residual is all."""
    found = {
        _closed(frozenset(some), nested)
        for length in range(1, len(varied) + 1)
        for some in combinations(varied, length)
    }
    place = {name: i for i, name in enumerate(varied)}
    return sorted(found, key=lambda source: (len(source), sorted(place[name] for name in source)))


def _closed(source: frozenset[str], nested: Mapping[str, str]) -> frozenset[str]:
    wider = source | {nested[name] for name in source if name in nested}
    return source if wider == source else _closed(wider, nested)


def _sums_of_squares(
    table: np.ndarray, varied: Sequence[str], nested: Mapping[str, str], sources: Sequence[frozenset[str]]
) -> dict[frozenset[str], float]:
    """Of each source: crossed effects by inclusion and exclusion of means, those that nesting joins added up."""
    sums = dict.fromkeys(sources, 0.0)
    effects: dict[frozenset[str], np.ndarray] = {frozenset(): np.full([1] * table.ndim, table.mean())}
    for length in range(1, len(varied) + 1):
        for some in combinations(varied, length):
            source = frozenset(some)
            axes = tuple(i for i, name in enumerate(varied) if name not in source)
            effect = table.mean(axes, keepdims=True) - sum(of for other, of in effects.items() if other < source)
            effects[source] = effect
            sums[_closed(source, nested)] += float((effect**2).sum()) * table.size / effect.size
    return sums


def _df(source: frozenset[str], size: Mapping[str, int], nested: Mapping[str, str]) -> int:
    """Product of levels - 1, of levels for that in which a factor of the source is nested."""
    outer = {nested[name] for name in source if name in nested}
    return int(np.prod([size[name] - (name not in outer) for name in source]))


def _outside(size: Mapping[str, int], source: frozenset[str]) -> int:
    return int(np.prod([levels for name, levels in size.items() if name not in source]))


def _described(
    varied: Sequence[str],
    sources: Sequence[frozenset[str]],
    df: Mapping[frozenset[str], int],
    sums: Mapping[frozenset[str], float],
    variances: Mapping[frozenset[str], float],
) -> tuple[Component, ...]:
    total = sum(max(0.0, variance) for variance in variances.values())
    residual, everything = frozenset(varied), sum(sums.values())
    noise = sums[residual] / df[residual] if varied else 0.0
    return tuple(
        Component(
            tuple(name for name in varied if name in source),
            df[source],
            sums[source],
            variances[source],
            max(0.0, variances[source]) / total if total > 0 else 0.0,
            (sums[source] - df[source] * noise) / (everything + noise)
            if source != residual and everything > 0
            else float("nan"),
        )
        for source in sources
    )
