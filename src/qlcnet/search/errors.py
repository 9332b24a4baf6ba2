"""The error of this room."""

from __future__ import annotations


class TuningError(ValueError):
    """The search cannot be run as asked; the message says why and what to do."""
