"""The first few of many names, as a message shows them."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SHOWN = 5
LONGEST = 250  # letters of all of them together


def shown(names: Sequence[str]) -> str:
    """The first few of many, as one can print them, long ones cut in the middle: of a path the end tells most."""
    few = names[:MOST_SHOWN]
    most = LONGEST // max(1, len(few))
    cut = [name if len(name) <= most else f"{name[: most // 3]}…{name[-(most // 2) :]}" for name in few]
    texts = ["".join(letter if letter.isprintable() else "?" for letter in name) for name in cut]
    return ", ".join(texts) + (f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else "")
