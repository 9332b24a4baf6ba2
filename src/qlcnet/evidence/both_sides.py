"""What stands on both sides of a split: groups, and exact copies of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BothSides:
    """Units (groups, or distinct images) of which a fit was trained on one image and scored on another.

    units: how many stand on both sides of some fit. images: scored images that this is true of. scored: all of them.
    """

    units: int
    images: int
    scored: int

    @property
    def share(self) -> float:
        """Of the scored images, 0 to 1."""
        return self.images / self.scored if self.scored else 0.0


def on_both_sides(codes: np.ndarray, splits: Iterable[tuple[np.ndarray, np.ndarray]]) -> BothSides:
    """Count over `splits`, each a pair (trained on, scored) of positions of images, int64.

    codes: (N,) integers, equal for images of one unit. An image is counted once, however many fits score it.
    """
    shared: set[int] = set()
    images: set[int] = set()
    scored: set[int] = set()
    for trained_on, scored_here in splits:
        hit = np.isin(codes[scored_here], codes[trained_on])
        shared.update(np.unique(codes[scored_here[hit]]).tolist())
        images.update(scored_here[hit].tolist())
        scored.update(scored_here.tolist())
    return BothSides(len(shared), len(images), len(scored))


def contradictions(codes: np.ndarray, labels: np.ndarray) -> int:
    """Images whose exact copy carries another label. codes, labels: (N,)."""
    order = np.argsort(codes, kind="stable")
    of_code = labels[order]
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    low, high = np.minimum.reduceat(of_code, starts), np.maximum.reduceat(of_code, starts)
    return int(np.diff(np.r_[starts, len(codes)])[low != high].sum())
