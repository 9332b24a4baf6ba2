"""docs/controls.md: its examples can be read, its proofs exist, and no kind or key of a control is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from qlcnet.config import HEADS, Controls, Head, parse_params
from tests.params import REQUIRED

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "controls.md").read_text(encoding="utf-8")
PARAMS = (ROOT / "docs" / "params.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: next(iter(example["models"])))
def test_an_example_can_be_read(example: dict[str, Any]) -> None:
    rest = {**REQUIRED, "datasets": {"digits": {"source": {"kind": "digits"}}}, "backbones": {"lcnet_035": {}}}
    params = parse_params({**rest, **example})
    made = {name for model in params.models.values() for name in model.stored}
    assert made == {*params.channels, *params.circuits}, "everything that is made is read"


def test_every_kind_stands_in_an_example() -> None:
    channels = [table for example in EXAMPLES for table in example.get("channels", {}).values()]
    heads = [model.get("head", "linear") for example in EXAMPLES for model in example["models"].values()]
    kinds = {kind for section in get_args(Controls) for kind in get_args(section.model_fields["kind"].annotation)}
    assert {table["kind"] for table in channels} == kinds
    assert {head if isinstance(head, str) else head["kind"] for head in heads} == set(HEADS)


def test_the_proofs_that_are_named_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    for file, test in named:
        assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_params_md_names_every_key_of_a_head_and_of_a_control() -> None:
    keys = set(Head.model_fields).union(*(section.model_fields for section in get_args(Controls)))
    assert sorted(key for key in keys if f"`{key}`" not in PARAMS) == []
    assert [kind for kind in HEADS if f"`{kind}`" not in PARAMS] == []
