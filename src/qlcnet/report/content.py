"""What a section of the report is made of: text, notes, tables, figures, pictures. Rendering is page.py's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from qlcnet.evidence.intervals import Outcome
from qlcnet.evidence.limits import Limits
from qlcnet.evidence.summary import Estimate
from qlcnet.report.differences import StudyEvidence
from qlcnet.report.study import Study
from qlcnet.report.summary import Summaries, rounded


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, and the number to sort by where text and number differ."""

    text: str
    sort_by: float | None = None
    detail: str = ""  # smaller, below the text: an interval
    patch: tuple[int, ...] | None = None  # pixels of a 2 x 2 patch to mark beside the text
    is_code: bool = False

    @property
    def is_number(self) -> bool:
        return self.sort_by is not None


@dataclass(frozen=True)
class Text:
    """A paragraph. `**bold**` and `` `code` `` are the only markup."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph that the reader must not miss; `kind` is `info` or `warning`."""

    text: str
    kind: str = "info"


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers, sortable by any column. stacks: on a narrow screen cells stand below each other."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""
    sortable: bool = True
    stacks: bool = False


@dataclass(frozen=True)
class Plot:
    """A drawn figure, embedded as SVG and written to results/figures/<name>.svg."""

    name: str  # unique in the report: part of file names and element ids
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Picture:
    """A PNG file, embedded and written to results/figures/<name>.png."""

    name: str
    path: Path
    caption: str


@dataclass(frozen=True)
class Row:
    """Plots side by side where the window is wide enough."""

    plots: Sequence[Plot]


@dataclass(frozen=True)
class Details:
    """Blocks that can be folded away."""

    title: str
    blocks: Sequence[Any]
    is_open: bool = True


@dataclass(frozen=True)
class Code:
    """Lines shown as they are, for example a circuit."""

    text: str


Block = Text | Note | Heading | Table | Plot | Picture | Row | Details | Code


@dataclass(frozen=True)
class Context:
    """What every section is built from: the study, its summaries and its comparisons, as in summary.json."""

    study: Study
    summaries: Summaries
    differences: StudyEvidence


@dataclass(frozen=True)
class Section:
    """One entry of the report: an anchor, a title, and what builds its blocks (no blocks: it is left out)."""

    id: str
    title: str
    build: Callable[[Context], Sequence[Block]]


def number(value: float, digits: int = 3, detail: str = "") -> Cell:
    """A cell with a rounded number, a dash where it is NaN."""
    kept = rounded(value)
    return Cell("–") if kept is None else Cell(f"{kept:.{digits}f}", kept, detail)


def estimated(estimate: Estimate) -> Cell:
    """A cell with the value, below it the interval where there is one."""
    return number(estimate.shown, detail=interval_words(estimate.interval))


def mean_sd(estimate: Estimate, detail: str = "") -> Cell:
    """A cell with `0.812 ± 0.014`: mean and sd over fits, the mean alone where there is one fit."""
    cell = number(estimate.fold_mean, detail=detail)
    sd = rounded(estimate.fold_sd)
    return cell if sd is None else replace(cell, text=f"{cell.text} ± {sd:.3f}")


def count(value: int) -> Cell:
    """A cell with a whole number, thousands apart."""
    return Cell(f"{value:,}", value)


def interval_words(outcome: Outcome | None) -> str:
    """`0.812 to 0.841`, `too few` where no interval holds, nothing where none was asked for."""
    if outcome is None:
        return ""
    if not isinstance(outcome, Limits):
        return "too few" if outcome.needs else "no interval"
    low, high = rounded(outcome.low), rounded(outcome.high)
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
