"""The house of docs/architecture.md: imports go strictly down, every file has a room, none is long for no reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "qlcnet"
LONGEST = 350  # lines
REASON = "Over 350 lines because"


def floors(page: str) -> dict[str, int]:
    """Floor of each room, from the table of the page."""
    rows = re.findall(r"^\| (\d+) \| `([a-z_]+)(?:\.py|/)` \|", page, flags=re.M)
    return {room: int(floor) for floor, room in rows}


def imported(text: str, package: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever the line stands; `package` is what relative ones start from."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = package.split(".")
                module = ".".join([*parts[: len(parts) - node.level + 1], *([module] if module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def problems(files: dict[str, str], page: str) -> list[str]:
    """Files without a room, and imports that do not go down. `files`: text by path below the package."""
    floor, found = floors(page), []
    for path, text in sorted(files.items()):
        parts = Path(path).with_suffix("").parts
        if parts == ("__init__",):
            continue
        if parts[0] not in floor:
            found.append(f"{path}: its room {parts[0]!r} is not on the page")
            continue
        for name in imported(text, ".".join(("qlcnet", *parts[:-1]))):
            if name.split(".")[0] != "qlcnet":
                continue
            room = name.split(".")[1] if "." in name else ""
            if room == parts[0]:
                continue
            if room not in floor or floor[room] >= floor[parts[0]]:
                found.append(f"{path} imports {name}, which is not below it")
    return found


def read_all() -> dict[str, str]:
    return {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py")}


def test_imports_go_strictly_down() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not problems(read_all(), page)
    rooms = {path.split("/")[0].removesuffix(".py") for path in read_all()} - {"__init__"}
    assert rooms == floors(page).keys(), "every room of the page is there"


@pytest.mark.parametrize(
    "line",
    [
        "from qlcnet.grid.run import run_grid",
        "from qlcnet import grid",
        "import qlcnet.report",
        "def f():\n    from qlcnet.report import study",
        "if TYPE_CHECKING:\n    from qlcnet.grid.grid import Grid",
        "from ..grid import run",
        "from qlcnet import *",
    ],
)
def test_an_import_that_goes_up_is_named(line: str) -> None:
    page = "| 7 | `grid/` | |\n| 7 | `report/` | |\n| 5 | `fit/` | |\n"
    assert len(problems({"fit/spec.py": line}, page)) == 1
    assert problems({"study/new.py": ""}, page) == ["study/new.py: its room 'study' is not on the page"]
    assert not problems(
        {"grid/run.py": "from qlcnet.fit import spec\nfrom qlcnet.grid import plan\nimport numpy"}, page
    )
    assert problems({"grid/run.py": "from qlcnet.report import page"}, page), "rooms of one floor"


def test_no_file_is_long_without_a_reason() -> None:
    long = {path: text for path, text in read_all().items() if text.count("\n") > LONGEST}
    assert not [path for path, text in long.items() if REASON not in (ast.get_docstring(ast.parse(text)) or "")]
