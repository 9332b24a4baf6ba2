"""What the stages before `train` say of a task's images, folds and channels: digests and cards, no array."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlcnet.fit.spec import DataPaths


class NotPreparedError(FileNotFoundError):
    """A stage before `train` has not run; the message names it."""


@dataclass(frozen=True)
class TaskData:
    """What the cards of a task's images and channels say."""

    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]  # height, width, channels
    digests: dict[str, Any]  # of images, of the fold table, of channels by name
    cards: dict[str, dict[str, Any]]  # of stored channels, by name

    @property
    def image_size(self) -> tuple[int, int]:
        return self.image_shape[0], self.image_shape[1]

    def input(self, text: str) -> dict[str, Any]:
        """What decides the values of an input, by what it holds and not by its name."""
        if text in ("image", "grey"):
            return {"kind": text, "digest": self.digests["images"]}
        name, _, channel = text.removeprefix("quanv:").partition("/")
        card = self.cards[name]
        return {
            "kind": "stored",
            "digest": card["digest"],
            "decode": card["decode"],
            "shots": card.get("fresh_shots"),
            "channel": int(channel) if channel else None,
            # no value depends on these; they are part of what a fit records
            "evaluations": [card["qnode_evaluations"], card["patches_per_image"]],
        }


def data_of(root: Path, task: str, circuits: Sequence[str]) -> TaskData:
    """The cards of a task's images and channels; NotPreparedError names the stage to run if one is missing."""
    paths = DataPaths.of(root, task)
    wanted = [
        (paths.raw / "about.json", "fetch"),
        (paths.folds, "split"),
        *((paths.quanvolved / c / "circuit.json", "quanvolve") for c in circuits),
    ]
    for path, stage in wanted:
        if not path.is_file():
            raise NotPreparedError(
                f"{path.relative_to(root)} is missing: run `qlcnet {stage} {task}` first, or `dvc repro`"
            )
    about = json.loads((paths.raw / "about.json").read_text(encoding="utf-8"))
    cards = {c: json.loads((paths.quanvolved / c / "circuit.json").read_text(encoding="utf-8")) for c in circuits}
    digests = {
        "images": about["digest"],
        "folds": hashlib.sha256(paths.folds.read_bytes()).hexdigest(),
        "channels": {name: card["digest"] for name, card in cards.items()},
    }
    return TaskData(tuple(about["class_names"]), tuple(about["shape"][1:]), digests, cards)
