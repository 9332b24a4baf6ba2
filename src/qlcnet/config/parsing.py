"""Reads params.yaml; every wrong key is named, with what was given and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qlcnet.address import without_password
from qlcnet.config.params import Params
from qlcnet.config.strict_yaml import StrictYAMLError, read_yaml

# what to write where a required key is missing
EXAMPLES = {
    "seed": "seed: 42",
    "datasets": "datasets: {digits: {source: {kind: digits}}}",
    "source": "source: {kind: digits}",
    "circuits": "circuits: {}",
    "channels": "channels: {}",
    "models": "models: {classical: {inputs: [image], head: linear}}",
    "backbones": "backbones: {lcnet_050: {}}",
    "training": "training: {}",
}
LONGEST = 100  # characters shown of what was given


class ParamsError(ValueError):
    """params.yaml cannot be used; the message names each key, what was given and what is allowed."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a params file. Raises ParamsError naming every wrong key."""
    path = Path(path)
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run in the project's folder, or `qlcnet study use demo`") from None
    except (StrictYAMLError, OSError) as error:
        raise ParamsError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected keys such as `datasets:` and `models:`, found {type(raw).__name__}")
    return parse_params(raw, str(path))


def parse_params(raw: Mapping[str, Any], origin: str = "params") -> Params:
    """Validate params that are already parsed YAML. Raises ParamsError naming every wrong key."""
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        found = [dict(item) for item in error.errors()]
    else:
        found = _wrong_training(params)
        if not found:
            return params
    lines = [_explain(item) for item in found]
    count = "1 wrong key" if len(lines) == 1 else f"{len(lines)} wrong keys"
    raise ParamsError("\n  ".join([f"{origin}: {count}", *lines]))


def _wrong_training(params: Params) -> list[dict[str, Any]]:
    """What is wrong with the models' own keys of `training`, once they are merged with the section."""
    found = []
    for name in params.models:
        try:
            params.training_of(name)
        except ValidationError as error:
            found += [{**item, "loc": ("models", name, "training", *item["loc"])} for item in error.errors()]
    return found


def _explain(item: Mapping[str, Any]) -> str:
    loc = [str(part) for part in item["loc"]]
    # pydantic puts the tag of a tagged union (a kind) behind its key; nobody wrote it in params.yaml
    tagged = {"datasets": 3, "channels": 2}  # datasets.<task>.source.<kind>, channels.<name>.<kind>
    tag = tagged.get(loc[0]) if loc and (loc[0] != "datasets" or loc[2:3] == ["source"]) else None
    key = ".".join(part for i, part in enumerate(loc) if part != "[key]" and i != tag)
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (given {_given(item)}); remove it or correct its spelling"
    example = EXAMPLES.get(loc[-1]) if loc else None
    if item["type"] == "missing":
        return f"{key}: missing" + (f"; write `{example}`" if example else "")
    if item["input"] is None and example:
        return f"{key}: empty; write `{example}`"
    if item["type"] == "value_error":
        return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]} (given {_given(item)}){_hint(item)}"


def _given(item: Mapping[str, Any]) -> str:
    """What was written, at most 100 characters of it, without passwords of mirrors."""
    text = without_password(repr(item["input"]))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _hint(item: Mapping[str, Any]) -> str:
    """YAML takes some words for something else."""
    if item["type"] == "string_type" and isinstance(item["input"], bool | int | float):
        return "; if it is a word, write it in quotes"
    return ""
