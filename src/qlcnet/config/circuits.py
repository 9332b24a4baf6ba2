"""Circuits on 2 x 2 patches: `circuits` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from qlcnet.config.section import Probability, Section, Seed

QUBITS = 4  # of a circuit on a 2 x 2 patch: 0 top left, 1 top right, 2 bottom left, 3 bottom right
WORDS = 2**QUBITS - 1  # products of Pauli-Z on them, which fix the joint distribution of their bits


class Noise(Section):
    """Strengths of the noise channels, applied to every qubit after an ansatz or a program (readout: at the end)."""

    depolarizing: Probability = 0.0
    amplitude_damping: Probability = 0.0
    phase_damping: Probability = 0.0
    readout_flip: Probability = 0.0

    @property
    def is_none(self) -> bool:
        return not any((self.depolarizing, self.amplitude_damping, self.phase_damping, self.readout_flip))


BUILT = ("encoding", "uploads", "ansatz", "layers", "rotations", "seed")  # keys that a circuit is built by
OWN = ("file", "md5")  # keys of one that its user wrote


class Circuit(Section):
    """A 4-qubit circuit on a 2 x 2 patch: angle encoding (pixel times pi), ansatz, Pauli-Z of each qubit.

    With `file` it is an OpenQASM 3 program instead of encoding and ansatz.
    """

    file: str | None = None  # relative to a folder of the search path, as the project's, or absolute
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    encoding: Literal["ry", "rx", "rxy", "ryx"] = "ry"
    uploads: int = Field(default=1, ge=1, le=3)  # how often the pixels enter, an ansatz after each
    ansatz: Literal["none", "random", "entangled"] = "random"
    layers: int = Field(default=1, ge=1, le=8)
    rotations: int = Field(default=4, ge=1, le=64)  # random ansatz: rotations a layer
    seed: Seed = 42  # of the ansatz: angles, and gates where random
    colour: Literal["grey", "channels"] = "grey"  # one circuit on the grey image, or one on each colour channel
    stride: int = Field(default=1, ge=1, le=512)
    padding: Literal["same", "valid"] | Annotated[int, Field(ge=0, le=8)] = "same"  # repeats the border pixels
    # exact: the polynomial on all cores; torch: the same on an accelerator, if there is one; pennylane: every patch
    engine: Literal["exact", "torch", "pennylane"] = "exact"
    device: str = "default.qubit"  # a PennyLane device; noise needs default.mixed, chosen by itself
    device_shots: int | None = Field(
        default=None, ge=1, le=10**9
    )  # of each evaluation on the grid that fixes the polynomial
    tolerance: float = Field(default=1e-8, gt=0, le=1)  # of that polynomial, checked against the device
    noise: Noise = Noise()
    shots: int | None = Field(default=None, ge=1, le=10**9)  # None: exact expectation values
    shots_drawn: Literal["stored", "fresh"] = "stored"  # once, or again each epoch
    shots_seed: Seed = 42
    storage: Literal["float16", "uint8"] = "float16"

    def channels(self, colours: int) -> int:
        """Channels that it makes of an image with so many colour channels: one a qubit, on grey or on each colour."""
        return QUBITS * (colours if self.colour == "channels" else 1)

    @model_serializer(mode="wrap")
    def _with_keys_of_its_kind(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys of the other kind: built circuits keep the fingerprints of before there was `file`."""
        others = OWN if self.file is None else BUILT
        return {key: value for key, value in serialise(self).items() if key not in others}

    @model_validator(mode="after")
    def _built_or_read(self) -> Circuit:
        if self.file is None:
            if self.md5 is not None:
                raise ValueError("`md5` belongs to `file`, which is missing")
            return self
        if self.md5 is None:
            raise ValueError("`file` needs its `md5` beside it, by which a changed file is noticed; `md5sum` prints it")
        if both := [key for key in BUILT if key in self.model_fields_set]:
            raise ValueError(
                f"{', '.join(f'`{key}`' for key in both)} beside `file`, whose gates are the circuit; "
                "remove one or the other"
            )
        return self

    @model_validator(mode="after")
    def _device_can_be_noisy(self) -> Circuit:
        if not self.noise.is_none and self.device not in ("default.qubit", "default.mixed"):
            raise ValueError(
                f"device {self.device!r} cannot run `noise`; leave `device` out (default.mixed is then used)"
            )
        return self

    @model_validator(mode="after")
    def _sampled_grid_makes_sense(self) -> Circuit:
        if self.device_shots is not None and (self.engine == "pennylane" or self.shots is not None):
            raise ValueError(
                "`device_shots` samples the grid behind a polynomial of expectation values; leave it out beside "
                "`shots` and `engine: pennylane`"
            )
        if self.tolerance > 1e-6 and self.storage == "uint8":
            raise ValueError(
                f"`storage: uint8` holds values from -1 to 1, which a polynomial with the `tolerance` "
                f"{self.tolerance:g} may leave; use float16"
            )
        return self
