"""YAML as DVC reads it (1.2), and strictly: no key twice, no size without bound.

PyYAML reads YAML 1.1, where `no` is false, `1:30` is 90 and `010` is 8, while DVC tracks the same file as 1.2: the two
would see other params. https://yaml.org/spec/1.2.2/#1032-tag-resolution has the rules that are built here.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
MOST_BYTES = 1 << 20  # of a file
MOST_VALUES = 100_000  # of a file, anchors written out: nested ones multiply


class StrictYAMLError(ValueError):
    """A file that is not read; the message says why, without its name."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2, which refuses a key that is there twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # not those of SafeLoader, which are of YAML 1.1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = getattr(key, "value", ""), key.start_mark.line + 1
            if not isinstance(name, str):
                raise StrictYAMLError(f"line {line}: a key must be a word")
            if name in seen:
                raise StrictYAMLError(f"line {line}: the key `{name[:100]}` is there already, on line {seen[name]}")
            seen[name] = line
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Decimal, 0o octal or 0x hexadecimal; a leading zero means nothing."""
        text = str(self.construct_scalar(node))
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), [*first, ""])


def read_yaml(path: Path) -> Any:
    """The content of a file. Raises StrictYAMLError, FileNotFoundError."""
    if path.exists() and not path.is_file():
        raise StrictYAMLError("it is no regular file")
    content = path.read_bytes()
    if len(content) > MOST_BYTES:
        raise StrictYAMLError(f"it has {len(content):,} bytes, more than {MOST_BYTES:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = " (UTF-16, as PowerShell's `>` writes it?)" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise StrictYAMLError(f"it is no UTF-8 text{hint}; save it as UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """The content of a text. Raises StrictYAMLError."""
    try:
        node = yaml.compose(text, _Loader)
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise StrictYAMLError(f"it holds more than {MOST_VALUES:,} values, with its anchors written out")
        loader = _Loader("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise StrictYAMLError("it is nested too deeply, or an anchor holds itself") from None
    except yaml.YAMLError as error:
        raise StrictYAMLError(f"it is not valid YAML: {str(error)[:500]}") from None


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, each alias counted again."""
    if id(node) not in known:
        children: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]
