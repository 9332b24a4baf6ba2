"""Random numbers that are the same on every numpy release."""

from __future__ import annotations

import math

import numpy as np


class RawStream:
    """Random numbers from PCG64's raw output: numpy promises these for ever, its Generator's methods not."""

    def __init__(self, seed: int, stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,)))

    def uniform(self) -> float:
        """In [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self.uniform() * n)

    def angle(self) -> float:
        """In [0, 2 pi)."""
        return self.uniform() * 2.0 * math.pi

    def normal(self) -> float:
        """Of the standard normal distribution (Box and Muller 1958)."""
        return math.sqrt(-2.0 * math.log1p(-self.uniform())) * math.cos(self.angle())
