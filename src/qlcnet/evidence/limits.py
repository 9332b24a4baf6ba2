"""Closed forms of confidence limits: what they need is an estimate, and a standard error or a number of members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

LEVEL = 0.95


@dataclass(frozen=True)
class Limits:
    """An interval of `value`, in the metric's own unit, and the name of the method that made it."""

    value: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class TooFew:
    """Why there is no interval. needs: how many of what `reason` counts it would take; None: no number of them."""

    reason: str
    needs: int | None = None

    def __str__(self) -> str:
        return self.reason if self.needs is None else f"too few: {self.reason}, {self.needs} are needed"


def wilson(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Limits of a share of n members by inverting the score test (Wilson 1927); n need not be whole."""
    z = float(special.ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # at 0 and at 1 the limit is the share itself, which rounding would miss
    return (0.0 if share == 0 else float(centre - half)), (1.0 if share == 1 else float(centre + half))


def modified_wilson(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's limits, but Poisson's where very few members are on one side (Brown, Cai and DasGupta 2001, 4.1.1).

    With x = 1 or 2 (to 3 from n = 51 on) the lower limit is lambda / n, where a Poisson variable of mean lambda is
    below x with probability `level`; likewise for n - x above. Their table ends at n = 100; the same few members of
    more are the same Poisson problem. x counts as the whole number that is nearest, since n need not be whole.
    """
    low, high = wilson(share, n, level)
    few = 2.5 if n <= 50 else 3.5
    if 0 < share * n < few:
        low = float(special.gammaincinv(share * n, 1 - level) / n)
    if 0 < (1 - share) * n < few:
        high = 1 - float(special.gammaincinv((1 - share) * n, 1 - level) / n)
    return low, high


def mover(
    values: np.ndarray, lows: np.ndarray, highs: np.ndarray, correlations: np.ndarray | None = None
) -> tuple[float, float]:
    """Limits of the mean of K estimates from their own limits, (K,) each (Zou and Donner 2008; Zou 2007).

    The variance is recovered on each side from that side's limits, so skewness is kept. correlations: (K, K) of the
    estimates; None: independent.
    """
    mean, below, above = values.mean(), values - lows, highs - values
    known = np.eye(len(values)) if correlations is None else correlations
    low, high = (np.sqrt(max(side @ known @ side, 0.0)) / len(values) for side in (below, above))
    return float(mean - low), float(mean + high)


def on_logit(value: float, error: float, df: float, level: float = LEVEL) -> tuple[float, float]:
    """Limits of a value between 0 and 1 from its standard error: t with df, symmetric on the scale log(v / (1 - v))."""
    step = t_quantile(df, level) * error / (value * (1 - value))
    return moved_on_logit(value, -step), moved_on_logit(value, step)


def on_log(value: float, error: float, df: float, level: float = LEVEL) -> tuple[float, float]:
    """Limits of a positive value: t with df, symmetric on the scale log(v)."""
    step = t_quantile(df, level) * error / value
    return float(value * np.exp(-step)), float(value * np.exp(step))


def on_fisher_z(value: float, error: float, df: float, level: float = LEVEL) -> tuple[float, float]:
    """Limits of a value between -1 and 1: t with df, symmetric on the scale atanh(v)."""
    step = t_quantile(df, level) * error / (1 - value**2)
    return float(np.tanh(np.arctanh(value) - step)), float(np.tanh(np.arctanh(value) + step))


def moved_on_logit(value: float, step: float) -> float:
    """expit(logit(value) + step); 0 and 1 stay."""
    if value <= 0 or value >= 1:
        return float(min(max(value, 0.0), 1.0))
    return float(1 / (1 + (1 - value) / value * np.exp(-step)))


def t_quantile(df: float, level: float = LEVEL) -> float:
    """Half-width of a two-sided interval in standard errors."""
    return float(special.stdtrit(df, (1 + level) / 2))
