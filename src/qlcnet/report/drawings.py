"""Drawings from the params: the workflow of the study, and the network of each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from qlcnet.config import Circuit, Head, Model, Params
from qlcnet.report.plots import short_names, shorten
from qlcnet.report.study import Study
from qlcnet.report.style import BOX, EDGE, INK, MUTED, colour_of, make_figure
from qlcnet.report.words import protocol_in_brief, sizes_words

WIDTH = 10.0  # inches: fills the page
LINE = 0.155  # inches a line of text


@dataclass(frozen=True)
class Box:
    """A rounded box: centre and size in inches, a bold title, lines below it, the colour of its edge."""

    x: float
    y: float
    width: float
    height: float
    title: str
    lines: Sequence[str] = ()
    edge: str = EDGE

    def draw(self, axes: Axes) -> None:
        """Put it on axes whose unit is the inch."""
        corner = (self.x - self.width / 2, self.y - self.height / 2)
        shape = FancyBboxPatch(
            corner, self.width, self.height, boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=BOX, edgecolor=self.edge, linewidth=1.1 if self.edge == EDGE else 1.8,
        )  # fmt: skip
        axes.add_patch(shape)
        texts = [(self.title, "bold", INK, 8.8), *((line, "normal", MUTED, 8.0) for line in self.lines)]
        top = self.y + LINE * (len(texts) - 1) / 2
        for i, (text, weight, colour, size) in enumerate(texts):
            axes.text(
                self.x, top - i * LINE, text, ha="center", va="center", fontsize=size, weight=weight, color=colour
            )


def workflow(study: Study) -> Figure:
    """From images to report, with the numbers of this study."""
    params = study.params
    size, gap = 1.78, (WIDTH - 5 * 1.78) / 4
    x = [size / 2 + i * (size + gap) for i in range(5)]
    circuits = list(dict.fromkeys(c for model in params.models.values() for c in model.circuits))
    middle: list[tuple[str, list[str]]] = [("Folds", _lines(_protocols(params), 30, 6))]
    if circuits:
        middle.append(("Quanvolution", _lines([f"{c}: {_circuit_words(params.circuits[c])}" for c in circuits], 28, 5)))
    others = dict.fromkeys(n for model in params.models.values() for n in model.stored if n in params.channels)
    if others:
        middle.append(("Other channels", _lines([f"{n}: {params.channels[n].kind}" for n in others], 28, 5)))
    boxes = [
        ("Images", _lines([f"{t.name}: {len(t.used):,}" for t in study.tasks.values()], 28, 6)),
        ("Training", _lines(_training_lines(study), 28, 8)),
        ("Out-of-fold table", _lines(["every scored image once a repeat, by a network that never saw it"], 28, 6)),
        (
            "Report",
            _lines(["metrics, sd over folds,", "95 % intervals"], 28, 6),
        ),
    ]
    heights = [LINE * (1 + len(lines)) + 0.22 for _, lines in middle]
    height = max(sum(heights) + 0.25 * (len(middle) - 1), *(LINE * (1 + len(lines)) + 0.22 for _, lines in boxes))
    figure, axes = _canvas(height + 0.1)
    centre = height / 2 + 0.05
    top = centre + (sum(heights) + 0.25 * (len(middle) - 1)) / 2
    stacked = []
    for (title, lines), tall in zip(middle, heights, strict=True):
        stacked.append(Box(x[1], top - tall / 2, size, tall, title, lines))
        top -= tall + 0.25
    row = [Box(x[i], centre, size, LINE * (1 + len(b[1])) + 0.22, *b) for i, b in zip((0, 2, 3, 4), boxes, strict=True)]
    for box in (*row, *stacked):
        box.draw(axes)
    for box in stacked:
        _arrow(axes, row[0], box)
        _arrow(axes, box, row[1])
    _arrow(axes, row[1], row[2])
    _arrow(axes, row[2], row[3])
    return figure


def networks(study: Study) -> Figure:
    """One row a model: inputs, fusion, backbone(s), neck, head, logits, with the shapes of this study."""
    params = study.params
    tall = [0.5 * max(1, len(m.inputs)) + 0.42 for m in params.models.values()]
    figure, axes = _canvas(sum(tall) + 0.12 * len(tall))
    y = sum(tall) + 0.12 * len(tall)
    for position, ((name, model), height) in enumerate(zip(params.models.items(), tall, strict=True)):
        y -= height + 0.12
        _network(axes, study, name, model, y + height / 2, colour_of(position))
        if position:
            axes.plot([0, WIDTH], [y + height + 0.09] * 2, color=EDGE, linewidth=0.6)
    return figure


def _network(axes: Axes, study: Study, name: str, model: Model, y: float, colour: str) -> None:
    axes.text(
        0, y + 0.25 * max(1, len(model.inputs)) + 0.08, name, fontsize=9.8, weight="bold", color=colour, va="center"
    )
    tasks = list(study.tasks.values())
    spread = [y - 0.06 + 0.5 * ((len(model.inputs) - 1) / 2 - i) for i in range(len(model.inputs))]
    inputs = [
        Box(0.72, at, 1.36, 0.4, str(one), [sizes_words([task.width(one) for task in tasks], "channel")])
        for one, at in zip(model.inputs, spread, strict=True)
    ]
    total = sizes_words([sum(task.width(one) for one in model.inputs) for task in tasks], "channel")
    shown = short_names(list(study.params.backbones))
    names = ", ".join(shown) if len(shown) <= 2 else f"{shown[0]} … {shown[-1]}"
    y -= 0.06
    if model.fusion == "separate" and len(inputs) > 1:
        bones = [Box(3.35, at, 1.5, 0.4, "backbone", [shorten(names, 26)]) for at in spread]
        joined = Box(4.95, y, 1.1, 0.52, "concatenate", ["embeddings"])
        pairs = [*zip(inputs, bones, strict=True), *((bone, joined) for bone in bones)]
        last, boxes = joined, [*inputs, *bones, joined]
    else:
        stack = Box(2.3, y, 1.1, 0.52, "stack", [total]) if len(inputs) > 1 else None
        bone = Box(3.95, y, 1.6, 0.52, "backbone", [shorten(names, 28)])
        pairs = [*((i, stack or bone) for i in inputs), *([(stack, bone)] if stack else [])]
        last, boxes = bone, [*inputs, *([stack] if stack else []), bone]
    classes = sizes_words([len(t.images.class_names) for t in tasks], "logit")
    for box in _head_boxes(model.head, y, classes, colour):
        pairs.append((last, box))
        boxes.append(box)
        last = box
    for box in boxes:
        box.draw(axes)
    for first, second in pairs:
        _arrow(axes, first, second)


def _head_boxes(head: Head, y: float, classes: str, colour: str) -> list[Box]:
    """Neck, unit and last Linear."""
    if head.kind == "linear":
        return [Box(9.3, y, 1.36, 0.52, "Linear", [classes])]
    neck = Box(6.4, y, 1.4, 0.52, f"neck: Linear to {head.qubits}", ["BatchNorm, tanh" if head.normalise else "tanh"])
    last = Box(9.3, y, 1.36, 0.52, "Linear", [classes])
    if head.kind == "bottleneck":
        return [neck, last]
    unit = {
        "quantum": (
            "quantum circuit",
            [f"{head.qubits} qubits, {head.ansatz}", f"{head.layers} layer" + "s" * (head.layers > 1)],
        ),
        "frozen-quantum": ("fixed circuit", [f"{head.qubits} qubits, {head.ansatz}"]),
        "sine": ("sine", ["−sin(πx + w)"]),
        "mlp": ("perceptron", ["tanh(x + Wx + b)"]),
        "fourier": ("Fourier", ["a cos(ω·πx + φ)"]),
        "stochastic": ("stochastic", [f"{head.shots} draws a unit"]),
    }.get(head.kind, (head.kind, [f"{head.qubits} wide"]))
    return [neck, Box(7.87, y, 1.2, 0.22 + LINE * (1 + len(unit[1])), *unit, edge=colour), last]


def _training_lines(study: Study) -> list[str]:
    params, training = study.params, study.params.training
    fits = sum(len(model.fits) for model in study)
    return [
        f"{len(params.models)} models x {len(params.backbones)} backbones,",
        f"{fits:,} fits" if fits > 1 else "1 fit",
        f"{training.optimizer} {training.learning_rate:g} ({training.schedule})",
        f"batch {training.batch_size}, {training.epochs} epochs",
        "normalised by the training part",
        *([f"{', '.join(own)}: own settings"] if (own := [n for n, m in params.models.items() if m.training]) else []),
    ]


def _protocols(params: Params) -> list[str]:
    return list(dict.fromkeys(protocol_in_brief(task.protocol) for task in params.datasets.values()))


def _circuit_words(circuit: Circuit) -> str:
    if circuit.file is not None:
        return f"own circuit {PurePath(circuit.file).name}, stride {circuit.stride}"
    return f"{circuit.encoding} encoding, {circuit.ansatz} ansatz, stride {circuit.stride}"


def _lines(texts: Sequence[str], width: int, most: int) -> list[str]:
    lines = [line for text in texts for line in wrap(text, width)]
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]


def _canvas(height: float) -> tuple[Figure, Axes]:
    """Axes without decoration over the whole figure, in inches."""
    figure, (axes,) = make_figure(WIDTH + 0.1, height)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(-0.05, WIDTH + 0.05), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _arrow(axes: Axes, start: Box, end: Box) -> None:
    arrow = FancyArrowPatch(
        (start.x + start.width / 2 + 0.02, start.y), (end.x - end.width / 2 - 0.02, end.y),
        arrowstyle="-|>", mutation_scale=8, linewidth=1.1, color=MUTED, shrinkA=0, shrinkB=0,
    )  # fmt: skip
    axes.add_patch(arrow)
