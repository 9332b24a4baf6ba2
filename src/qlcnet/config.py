"""params.yaml as frozen, validated models, and the fingerprint of any slice of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

QUBITS = 4  # of a circuit on a 2 x 2 patch
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]  # becomes a folder, a DVC target and an MLflow tag
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A section of params.yaml: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- data: where images come from and how they are split --------------------------------------------------------


class DigitsSource(Section):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey, resized bilinearly to `size` pixels."""

    kind: Literal["digits"]
    size: int = Field(default=28, ge=8, le=224)


class MedMNISTSource(Section):
    """One of the twelve 2D MedMNIST sets in one of its released sizes (pixels)."""

    kind: Literal["medmnist"]
    name: Name
    size: Literal[28, 64, 128, 224] = 28


class Cifar10Source(Section):
    """CIFAR-10, python version: 50,000 training and 10,000 test images of 32 x 32 x 3."""

    kind: Literal["cifar10"]


class GroupsFile(Section):
    """A CSV with one row an image: `column` names the group (for example the lesion that an image shows).

    Rows are matched by the columns `split` and `index` where both exist, else by order
    (training, validation, then test part).
    """

    path: str
    column: str
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


class NpzSource(Section):
    """A file in MedMNIST layout: arrays train_images, train_labels, val_…, test_… (val and test optional)."""

    kind: Literal["npz"]
    path: str  # absolute, or relative to a folder of the search path
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    groups: GroupsFile | None = None
    classes_of: Name | None = None  # the MedMNIST set whose class names this file shares
    class_names: tuple[str, ...] | None = None
    licence: str = "not stated"
    title: str | None = None

    @model_validator(mode="after")
    def _one_origin_of_names(self) -> NpzSource:
        if self.classes_of and self.class_names:
            raise ValueError("give `classes_of` or `class_names`, not both")
        return self


Source = Annotated[DigitsSource | MedMNISTSource | Cifar10Source | NpzSource, Field(discriminator="kind")]


class Protocol(Section):
    """How images become folds.

    pooled-cv: stratified k folds over all images. train-cv: folds over the training part, the test part scored
    beside. official: the set's own split, as one fold: its validation part is
    watched while training (predictions come from the weights after the last epoch), its test part is scored.
    """

    kind: Literal["pooled-cv", "train-cv", "official"] = "pooled-cv"
    folds: int = Field(default=5, ge=2, le=100)
    repeats: int = Field(default=1, ge=1, le=1000)
    grouped: bool = False  # no group (lesion, patient) on both sides of a fold

    @model_validator(mode="after")
    def _official_is_one_split(self) -> Protocol:
        if self.kind == "official" and self.grouped:
            raise ValueError("`grouped` has no meaning for the official split, which is taken as it is")
        if self.kind == "official" and "folds" in self.model_fields_set:
            raise ValueError("`folds` has no meaning for the official split, which is one fold; remove it")
        return self


class Task(Section):
    """One key of `datasets`: a source with a protocol."""

    source: Source
    protocol: Protocol = Protocol()
    images_per_class: int | None = Field(default=None, ge=2)  # a random subset, drawn by `split`; None: all images


# --- circuits ----------------------------------------------------------------------------------------------------


class Noise(Section):
    """Strengths of the noise channels, applied to every qubit after the ansatz (readout: before measurement)."""

    depolarizing: Probability = 0.0
    amplitude_damping: Probability = 0.0
    phase_damping: Probability = 0.0
    readout_flip: Probability = 0.0

    @property
    def is_none(self) -> bool:
        return not any((self.depolarizing, self.amplitude_damping, self.phase_damping, self.readout_flip))


class Circuit(Section):
    """A 4-qubit circuit on a 2 x 2 patch: angle encoding (pixel times pi), ansatz, Pauli-Z of each qubit."""

    encoding: Literal["ry", "rx", "rxy", "ryx"] = "ry"
    uploads: int = Field(default=1, ge=1, le=3)  # how often the pixels enter, an ansatz after each
    ansatz: Literal["none", "random", "entangled"] = "random"
    layers: int = Field(default=1, ge=1, le=8)
    rotations: int = Field(default=4, ge=1, le=64)  # random ansatz: rotations a layer
    seed: int = Field(default=42, ge=0)  # of the ansatz: angles, and gates where random
    colour: Literal["grey", "channels"] = "grey"  # one circuit on the grey image, or one on each colour channel
    stride: int = Field(default=1, ge=1)
    padding: Literal["same", "valid"] | Annotated[int, Field(ge=0, le=8)] = "same"  # repeats the border pixels
    # exact: the polynomial on all cores; torch: the same on an accelerator, if there is one; pennylane: every patch
    engine: Literal["exact", "torch", "pennylane"] = "exact"
    device: str = "default.qubit"  # a PennyLane device; noise needs default.mixed, chosen by itself
    device_shots: int | None = Field(default=None, ge=1)  # of each evaluation on the grid that fixes the polynomial
    tolerance: float = Field(default=1e-8, gt=0, le=1)  # of that polynomial, checked against the device
    noise: Noise = Noise()
    shots: int | None = Field(default=None, ge=1)  # None: exact expectation values
    shots_drawn: Literal["stored", "fresh"] = "stored"  # once, or again each epoch
    shots_seed: int = Field(default=42, ge=0)
    storage: Literal["float16", "uint8"] = "float16"

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


