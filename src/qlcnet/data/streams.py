"""Random streams: each purpose draws from a seed of its own, so that nothing depends on what ran before."""

from __future__ import annotations

import hashlib


def stream(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed of its own for each (seed, purpose, numbers), for example (42, "order", repeat, fold, epoch)."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
