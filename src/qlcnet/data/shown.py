"""The first few of many names, as a message shows them."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SHOWN = 5


def shown(names: Sequence[str]) -> str:
    """The first few of many, as one can print them."""
    texts = ["".join(letter if letter.isprintable() else "?" for letter in name) for name in names[:MOST_SHOWN]]
    return ", ".join(texts) + (f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else "")
