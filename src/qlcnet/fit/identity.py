"""The identity of a fit: all that determines its bytes, and nothing else. Its digest names the fit in the store.

Not in it: names of task, model, backbone, circuits and classes, the protocol, how many repeats or folds there are, the
git commit, sections that the fit does not read, keys at their default. So a renamed model, another repeat or a new key
with a default fits nothing again, and tasks that share rows share fits (tests/fit/test_identity.py). Imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel

from qlcnet.config import Backbone, Model, Training, fingerprint
from qlcnet.data.fold_table import Split
from qlcnet.data.streams import stream
from qlcnet.fit.code import FIT_PACKAGES

# of `training`: the device is in the tuple, as it was resolved
NOT_A_SETTING = ("device",)


@dataclass(frozen=True)
class Identity:
    """What determines the bytes of a fit, as JSON values.

    rows: digests of the positions and labels of its training, validation and test part. inputs: for each input of the
    model, in order, what is read and how it is decoded. settings: of backbone, model and training, without those at
    their default. seeds: of its order and of its first weights. numerics: versions, threads, layout, device. code: the
    digest of what it runs (fit.code).
    """

    rows: Mapping[str, str]
    classes: int
    image_size: tuple[int, int]  # height and width, to which all inputs are brought
    inputs: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    numerics: Mapping[str, Any]
    code: str

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits."""
        return fingerprint(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What config.json holds of it."""
        return {**asdict(self), "image_size": list(self.image_size), "inputs": list(self.inputs)}


FIELDS = tuple(field.name for field in fields(Identity))  # keys of config.json that make the fingerprint


def rows_of(split: Split, labels: np.ndarray) -> dict[str, str]:
    """Digest of each part of a fit: positions and labels of its images."""
    digests = {}
    for part in ("train", "validation", "test"):
        index = getattr(split, part)
        digest = hashlib.sha256(np.ascontiguousarray(index, "<i8").tobytes())
        digest.update(np.ascontiguousarray(labels[index], "<i8").tobytes())
        digests[part] = digest.hexdigest()[:32]
    return digests


def seeds_of(seed: int, repeat: int, fold: int, replicate: int = 0) -> dict[str, int]:
    """The fit's own streams. Neither knows the model, so that all models of a fold meet the images in one order."""
    again = (replicate,) if replicate else ()  # another draw of first weights, in the same order of images
    return {"order": stream(seed, "order", repeat, fold), "weights": stream(seed, "weights", repeat, fold, *again)}


def settings_of(name: str, backbone: Backbone, model: Model, training: Training, weights: str | None) -> dict[str, Any]:
    """Settings of a fit without those at their default, and without `replicate`, which is in its seeds.

    `weights`: digest of a local file of pretrained weights.
    """
    of_backbone = {**changed(backbone), "architecture": backbone.architecture or name}
    if weights is not None:
        of_backbone["pretrained"] = weights  # its content decides, not its path
    of_model = {key: value for key, value in changed(model).items() if key not in ("inputs", "training", "replicate")}
    of_training = {key: value for key, value in changed(training).items() if key not in NOT_A_SETTING}
    return {"backbone": of_backbone, "model": of_model, "training": of_training}


def changed(section: BaseModel) -> dict[str, Any]:
    """Keys of a section that are not at their default, as JSON values; of sections within it likewise.

    A key that comes new, with a default, changes no fit: so a default must not change (test_defaults_are_pinned).
    """
    found: dict[str, Any] = {}
    plain = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if field.is_required() or value != field.get_default(call_default_factory=True):
            found[key] = changed(value) if isinstance(value, BaseModel) else plain[key]
    return found


def words_of(*sections: BaseModel) -> frozenset[str]:
    """Every word that the sections hold, defaults too: the keys by which tables of code are read (fit.code.TABLES)."""
    words: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, str):
            words.add(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    for section in sections:
        collect(section.model_dump(mode="json"))
    return frozenset(words)


def numerics_of(device: str, precision: str) -> dict[str, Any]:
    """What decides rounding, but for the kind of CPU: versions, threads, memory layout, device, precision."""
    return {
        **{name: importlib.metadata.version(name) for name in FIT_PACKAGES},
        "threads": 1,
        "layout": "channels_last",
        "device": device,
        "precision": precision,
    }
