"""Codes of the checks of the report's "How this study could be wrong", as params.yaml may mute them.

What each looks at is evidence/checks.py's, and docs/checks.md has a paragraph a code: tests/evidence/test_checks.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

CheckCode = Literal[
    "QLC001", "QLC002", "QLC003", "QLC004", "QLC005", "QLC006", "QLC007", "QLC008", "QLC009", "QLC010", "QLC011",
    "QLC012", "QLC013", "QLC014",
]  # fmt: skip
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
