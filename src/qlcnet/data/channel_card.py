"""card.json: what there is to know of stored channels in order to read them, the same whoever made them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qlcnet.config import QUBITS, WORDS
from qlcnet.whole import write_synced

CARD, ARRAY = "card.json", "channels.npy"
FUNCTION = "function.json"  # of a control: what each channel computes of a patch
CIRCUIT = "circuit"  # kind of what stands under `circuits`


@dataclass(frozen=True)
class Decode:
    """value = scale x stored + offset."""

    scale: float
    offset: float


@dataclass(frozen=True)
class Evaluations:
    """Of circuits. executed: here, for all images. hardware: that quantum hardware would run for one image."""

    executed: int
    hardware: int


class Made(NamedTuple):
    """What a maker of channels says of them: the last fields of their card."""

    shape: tuple[int, ...]
    decode: Decode
    shots: int | None
    digest: str
    evaluations: Evaluations


@dataclass(frozen=True)
class ChannelCard:
    """Of one folder data/quanvolved/<task>/<name>, whose channels.npy has this `shape` (N, H, W, C).

    kind: CIRCUIT, or the kind under `channels`. images: digest of the image set that they are of. recipe: fingerprint
    of the section that says how they are made (data.sharing). shots: None, or how many are drawn again in every
    epoch from what is stored: the products of Pauli-Z (quantum.fresh_shots). digest: of the array and how it is stored.
    """

    name: str
    kind: str
    images: str
    recipe: str
    shape: tuple[int, ...]
    decode: Decode
    shots: int | None
    digest: str
    evaluations: Evaluations

    @property
    def channels(self) -> int:
        """How many a network reads."""
        return self.shape[3] if self.shots is None else self.shape[3] // WORDS * QUBITS

    def write(self, folder: Path) -> None:
        """Into a folder that is not yet in its place."""
        write_synced(folder / CARD, json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> ChannelCard:
        """What `write` wrote. Raises FileNotFoundError, ValueError."""
        try:
            known: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
            changed = {
                "shape": tuple(known["shape"]),
                "decode": Decode(**known["decode"]),
                "evaluations": Evaluations(**known["evaluations"]),
            }
            return cls(**{**known, **changed})
        except (KeyError, TypeError, ValueError) as error:
            task = folder.parent.name
            raise ValueError(f"{folder / CARD} is damaged ({error}): run `qlcnet quanvolve {task}` again") from error
