"""Coverage and width of every interval of one model, shape by shape."""

from __future__ import annotations

from collections.abc import Mapping

from .cells import Cell


def coverage_cells() -> Mapping[str, Cell]:
    """The cells of `--part intervals`."""
    return {}
