"""One fit, recorded against recomputed: every file, every metric, and where the two first part."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from qlcnet.evidence.metrics import predicted_classes
from qlcnet.fit.fold_folder import CONFIG, FILES, HISTORY, PREDICTIONS, WEIGHTS, read_history
from qlcnet.report.summary import DIGITS
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.partial import Partial
from qlcnet.reproduce.predictions import Predictions
from qlcnet.reproduce.spread import Spread, distance

LOSS = "loss"
ROUNDING = 10.0**-DIGITS  # of a probability: the decimals that summary.json keeps
# of config.json: what may differ between two machines without being another fit
OF_MACHINE = ("computed_on", "numerics", "fingerprint", "code", "files", "epoch_weights")


@dataclass
class FitVerdict:
    """grade, and its basis. metrics: (recorded, recomputed) by name. agreement: share of equal predicted classes.

    divergence: where the two first part. notes: what differs in words. differs: what differs between then and now.
    times: how many times the limit of its range the distance is, where it was held against one. usual: distance of
    losses of two fits of its model.
    """

    fit: str
    grade: Grade
    basis: str
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    agreement: float | None = None
    divergence: str = ""
    notes: list[str] = field(default_factory=list)
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    times: float | None = None
    usual: float = 0.0

    @property
    def largest(self) -> float:
        """The largest difference of a metric."""
        return max((abs(a - b) for a, b in self.metrics.values() if math.isfinite(a - b)), default=0.0)


def compare_fit(
    name: str,
    recorded: Path,
    recomputed: Path,
    spread: Callable[[], Spread],
    partial: Partial | None = None,
    excused: Collection[str] = (),
) -> FitVerdict:
    """The verdict of a fit whose two fold folders are at hand. `spread`: gives that of fits of its model, if asked.

    partial: where the record has a part of the fit; both folders are then of that part. excused: keys of config.json
    that may differ for a reason which is known and named elsewhere.
    """
    files = [file for file in FILES if partial is None or file != WEIGHTS]
    contents = {file: tuple((folder / file).read_bytes() for folder in (recorded, recomputed)) for file in files}
    unequal = [file for file, (then, now) in contents.items() if then != now]
    try:
        configs = [json.loads(content) for content in contents[CONFIG]]
        pair = [Predictions.read_folder(folder) for folder in (recorded, recomputed)]
        metrics = [one.metrics() for one in pair]
    except Exception as error:  # of a damaged file, whatever it raises
        return FitVerdict(name, Grade.DIFFERENT, "every file", notes=[f"a file cannot be read: {error}"])
    then, now = (partial.comparable(config) if partial else config for config in configs)
    differs = differences(then, now)
    names = [metric for metric in metrics[0] if metric in metrics[1]]
    found = FitVerdict(
        name,
        Grade.BYTES,
        "every file",
        {metric: (metrics[0][metric], metrics[1][metric]) for metric in names},
        differs=differs,
    )
    of_fit = [key for key in differs if key.split(".")[0] not in (*OF_MACHINE, *excused)]
    unequal_results = [file for file in unequal if file != CONFIG]
    found.divergence = first_divergence(unequal_results, recorded, recomputed, epoch_of_weights(*configs))
    if of_fit:
        found.grade = Grade.DIFFERENT
        found.notes.append(f"{CONFIG} differs in {', '.join(of_fit)}")
        return found
    vouched = partial is not None and "files" in configs[0] and configs[0]["files"] == configs[1].get("files")
    if vouched and unequal_results:
        found.grade = Grade.DIFFERENT
        found.notes.append(f"{' and '.join(unequal_results)} recorded are not those that the recorded digests are of")
        return found
    if not unequal_results:
        found.agreement = 1.0
        if partial:
            found.grade = Grade.BYTES if vouched else Grade.METRICS
            found.basis = f"predictions and history of {partial.origin}"
            found.notes.append("by digests" if vouched else f"equal in what {partial.origin} has of it: no weights")
        return found
    of_all = len(unequal_results) == len(FILES) - 1
    found.notes.append(
        "all files differ" if of_all else f"{', '.join(unequal_results)} differ{'s' * (len(unequal_results) == 1)}"
    )
    grade_predictions(found, pair[0], pair[1], spread, _is_elsewhere(configs[0], differs, excused))
    return found


def _is_elsewhere(then: Mapping[str, Any], differs: Mapping[str, Any], excused: Collection[str]) -> bool:
    """Whether a fit was recorded on another kind of CPU, device or version than it was made again on, or may have been:
    fits of a time before `computed_on` do not say."""
    explains = ("computed_on", "numerics", *excused)
    return "computed_on" not in then or any(key.split(".")[0] in explains for key in differs)


def grade_predictions(
    found: FitVerdict, then: Predictions, now: Predictions, spread: Callable[[], Spread], is_elsewhere: bool
) -> None:
    """Grade what is not equal in bytes, by its predictions; `is_elsewhere`: on another kind of machine or version."""
    same_rows = all(np.array_equal(getattr(then, key), getattr(now, key)) for key in ("index", "target", "part"))
    if not same_rows or then.probabilities.shape != now.probabilities.shape:
        found.grade = Grade.DIFFERENT
        found.notes.append("the predictions are of other images or labels")
        return
    found.agreement = float((predicted_classes(then.probabilities) == predicted_classes(now.probabilities)).mean())
    largest = float(np.abs(then.probabilities.astype(np.float64) - now.probabilities).max())
    equal = all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in found.metrics.values())
    if equal:
        found.grade = Grade.METRICS
    elif largest <= ROUNDING and found.agreement == 1.0:
        found.grade = Grade.ROUNDING
        found.notes.append(f"probabilities differ by at most {largest:.1e}; the bound is {ROUNDING:.0e}")
    elif not is_elsewhere:
        found.grade = Grade.DIFFERENT
        found.notes.append(
            f"probabilities differ by up to {largest:.1e}, though versions and kind of machine are the same: "
            "nothing explains it"
        )
    elif (known := spread()).limits is None:
        found.grade = Grade.UNKNOWN
        found.notes.append(f"probabilities differ by up to {largest:.1e}; {known.words}")
    else:
        apart = distance(then, now)
        outside, found.times, found.usual = known.outside(apart), known.times(apart), known.usual.get(LOSS, 0.0)
        found.grade = Grade.DIFFERENT if outside else Grade.CONSISTENT
        found.notes.append("; ".join([f"{'outside' if outside else 'inside'} {known.words}", *outside]))


def epoch_of_weights(then: Mapping[str, Any], now: Mapping[str, Any]) -> int | None:
    """The first epoch after which the weights of two fits differ, by the digests in their config.json; None: no such.

    Fits of a time before these digests have none.
    """
    pairs = zip(then.get("epoch_weights", ()), now.get("epoch_weights", ()), strict=False)
    return next((epoch for epoch, (one, other) in enumerate(pairs) if one != other), None)


def first_divergence(unequal: list[str], recorded: Path, recomputed: Path, weights: int | None = None) -> str:
    """Where two fits first part: an epoch with its losses in hexadecimal, else the weights, else the predictions.

    weights: the first epoch after which the weights differ, where that is known.
    """
    losses = _of_losses(unequal, recorded, recomputed)
    if weights is not None and not losses.startswith(tuple(f"epoch {epoch}," for epoch in range(weights + 1))):
        return f"epoch {weights}, the weights after it" + (f"; then {losses}" if losses else "")
    if losses:
        return losses
    if WEIGHTS in unequal:
        return _of_arrays(WEIGHTS, recorded, recomputed)
    return _of_arrays(PREDICTIONS, recorded, recomputed) if PREDICTIONS in unequal else ""


def _of_losses(unequal: list[str], recorded: Path, recomputed: Path) -> str:
    if HISTORY in unequal:
        try:
            then, now = read_history(recorded), read_history(recomputed)
        except Exception as error:
            return f"{HISTORY}: {error}"
        for one, other in zip(then, now, strict=False):
            for key, value in one.items():
                if value != other.get(key) and not (math.isnan(value) and math.isnan(other.get(key, 0.0))):
                    again = other.get(key, math.nan)
                    return f"epoch {int(one['epoch'])}, {key}: {value.hex()} recorded, {again.hex()} recomputed"
        return f"{HISTORY}: {len(then)} epochs recorded, {len(now)} recomputed"
    return ""


def _of_arrays(file: str, recorded: Path, recomputed: Path) -> str:
    try:
        then, now = load_file(recorded / file), load_file(recomputed / file)
    except Exception as error:
        return f"{file}: {error}"
    for name, array in then.items():
        if name not in now or array.shape != now[name].shape:
            return f"{file}: {name} is of another shape"
        if (rows := np.flatnonzero((array != now[name]).ravel())).size:
            return f"{file}: {name}, {len(rows)} of {array.size} numbers, the first at {rows[0]}"
    return f"{file}: its header"


def differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Leaves of two nested mappings that differ, by dotted key: (then, now), None where one lacks it."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(then.keys() | now.keys()):
        one, other = then.get(key), now.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found[f"{prefix}{key}"] = (one, other)
    return found
