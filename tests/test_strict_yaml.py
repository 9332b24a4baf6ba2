"""params.yaml is read as DVC reads it, without surprises and without sizes that grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML  # what DVC reads params.yaml with

from qlcnet.config import ParamsError, load_params, parse_params
from qlcnet.config.strict_yaml import StrictYAMLError, parse_yaml, read_yaml

STUDIES = Path(__file__).resolve().parents[1] / "studies"
TINY: dict[str, Any] = {
    "seed": 42,
    "datasets": {"tiny": {"source": {"kind": "digits", "size": 8}, "protocol": {"folds": 2}, "images_per_class": 4}},
    "circuits": {}, "channels": {}, "models": {"classical": {"inputs": ["image"], "head": "linear"}},
    "backbones": {"lcnet_050": {}}, "training": {"epochs": 1, "batch_size": 16}, "report": {"examples": 4},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[no, yes, on, off, y]", ["no", "yes", "on", "off", "y"]),
        ("[true, False, null, ~, '']", [True, False, None, None, ""]),
        ("[1:30, 010, 0o10, 0x10, +5, 1_000]", ["1:30", 10, 8, 16, 5, "1_000"]),
        ("[1e-3, 1.5, .5, 3., -1E4]", [1e-3, 1.5, 0.5, 3.0, -1e4]),
        ("2026-11-27", "2026-11-27"),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)
def test_words_and_numbers_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_are_what_dvc_reads(path: Path) -> None:
    assert read_yaml(path) == YAML(typ="safe", pure=True).load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key `a` is there already, on line 1"),
        ("a: {b: 1, b: 2}", "line 1: the key `b` is there already, on line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("a: [1, 2", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("? [1, 2]\n: 3", "a key must be a word"),
        ("a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)), "values"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_said_in_short(text: str, said: str) -> None:
    with pytest.raises(StrictYAMLError, match=said) as raised:
        parse_yaml(text)
    assert len(str(raised.value)) < 700


def test_a_file_of_another_encoding_or_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 1\n", encoding="utf-16")
    with pytest.raises(ParamsError, match=r"params\.yaml: it is no UTF-8 text \(UTF-16, as PowerShell's"):
        load_params(path)
    path.write_bytes(b"# " + b"x" * (1 << 20) + b"\nseed: 1\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: it has 1,048,58\d bytes"):
        load_params(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ParamsError, match=r"params\.yaml: it is no regular file"):
        load_params(path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("training.epochs", True, "training: `epochs` should be a number (given 'True')"),
        ("training.epochs", "10", "training: `epochs` should be a number (given '10')"),
        ("training.learning_rate", float("inf"), "training.learning_rate: input should be a finite number"),
        ("training.epochs", 10**20, "training.epochs: input should be less than or equal to 100000"),
        ("seed", 10**20, "seed: input should be less than 9223372036854775808"),
        ("report.examples", 10**10, "report.examples: input should be less than or equal to 16"),
        ("models", {"m" * 300: {"inputs": ["image"]}}, "should have at most 64 characters"),
        ("training.optimizer", "x" * 5000, "training.optimizer: input should be 'adam', 'adamw' or 'sgd'"),
    ],
)
def test_values_have_bounds_and_messages_stay_short(place: str, value: Any, said: str) -> None:
    *sections, key = place.split(".")
    raw: dict[str, Any] = {name: dict(v) if isinstance(v, dict) else v for name, v in TINY.items()}
    inner = raw
    for section in sections:
        inner = inner[section]
    inner[key] = value
    with pytest.raises(ParamsError) as raised:
        parse_params(raw)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 800


def test_a_class_that_is_called_true_belongs_in_quotes() -> None:
    source = {"kind": "npz", "path": "a.npz", "md5": "0" * 32, "class_names": [True, "other"]}
    with pytest.raises(ParamsError, match=r"class_names\.0: .*\(given True\); if it is a word, write it in quotes"):
        parse_params({**TINY, "datasets": {"own": {"source": source}}})