# --- models ------------------------------------------------------------------------------------------------------

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


class Augmentation(Section):
    """Drawn per sample and shared by all inputs, quantum channels included."""

    flip_horizontal: bool = True
    flip_vertical: bool = False
    crop_padding: int = Field(default=0, ge=0, le=64)  # pixels of zero padding, then a random crop of the old size


class Training(Section):
    """How one fold is fitted."""

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # sgd only
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"
    augmentation: Augmentation = Augmentation()
    input_size: int | None = Field(default=None, ge=8, le=512)  # pixels; None: as stored
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _momentum_is_read(self) -> Training:
        if self.optimizer != "sgd" and "momentum" in self.model_fields_set:
            raise ValueError(f"the optimizer `{self.optimizer}` does not read `momentum`; remove it, or use sgd")
        return self


class Report(Section):
    """What the report shows and how its intervals are drawn."""

    title: str = "Does the quantum part help?"
    bootstrap: int = Field(default=1000, ge=100)  # resamples of the out-of-fold table for the 95 % intervals
    examples: int = Field(default=4, ge=1, le=16)  # images a class in the example figure


class Tuning(Section):
    """The space that `qlcnet tune` searches; a key with one choice is held fixed. Never changes a result."""

    learning_rate: tuple[float, float] = (1e-4, 1e-2)  # low, high; log-uniform
    batch_size: tuple[int, ...] = (32, 64, 128)
    schedule: tuple[Literal["constant", "cosine", "one-cycle"], ...] = ("constant", "cosine", "one-cycle")
    class_weights: tuple[Literal["none", "balanced"], ...] = ("none",)
    metric: Literal["val_accuracy", "val_balanced_accuracy", "val_auc_macro", "val_auc_micro"] = "val_auc_macro"


class Data(Section):
    """Where `fetch` looks before it downloads, and mirrors to download from. Never changes a result."""

    search_path: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()  # base URLs; the file's name is appended


class Execution(Section):
    """Where fits run. Never changes a result."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    scheduler: str | None = None  # address of a Dask scheduler


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(default=42, ge=0)
    datasets: dict[Name, Task] = Field(min_length=1)
    circuits: dict[Name, Circuit] = {}
    models: dict[Name, Model] = Field(min_length=1)
    backbones: dict[Name, Backbone] = Field(min_length=1)
    training: Training = Training()
    report: Report = Report()
    data: Data = Data()
    execution: Execution = Execution()
    tuning: Tuning = Tuning()

    @field_validator("backbones", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {k: v or {} for k, v in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _inputs_exist(self) -> Params:
        for name, model in self.models.items():
            for text in model.inputs:
                if text in ("image", "grey"):
                    continue
                circuit, _, channel = text.removeprefix("quanv:").partition("/")
                if not text.startswith("quanv:") or (channel and not channel.isdigit()):
                    raise ValueError(
                        f"models.{name}.inputs: {text!r} is no input; "
                        "allowed: image, grey, quanv:<circuit>, quanv:<circuit>/<channel>"
                    )
                if circuit not in self.circuits:
                    known = ", ".join(self.circuits) or "none"
                    raise ValueError(f"models.{name}.inputs: no circuit {circuit!r} under `circuits` (there: {known})")
                most = QUBITS * (3 if self.circuits[circuit].colour == "channels" else 1)
                if channel and int(channel) >= most:
                    raise ValueError(f"models.{name}.inputs: {text!r}: {circuit} has the channels 0 to {most - 1}")
        return self


class ParamsError(ValueError):
    """params.yaml cannot be used; the message names each key, what was given and what is allowed."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a params file. Raises ParamsError naming every wrong key."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run in the project's folder, or `qlcnet study use demo`") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected keys such as `datasets:` and `models:`, found {type(raw).__name__}")
    return parse_params(raw, str(path))


def parse_params(raw: Mapping[str, Any], origin: str = "params") -> Params:
    """Validate params that are already parsed YAML. Raises ParamsError naming every wrong key."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        count = "1 wrong key" if len(lines) == 1 else f"{len(lines)} wrong keys"
        raise ParamsError("\n  ".join([f"{origin}: {count}", *lines])) from None


def _explain(item: Any) -> str:
    loc = [str(part) for part in item["loc"]]
    # pydantic puts the tag of a tagged union (the source's kind) behind its key; nobody wrote it in params.yaml
    key = ".".join(
        part for i, part in enumerate(loc) if part != "[key]" and not (i and loc[i - 1] == "source" and i == 3)
    )
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (given {item['input']!r}); remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key}: missing"
    if item["type"] == "value_error":
        return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]} (given {item['input']!r})"


def canonical(value: Any) -> Any:
    """Models, tuples and paths as plain JSON values, so that equal settings have one text."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    return value


def fingerprint(value: Any) -> str:
    """32 hex digits that change when anything in `value` (models, dicts, lists, scalars) changes."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
