"""Cells of a simulation: sums over simulated studies, kept after every block, so that a killed run goes on."""

from __future__ import annotations

import ast
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from qlcnet.whole import write_whole

BLOCK = 100  # simulations between two writes of the state
Tally = Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """One shape of study.

    one: the numbers of one simulated study, drawn with this generator; they are added up over studies.
    summary: what the sums over `simulations` studies say, for the committed JSON.
    code: `digest` of the modules that determine the numbers: with other code the sums start anew.
    """

    one: Callable[[np.random.Generator], Tally]
    summary: Callable[[Tally, int], dict[str, Any]]
    code: str
    block: int = BLOCK  # simulations between two writes
    most: int | None = None  # simulations, whatever is asked for: of real fits


def digest(*modules: ModuleType) -> str:
    """Of modules without their comments and layout; taken when they are loaded, as files may change during a run."""
    text = "".join(ast.dump(ast.parse(Path(str(m.__file__)).read_text(encoding="utf-8"))) for m in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Kept:
    """Where a part's numbers are: results in a file in git that all parts share, sums of each cell in `state`."""

    part: str
    results: Path
    state: Path

    def sums(self, name: str, code: str) -> tuple[int, Counter[str]]:
        """Simulations done with this code, and their sums."""
        known = _read(self._file(name))
        return (known["done"], Counter(known["sums"])) if known.get("code") == code else (0, Counter())

    def keep_sums(self, name: str, code: str, done: int, sums: Tally) -> None:
        """State of a cell, so that a killed run goes on."""
        plain = {key: float(number) for key, number in sums.items()}
        write_whole(self._file(name), json.dumps({"cell": name, "code": code, "done": done, "sums": plain}))

    def keep_result(self, name: str, result: Mapping[str, Any]) -> None:
        """A cell of the file in git; the others stay."""
        known = _read(self.results)
        known.setdefault(self.part, {})[name] = result
        write_whole(self.results, _one_cell_a_line(known))

    def _file(self, name: str) -> Path:
        return self.state / f"statistics-{self.part}-{zlib.crc32(name.encode()):08x}.json"


def run(cells: Mapping[str, Cell], simulations: int, kept: Kept) -> Iterator[tuple[str, dict[str, Any]]]:
    """The result of each cell after at least `simulations`; simulation i has one stream, whoever draws it and when."""
    for name, cell in cells.items():
        done, sums = kept.sums(name, cell.code)
        wanted = simulations if cell.most is None else min(simulations, cell.most)
        while done < wanted:
            stop = min(wanted, done + cell.block)
            sums.update(simulate(name, cell, range(done, stop)))  # `+=` of a Counter drops what is not above 0
            done = stop
            kept.keep_sums(name, cell.code, done, sums)
        result = {"simulations": done, **cell.summary(sums, done), "code": cell.code}
        kept.keep_result(name, result)
        yield name, result


def simulate(name: str, cell: Cell, which: range) -> Counter[str]:
    """Sums of the numbered simulations of a cell."""
    sums: Counter[str] = Counter()
    for i in which:
        sums.update(cell.one(np.random.default_rng([zlib.crc32(name.encode()), i])))
    return sums


def standard_error(share: float, of: float) -> float:
    """Of a simulated share."""
    return float(np.sqrt(share * (1 - share) / of)) if of else float("nan")


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # type: ignore[no-any-return]


def _one_cell_a_line(parts: Mapping[str, Mapping[str, Any]]) -> str:
    blocks = []
    for part, cells in sorted(parts.items()):
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cell)}" for name, cell in cells.items())
        blocks.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"
