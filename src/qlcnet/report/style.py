"""How figures look, and how they become SVG that follows the page's light or dark theme, byte for byte the same."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

# Okabe and Ito (2008): told apart with every common colour blindness. Yellow is left out: unreadable on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a5195", "#6b7280")
MARKERS = "osD^vPX*"
INK, MUTED, GRID, BOX, EDGE = "#1c2024", "#5f6873", "#dfe3e8", "#eef2f6", "#b6bfc9"
# In the page these follow the theme (style.css); in the files of results/figures they stay as they are.
THEMED = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    BOX: "var(--box)",
    EDGE: "var(--edge)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)},
}
FAMILY = " font-family: 'DejaVu Sans', sans-serif;"  # in the style of every text that matplotlib writes
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # real text: small, selectable, and legible at any size
    "svg.hashsalt": "qlcnet",  # ids from content alone
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so text is measured alike everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify_threshold": 0.3,
}


def lacking(texts: Iterable[str]) -> str:
    """Characters that the figures' font lacks, each once. In SVG they are text: browsers have fonts of their own."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(dict.fromkeys(letter for text in texts for letter in text if ord(letter) not in known))


def drawable(class_names: Sequence[str]) -> tuple[str, ...]:
    """The same names for a picture, which no browser draws: `class 3` for one with characters that the font lacks."""
    return tuple(f"class {label}" if lacking([name]) else name for label, name in enumerate(class_names))


@contextmanager
def figure_style() -> Iterator[None]:
    """Settings that figures are both drawn and saved with."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # one a character; see `lacking`
        matplotlib.rcdefaults()  # a matplotlibrc of the user's must not change the report
        matplotlib.rcParams.update(_RC)
        yield


def make_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: object
) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches with a grid of axes, given row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)  # type: ignore[call-overload]
    return figure, list(axes.flat)


def are_many(models: Sized) -> bool:
    """Whether there are more than colours can tell apart: then a model is a row or a panel with its name."""
    return len(models) > len(COLOURS)


def colour_of(position: int) -> str:
    """The colour of the model at this position in params.yaml: the same in every figure."""
    return COLOURS[position % len(COLOURS)]


def marker_of(position: int) -> str:
    """Its marker: a second way to tell models apart, also beyond the number of colours."""
    return MARKERS[(position + position // len(COLOURS)) % len(MARKERS)]


def to_svg(figure: Figure) -> str:
    """The figure as a standalone SVG: no date, no version, ids from content, coordinates to 1/100 point."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", text.getvalue(), flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def inline(svg: str, name: str, label: str) -> str:
    """A standalone SVG as an element of the page: own ids, colours of the theme, a label for screen readers."""
    body = re.sub(r"\n\s+", "\n", svg[svg.index("<svg") :]).replace(FAMILY, "")  # style.css names the page's own fonts
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", body))  # the others only make a page of many figures large
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    for colour, themed in THEMED.items():
        body = body.replace(colour, themed)
    head, rest = body.split(">", 1)
    width = re.search(r'width="([\d.]+)pt"', head)
    assert width, "matplotlib gives every SVG a width in points"
    pixels = float(width[1]) * 4 / 3
    head = re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", head)
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'{head} role="img" aria-label="{quoted}" style="max-width:{pixels:.0f}px">{rest}'
