"""How one fold is fitted: `training` of params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from qlcnet.config.section import Section


class Augmentation(Section):
    """Drawn per sample and shared by all inputs, quantum channels included."""

    flip_horizontal: bool = True
    flip_vertical: bool = False
    crop_padding: int = Field(default=0, ge=0, le=64)  # pixels of zero padding, then a random crop of the old size


class Training(Section):
    """How one fold is fitted."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=2, le=65_536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # sgd only
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"
    augmentation: Augmentation = Augmentation()
    input_size: int | None = Field(default=None, ge=8, le=512)  # pixels; None: as stored
    device: Literal["auto", "cpu", "cuda"] = "auto"
    numerics: Literal["fast", "portable"] = "fast"  # portable: the same bytes on every x86-64 CPU with AVX2
    precision: Literal["float32", "bfloat16", "bf16-products"] = "float32"

    @model_validator(mode="after")
    def _momentum_is_read(self) -> Training:
        if self.optimizer != "sgd" and "momentum" in self.model_fields_set:
            raise ValueError(f"the optimizer `{self.optimizer}` does not read `momentum`; remove it, or use sgd")
        return self

    @model_validator(mode="after")
    def _only_float32_on_a_cpu_is_portable(self) -> Training:
        if self.numerics == "portable" and (self.device == "cuda" or self.precision != "float32"):
            given = f"device: {self.device}, precision: {self.precision}"
            raise ValueError(f"`numerics: portable` is float32 on a CPU (given {given}); or write `numerics: fast`")
        return self

    def with_changes(self, changes: Mapping[str, Any]) -> Training:
        """The same with other keys, those of `augmentation` one by one. Raises ValidationError."""
        kept = self.model_dump(exclude_unset=True)
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            kept.pop("momentum", None)  # of the other optimizer
        augmentation = changes.get("augmentation")
        if isinstance(augmentation, Mapping):
            changes = {**changes, "augmentation": {**kept.get("augmentation", {}), **augmentation}}
        return Training.model_validate({**kept, **changes})
