"""What every params.yaml must hold: tests add what they are about."""

from __future__ import annotations

from typing import Any

REQUIRED: dict[str, Any] = {"seed": 42, "circuits": {}, "channels": {}, "training": {}}
