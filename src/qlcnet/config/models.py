"""What is compared: `models` and `backbones` of params.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from qlcnet.config.circuits import Noise
from qlcnet.config.section import Section

HEADS = ("linear", "bottleneck", "quantum", "sine")
NECK = frozenset({"qubits", "normalise"})
# keys that a head reads besides `kind`; the quantum head reads all
HEAD_KEYS = {"linear": frozenset[str](), "bottleneck": NECK, "sine": NECK | {"layers"}}


class Head(Section):
    """From embedding to logits. All but `linear` share a neck: Linear to `qubits`, BatchNorm without affine, tanh."""

    kind: Literal["linear", "bottleneck", "quantum", "sine"] = "linear"
    qubits: int = Field(default=4, ge=2, le=8)
    normalise: bool = True  # BatchNorm1d(qubits, affine=False) before tanh
    ansatz: Literal["ry", "random", "entangled"] = "ry"  # ry: the paper's, one trainable RY a qubit
    layers: int = Field(default=1, ge=1, le=4)
    rotations: int = Field(default=4, ge=1, le=64)  # random ansatz: rotations a layer
    seed: int = Field(default=42, ge=0)  # random ansatz: which gates
    noise: Noise = Noise()

    @model_validator(mode="after")
    def _every_key_is_read(self) -> Head:
        fields = type(self).model_fields
        changed = {name for name in fields if name != "kind" and getattr(self, name) != fields[name].default}
        if idle := sorted(changed - HEAD_KEYS.get(self.kind, fields.keys())):
            raise ValueError(f"a head `{self.kind}` does not read {', '.join(idle)}; remove it")
        return self

    @property
    def is_quantum(self) -> bool:
        return self.kind == "quantum"


class Model(Section):
    """inputs x fusion x head. Inputs: `image`, `grey`, `quanv:<circuit>`, `quanv:<circuit>/<channel>`."""

    inputs: tuple[str, ...] = Field(min_length=1)
    fusion: Literal["stacked", "separate"] = "stacked"
    head: Head = Head()

    @field_validator("head", mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def circuits(self) -> tuple[str, ...]:
        """Names of the circuits whose channels this model reads, in order, once each."""
        names = (text.removeprefix("quanv:").split("/")[0] for text in self.inputs if text.startswith("quanv:"))
        return tuple(dict.fromkeys(names))


class Backbone(Section):
    """A timm architecture without its classifier. `activation` and `strides` are for LCNet only."""

    architecture: str | None = None  # None: the key under `backbones`
    activation: Literal["relu", "hard_swish"] = "relu"
    strides: tuple[Literal[1, 2], Literal[1, 2], Literal[1, 2], Literal[1, 2], Literal[1, 2]] = (2, 2, 2, 2, 2)
    pretrained: bool | str = False  # True: from the hub; a path: a local .safetensors file
