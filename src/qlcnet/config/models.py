"""What is compared: `models` and `backbones` of params.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainSerializer, PlainValidator, field_validator, model_validator

from qlcnet.config.circuits import Noise
from qlcnet.config.section import Section, Seed

HeadKind = Literal["linear", "bottleneck", "quantum", "frozen-quantum", "sine", "mlp", "fourier", "stochastic"]
HEADS: tuple[HeadKind, ...] = get_args(HeadKind)
NECK = frozenset({"qubits", "normalise"})
SIZE = frozenset({"ansatz", "layers", "rotations"})  # which circuit: a classical unit trains as many numbers as it has
# keys that a head reads besides `kind`; a quantum one reads all
HEAD_KEYS = {
    "linear": frozenset[str](),
    "bottleneck": NECK,
    "sine": NECK | {"layers"},
    "mlp": NECK | SIZE,
    "fourier": NECK | SIZE | {"seed"},
    "stochastic": NECK | SIZE | {"shots"},
}

# of `training`: decided before a process loads torch, so not by each of the models that it fits
ONE_FOR_ALL = ("device", "numerics")


class Head(Section):
    """From embedding to logits. All but `linear` share a neck: Linear to `qubits`, BatchNorm without affine, tanh."""

    kind: HeadKind = "linear"
    qubits: int = Field(default=4, ge=2, le=8)
    normalise: bool = True  # BatchNorm1d(qubits, affine=False) before tanh
    ansatz: Literal["ry", "random", "entangled"] = "ry"  # ry: the paper's, one trainable RY a qubit
    layers: int = Field(default=1, ge=1, le=4)
    rotations: int = Field(default=4, ge=1, le=64)  # random ansatz: rotations a layer
    seed: Seed = 42  # random ansatz: which gates; `fourier`: which frequencies
    entangling: bool = True  # False: the ansatz without its gates on two qubits
    noise: Noise = Noise()
    shots: int | None = Field(default=None, ge=1, le=10**6)  # of each value, in training; None: expectation values

    @model_validator(mode="after")
    def _every_key_is_read(self) -> Head:
        fields = type(self).model_fields
        changed = {name for name in fields if name != "kind" and getattr(self, name) != fields[name].default}
        if idle := sorted(changed - HEAD_KEYS.get(self.kind, fields.keys())):
            raise ValueError(f"a head `{self.kind}` does not read {', '.join(idle)}; remove it")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_do(self) -> Head:
        if self.kind == "stochastic" and self.shots is None:
            raise ValueError("a head `stochastic` needs `shots`, the number of draws of each value in training")
        if not self.entangling and self.ansatz == "ry":
            raise ValueError("the ansatz `ry` has no gate on two qubits; remove `entangling: false`")
        return self

    @property
    def is_quantum(self) -> bool:
        """Whether a circuit computes it, trained or not."""
        return self.kind in ("quantum", "frozen-quantum")


@dataclass(frozen=True)
class Input:
    """One of a model's inputs; `str` gives the text of params.yaml back, in which it is also serialised.

    kind: image (colour channels), grey (their luma), or what stage `quanvolve` stores: quanv, a circuit, or channel,
    an entry of `channels`. name: of that circuit or entry. channel: the only one that is read, None for all.
    """

    kind: Literal["image", "grey", "quanv", "channel"]
    name: str = ""
    channel: int | None = None

    @classmethod
    def parse(cls, text: object) -> Input:
        """`image`, `grey`, `quanv:ry`, `quanv:ry/0`, `channel:mine`, `channel:mine/0`. Raises ValueError."""
        if isinstance(text, Input):
            return text
        found = INPUT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(
                f"{text!r} is no input; allowed: image, grey, quanv:<circuit>, quanv:<circuit>/<channel>, "
                "channel:<name>, channel:<name>/<channel>"
            )
        kind: Any = found["plain"] or found["kind"]
        return cls(kind, found["name"] or "", None if found["channel"] is None else int(found["channel"]))

    def __str__(self) -> str:
        text = f"{self.kind}:{self.name}" if self.is_stored else self.kind
        return text if self.channel is None else f"{text}/{self.channel}"

    @property
    def is_stored(self) -> bool:
        """Whether its channels were made before training, by stage `quanvolve`, and lie under `name`."""
        return self.kind in ("quanv", "channel")

    @property
    def whole(self) -> Input:
        """The input of which this is a channel, or itself."""
        return replace(self, channel=None)

    def width(self, colours: int, stored: Mapping[str, int]) -> int:
        """How many channels it brings. `colours`: channels of the image. `stored`: channels by name."""
        if self.kind == "image":
            return colours
        return 1 if self.kind == "grey" or self.channel is not None else stored[self.name]


INPUT = re.compile(
    r"(?P<plain>image|grey)|(?P<kind>quanv|channel):(?P<name>[a-z0-9][a-z0-9_.-]*)(/(?P<channel>0|[1-9]\d*))?"
)


class Model(Section):
    """inputs x fusion x head. `training`: keys of the section `training` that this model has otherwise.

    replicate: the same model again with first weights of their own; what two of them differ by is the study's floor.
    """

    inputs: tuple[Annotated[Input, PlainValidator(Input.parse), PlainSerializer(str)], ...]
    fusion: Literal["stacked", "separate"] = "stacked"
    head: Head = Head()
    replicate: int = Field(default=0, ge=0, le=1000)
    training: dict[str, Any] = Field(default_factory=dict)  # see Params.training_of

    @field_validator("training")
    @classmethod
    def _one_for_all(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in ONE_FOR_ALL:
            if key in value:
                raise ValueError(f"`{key}` is one for all models; set it under `training` of the study")
        return value

    @field_validator("inputs")  # not min_length, which would count those that are none
    @classmethod
    def _one_at_least(cls, value: tuple[Input, ...]) -> tuple[Input, ...]:
        if not value:
            raise ValueError("list at least one input, for example [image]")
        return value

    @field_validator("head", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def circuits(self) -> tuple[str, ...]:
        """Names of the circuits whose channels this model reads, in order, once each."""
        return tuple(dict.fromkeys(one.name for one in self.inputs if one.kind == "quanv"))

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the stored channels that this model reads, of circuits or not, in order, once each."""
        return tuple(dict.fromkeys(one.name for one in self.inputs if one.is_stored))


class Backbone(Section):
    """A timm architecture without its classifier. `activation` and `strides` are for LCNet only."""

    architecture: str | None = None  # None: the key under `backbones`
    activation: Literal["relu", "hard_swish"] = "relu"
    strides: tuple[Literal[1, 2], Literal[1, 2], Literal[1, 2], Literal[1, 2], Literal[1, 2]] = (2, 2, 2, 2, 2)
    pretrained: bool | str = False  # True: from the hub; a path: a local .safetensors file
