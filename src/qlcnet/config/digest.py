"""The fingerprint of any slice of params.yaml, and of what is derived from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


def canonical(value: Any) -> Any:
    """Models, tuples and paths as plain JSON values, so that equal settings have one text."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    return value


def fingerprint(value: Any) -> str:
    """32 hex digits that change when anything in `value` (models, dicts, lists, scalars) changes."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def portable_path(path: str) -> str:
    """A path as it may be written into a project: of an absolute one the file's name, as folders differ by machine."""
    pure = PurePath(path)
    return pure.name if pure.is_absolute() else pure.as_posix()
