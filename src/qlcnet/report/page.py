"""Blocks to one self-contained HTML page: no request leaves it, and equal input gives equal bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from qlcnet.report.content import Block, Cell, Details, Picture, Plot, Section, Table
from qlcnet.report.style import inline, to_svg

SHORT = 24  # characters that a table cell shows without a break


@dataclass
class Page:
    """Renders blocks and keeps the figures it drew, by file name below results/figures."""

    figures: dict[str, bytes] = field(default_factory=dict)

    def render(self, title: str, sections: Sequence[tuple[Section, Sequence[Block]]]) -> str:
        """The whole page."""
        template = _environment().get_template("page.html.j2")
        return template.render(title=title, sections=sections, page=self)

    def svg(self, plot: Plot) -> Markup:
        """The plot as an element of the page; its standalone file is kept."""
        svg = to_svg(plot.figure)
        self._keep(f"{plot.name}.svg", svg.encode())
        return Markup(inline(svg, plot.name, plot.caption))

    def data_uri(self, picture: Picture) -> str:
        """The PNG as a data URI; its file is kept."""
        png = picture.path.read_bytes()
        self._keep(f"{picture.name}.png", png)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"

    def _keep(self, name: str, content: bytes) -> None:
        if name in self.figures:
            raise ValueError(f"two figures of the report are called {name}")
        self.figures[name] = content


def has_closed(blocks: Sequence[Block]) -> bool:
    """Whether a section folds something away at first."""
    return any(isinstance(block, Details) and (not block.is_open or has_closed(block.blocks)) for block in blocks)


def kind_of(block: Block) -> str:
    """Name of the template macro that renders a block."""
    return type(block).__name__.lower()


def as_cell(value: Cell | str) -> Cell:
    """A table cell; plain text stays text."""
    return value if isinstance(value, Cell) else Cell(value)


def is_numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers, and so is set to the right."""
    return any(as_cell(row[column]).is_number for row in table.rows)


def class_of(table: Table, column: int, cell: Cell) -> Markup:
    """The class attribute of a cell: numbers to the right, short texts on one line."""
    if is_numeric(table, column):
        return Markup(' class="number"')
    return Markup(' class="short"' if len(cell.text) <= SHORT else "")


def marked_up(text: str) -> Markup:
    """`**bold**` and `` `code` `` as HTML; everything else escaped."""
    html = escape(text, quote=False)
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html))


def asset(name: str) -> Markup:
    """A file of the templates folder as it is: style and script go into the page."""
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("qlcnet.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        kind_of=kind_of, has_closed=has_closed, as_cell=as_cell, is_numeric=is_numeric, class_of=class_of, asset=asset
    )
    environment.filters["marked_up"] = marked_up
    return environment
