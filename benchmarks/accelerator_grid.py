"""What the paper's grid would take by each way that benchmarks/accelerator.py measured: an estimate, and a rough one.

The grid: classical and hybrid LCNet of both paper presets, 80 fits. Seconds of a fit are its training steps times the
way's milliseconds, and, where the way is not `train`, which has both inside, its batches and its evaluation as they
are now: one at a time, each launched kernel by kernel. Widths between those measured are interpolated; 32 px count as
28 px.
Left out: the start of the workers, quanvolution, writing results, and what is lost where the last fits end apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

STUDIES = Path(__file__).resolve().parents[1] / "studies"
PRESETS, MODELS = ("paper-dermamnist", "paper-cifar10"), ("classical", "hybrid")
TARGET = 600  # seconds
NAME = re.compile(r"lcnet_(\d+) (\w+) (\w+) \| ([\w ]+) \| (\d+)")
STEPS = re.compile(r"(train|loop|(single|grouped|products|vmap)( nchw)?( graph| streams)?)")


class Fits(NamedTuple):
    """Fits of one network, one a fold: steps and batches without gradient of one."""

    width: int  # hundredths
    model: str
    folds: int
    steps: int
    evaluations: int


def paper_grid() -> list[Fits]:
    """The 80 fits."""
    from qlcnet.config import load_params
    from qlcnet.cost.workload import TaskShape
    from qlcnet.data.batching import count_batches, count_evaluation_batches

    found = []
    for preset in PRESETS:
        params = load_params(STUDIES / f"{preset}.yaml")
        epochs, batch = params.training.epochs, params.training.batch_size
        for task in params.datasets.values():
            shape = TaskShape.expected(task)
            assert shape is not None
            train, validation, test = next(iter(shape.rows.values()))
            steps = epochs * count_batches(train, batch)
            evaluations = count_evaluation_batches(validation, test, epochs, shape.height, shape.width)
            for backbone in params.backbones:
                width = int(backbone.removeprefix("lcnet_"))
                found += [Fits(width, model, len(shape.rows), steps, evaluations) for model in MODELS]
    return found


def prices(rows: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str, int], dict[tuple[str, int], float]]:
    """Milliseconds by (way, precision, fits at a time), then by (model, width)."""
    found: dict[tuple[str, str, int], dict[tuple[str, int], float]] = {}
    for name, value in rows.items():
        if (match := NAME.fullmatch(name)) and "ms" in value:
            width, model, precision, way, fits = match.groups()
            found.setdefault((way, precision, int(fits)), {})[model, int(width)] = value["ms"]
    return found


def price(of_way: Mapping[tuple[str, int], float], model: str, width: int) -> float | None:
    """Milliseconds at a width, between the two that were measured; the hybrid's where this model was not."""
    known = {w: ms for (kind, w), ms in of_way.items() if kind == model}
    if len(known) < 2:
        known = {w: ms for (kind, w), ms in of_way.items() if kind == "hybrid"}
    if len(known) < 2:
        return None
    low, high = min(known), max(known)
    share = (width - low) / (high - low)
    return known[low] + share * (known[high] - known[low])


def estimates(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`grid_seconds` by way, and which ways are below the target; empty where too little is measured."""
    by_way = prices(rows)
    evaluation = by_way.get(("evaluate", "float32", 1), {})
    batches = rows.get("lcnet_050 hybrid float32 | batches | 1", {}).get("ms", 0.0)

    def seconds(way: str, of_way: Mapping[tuple[str, int], float], grid: list[Fits]) -> Iterator[float]:
        for fits in grid:
            step, other = price(of_way, fits.model, fits.width), price(evaluation, fits.model, fits.width)
            if step is None or (other is None and way != "train"):
                raise LookupError("not measured at two widths")
            beside = 0.0 if way == "train" else fits.steps * batches + fits.evaluations * (other or 0.0)
            yield fits.folds * (fits.steps * step + beside) / 1e3

    found: dict[str, int] = {}
    for (way, precision, fits), of_way in by_way.items():
        if STEPS.fullmatch(way):
            try:
                found[f"{way} {fits} {precision}"] = round(sum(seconds(way, of_way, paper_grid())))
            except LookupError:
                continue
    return {"grid_seconds": found, "under_10_minutes": [way for way, taken in found.items() if taken < TARGET]}
