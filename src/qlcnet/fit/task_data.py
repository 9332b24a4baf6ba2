"""What the stages before `train` say of a task's images, folds and channels: digests and cards, no array."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qlcnet.config import Input
from qlcnet.data.channel_card import CARD, ChannelCard
from qlcnet.fit.spec import DataPaths
from qlcnet.stored import read_object


class NotPreparedError(FileNotFoundError):
    """A stage before `train` has not run; the message names it."""


@dataclass(frozen=True)
class TaskData:
    """What the cards of a task's images and channels say."""

    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]  # height, width, channels
    digests: dict[str, Any]  # of images, of the fold table, of channels by name
    cards: dict[str, ChannelCard]  # of stored channels, by name

    @property
    def image_size(self) -> tuple[int, int]:
        return self.image_shape[0], self.image_shape[1]

    def input(self, which: Input) -> dict[str, Any]:
        """What decides the values of an input, by what it holds and not by its name. Raises ValueError."""
        if not which.is_stored:
            return {"kind": which.kind, "digest": self.digests["images"]}
        card = self.cards[which.name]
        if which.channel is not None and which.channel >= card.channels:
            raise ValueError(f"input {str(which)!r}: {which.name} has the channels 0 to {card.channels - 1}")
        return {
            "kind": "stored",
            "digest": card.digest,
            "decode": asdict(card.decode),
            "shots": card.shots,
            "channel": which.channel,
            # no value depends on these; they are part of what a fit records
            "evaluations": [card.evaluations.executed, card.evaluations.hardware],
        }


def data_of(root: Path, task: str, names: Sequence[str]) -> TaskData:
    """Cards of the images and of stored channels of these names; NotPreparedError names the stage that has not run."""
    paths = DataPaths.of(root, task)
    wanted = [
        (paths.raw / "about.json", "fetch"),
        (paths.folds, "split"),
        *((paths.quanvolved / name / CARD, "quanvolve") for name in names),
    ]
    for path, stage in wanted:
        if not path.is_file():
            raise NotPreparedError(
                f"{path.relative_to(root)} is missing: run `qlcnet {stage} {task}` first, or `dvc repro`"
            )
    about = read_object(paths.raw / "about.json", f"run `qlcnet fetch {task}`", ("digest", "class_names", "shape"))
    cards = {name: ChannelCard.read(paths.quanvolved / name) for name in names}
    digests = {
        "images": about["digest"],
        "folds": hashlib.sha256(paths.folds.read_bytes()).hexdigest(),
        "channels": {name: card.digest for name, card in cards.items()},
    }
    return TaskData(tuple(about["class_names"]), tuple(about["shape"][1:]), digests, cards)
