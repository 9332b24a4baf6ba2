"""The whole of params.yaml, and the sections that change no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from qlcnet.config.channels import Channels, FileChannels
from qlcnet.config.checks import CheckCode, Reason
from qlcnet.config.circuits import Circuit
from qlcnet.config.data import Task
from qlcnet.config.evidence import Evidence
from qlcnet.config.models import Backbone, Input, Model
from qlcnet.config.section import Name, Section, Seed, TaskName
from qlcnet.config.training import Training
from qlcnet.config.tuning import Tuning


class Report(Section):
    """What the report shows."""

    title: str = "Does the quantum part help?"
    pictures: bool = True  # false: nothing that shows pixels of a set, for one whose images may not be given on
    examples: int = Field(default=4, ge=1, le=16)  # images a class in the example figure
    mute: dict[CheckCode, Reason] = Field(default_factory=dict)  # checks that are no issue here, and why: it is printed


class Data(Section):
    """Where `fetch` looks before it downloads, and mirrors to download from. Never changes a result."""

    search_path: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()  # base URLs; the file's name is appended


class Execution(Section):
    """Where fits run. Never changes a result."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    scheduler: str | None = None  # address of a Dask scheduler


class Params(Section):
    """The whole of params.yaml.

    Required is what a stage of dvc.yaml names: DVC refuses a key that is missing when it comes to that stage, which can
    be hours later (test_what_dvc_asks_for_is_required).
    """

    seed: Seed
    datasets: dict[TaskName, Task] = Field(min_length=1)
    circuits: dict[Name, Circuit]
    channels: dict[Name, Annotated[Channels, Field(discriminator="kind")]]
    models: dict[Name, Model] = Field(min_length=1)
    backbones: dict[Name, Backbone] = Field(min_length=1)
    training: Training
    report: Report = Report()
    evidence: Evidence = Evidence()
    data: Data = Data()
    execution: Execution = Execution()
    tuning: Tuning = Tuning()

    @field_validator("backbones", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {k: v or {} for k, v in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _one_meaning_a_name(self) -> Params:
        for name in self.channels:
            if name in self.circuits:
                raise ValueError(
                    f"channels.{name}: `circuits` has this name too, and both are stored under it; change one"
                )
        return self

    @model_validator(mode="after")
    def _controls_are_of_circuits(self) -> Params:
        for name, section in self.channels.items():
            if isinstance(section, FileChannels):
                continue
            if section.of not in self.circuits:
                known = ", ".join(self.circuits) or "none"
                raise ValueError(f"channels.{name}.of: no circuit {section.of!r} under `circuits` (there: {known})")
            if section.kind == "fourier-random" and self.circuits[section.of].storage == "uint8":
                raise ValueError(
                    f"channels.{name}.of: {section.of} is stored as uint8, which holds values from -1 to 1; a random "
                    "polynomial of the same norm may leave them. Use `storage: float16` for the circuit"
                )
        return self

    @model_validator(mode="after")
    def _inputs_exist(self) -> Params:
        for name, model in self.models.items():
            for one in model.inputs:
                self._check_input(f"models.{name}.inputs", one)
        return self

    @model_validator(mode="after")
    def _images_are_shared_by_name_and_in_fact(self) -> Params:
        for name, task in self.datasets.items():
            if (other := task.images_of) is None:
                continue
            key = f"datasets.{name}.images_of"
            if other not in self.datasets or other == name:
                known = ", ".join(one for one in self.datasets if one != name) or "none"
                raise ValueError(f"{key}: no other task {other!r} under `datasets` (there: {known})")
            if (origin := self.datasets[other].images_of) is not None:
                raise ValueError(f"{key}: {other} shares the images of {origin} itself; write {origin}")
            if task.source != self.datasets[other].source:  # which DVC asks for, see dvc.yaml
                raise ValueError(
                    f"datasets.{name}.source: is not that of {other}, whose images it shares; "
                    f"write `source: &{other} {{...}}` there, and here `source: *{other}`"
                )
        return self

    @model_validator(mode="after")
    def _compared_models_exist(self) -> Params:
        pairs = self.evidence.primary.compare if self.evidence.primary else ()
        for pair in pairs:
            if unknown := [name for name in pair if name not in self.models]:
                known = ", ".join(self.models)
                raise ValueError(f"evidence.primary.compare: no model {unknown[0]!r} under `models` (there: {known})")
        return self

    def training_of(self, model: str) -> Training:
        """How a model is trained: `training` with the model's own keys in place. parse_params has checked it."""
        return self.training.with_changes(self.models[model].training)

    def _check_input(self, key: str, one: Input) -> None:
        places: dict[str, tuple[str, str, Mapping[str, Section]]] = {
            "quanv": ("circuit", "circuits", self.circuits),
            "channel": ("channel", "channels", self.channels),
        }
        if one.kind not in places:
            return
        what, section, there = places[one.kind]
        if one.name not in there:
            known = ", ".join(there) or "none"
            raise ValueError(f"{key}: no {what} {one.name!r} under `{section}` (there: {known})")
        if one.kind == "quanv" and one.channel is not None:  # of a file nothing is known before it is read
            most = self.circuits[one.name].channels(colours=3)
            if one.channel >= most:
                raise ValueError(f"{key}: {str(one)!r}: {one.name} has the channels 0 to {most - 1}")
