"""`qlcnet plan` as text: what is to do and what it will take, and what was predicted of the fits that are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qlcnet import machine
from qlcnet.config import Params
from qlcnet.cost.calibration import FinishedFit
from qlcnet.grid.forecast import Forecast, make_forecast
from qlcnet.grid.text import count_text, duration, size_text, table

DEFAULTS_ARE = {"cpu": "measured on another machine", "cuda": "which are guesses"}


def plan_text(params: Params, root: Path, workers: int | None) -> str:
    """What `qlcnet plan` prints."""
    forecast = make_forecast(params, root, workers)
    sections = [
        _todo_table(forecast), _faults(forecast), _needs(forecast), _origin(forecast), _finished_table(forecast)
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section)


def _todo_table(forecast: Forecast) -> str:
    head = ["task", "fits", "in store", "to do", "time of fits", f"on {count_text(forecast.workers, 'worker')}", ""]
    rows = [head]
    for task in forecast.tasks:
        fits = task.seconds.values()
        done = len(task.grid.specs) - len(task.grid.todo)
        note = "" if task.is_split else "not fetched and split yet: from what is known of the source"
        rows.append(
            [
                task.grid.task, str(len(task.grid.specs)), str(done), str(len(task.grid.todo)),
                duration(sum(fits)), duration(forecast.makespan(task)), note,
            ]
        )  # fmt: skip
    rows += [[name, "?", "?", "?", "?", "?", f"run `qlcnet fetch {name}` first"] for name in forecast.unknown]
    if len(forecast.tasks) > 1:
        specs, todo = (sum(len(getattr(t.grid, kind)) for t in forecast.tasks) for kind in ("specs", "todo"))
        total = sum(sum(task.seconds.values()) for task in forecast.tasks)
        wall = sum(forecast.makespan(task) for task in forecast.tasks)
        rows.append(["all", str(specs), str(specs - todo), str(todo), duration(total), duration(wall), ""])
    return table(rows)


def _faults(forecast: Forecast) -> str:
    """Networks that cannot take the images: their fits will fail."""
    faults = [(work.size.fault, task.grid.task) for task in forecast.tasks for work in task.work.values()]
    return "\n".join(f"WILL FAIL on {task}: {fault}" for fault, task in dict.fromkeys(faults) if fault)


def _needs(forecast: Forecast) -> str:
    if not any(task.work for task in forecast.tasks):
        return "nothing to do"
    free, workers = machine.free_memory(), count_text(forecast.workers, "worker")
    lines = [f"memory: {size_text(forecast.memory)} for {workers}; {size_text(free)} are free here"]
    if forecast.memory > free:
        lines[0] += ": take fewer workers (--workers), or a cluster (docs/cluster.md)"
    cores = machine.cores()
    if forecast.workers > cores:
        lines.append(f"this machine has {count_text(cores, 'core')}: the time is for workers with a core each")
    fits, data = forecast.disk
    lines.append(
        f"disk: {size_text(fits)} for fits"
        + (f", {size_text(data)} for data" if data else "")
        + "; as much again in DVC's cache"
    )
    lines.append(f"start of each task's workers, in the times above: {duration(forecast.startup)}")
    return "\n".join(lines)


def _origin(forecast: Forecast) -> str:
    devices = sorted({work.device for task in forecast.tasks for work in task.work.values()})
    lines = []
    for device in devices:
        if count := forecast.model.fits.get(device):
            spread = 100 * forecast.model.spread[device]
            lines.append(
                f"cost model ({device}): calibrated on {count_text(count, 'finished fit')}, residual {spread:.0f} %"
            )
        elif device in forecast.model.probed:
            lines.append(
                f"cost model ({device}): defaults, scaled to the speed of this machine by short fits of noise; "
                "finished fits will calibrate it"
            )
        else:
            lines.append(f"cost model ({device}): defaults, {DEFAULTS_ARE[device]}; finished fits will calibrate it")
    return "\n".join(lines)


def _finished_table(forecast: Forecast) -> str:
    groups: dict[tuple[str, str, str], list[FinishedFit]] = {}
    for task in forecast.tasks:
        for spec, fit in task.finished:
            groups.setdefault((spec.task, spec.backbone_name, spec.model_name), []).append(fit)
    if not groups:
        return ""
    rows = [["finished", "backbone", "model", "fits", "predicted", "took", "error"]]
    rows += [[*names, *_predicted_against_actual(fits)] for names, fits in groups.items()]
    if len(groups) > 1:
        rows.append(["all", "", "", *_predicted_against_actual([fit for fits in groups.values() for fit in fits])])
    return table(rows) + "\n(predicted: when the grid was started)"


def _predicted_against_actual(fits: Sequence[FinishedFit]) -> list[str]:
    predicted, actual = sum(fit.predicted_seconds for fit in fits), sum(fit.seconds for fit in fits)
    return [str(len(fits)), duration(predicted), duration(actual), f"{100 * (predicted / actual - 1):+.0f} %"]
