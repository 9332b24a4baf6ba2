"""Where images come from and how they are split: `datasets` of params.yaml."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qlcnet.config.section import Name, Section, TaskName

ClassName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


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

    Rows are matched by the column `id`, if one is named: to file names, or to arrays train_ids, val_ids, test_ids of a
    .npz; else by the columns `split` and `index` where both exist, else by order (training, validation, test part).
    """

    path: str
    column: str
    id: str | None = None
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


class NpzSource(Section):
    """A file in MedMNIST layout: arrays train_images, train_labels, val_…, test_… (val and test optional)."""

    kind: Literal["npz"]
    path: str  # absolute, or relative to a folder of the search path
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    groups: GroupsFile | None = None
    classes_of: Name | None = None  # the MedMNIST set whose class names this file shares
    class_names: tuple[ClassName, ...] | None = None
    licence: str = "not stated"
    title: str | None = None

    @model_validator(mode="after")
    def _one_origin_of_names(self) -> NpzSource:
        if self.classes_of and self.class_names:
            raise ValueError("give `classes_of` or `class_names`, not both")
        return self

    @field_validator("class_names")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and (twice := sorted({name for name in value if value.count(name) > 1})):
            raise ValueError(f"two classes cannot have one name: {', '.join(twice)[:100]}")
        return value


class LabelsFile(Section):
    """A CSV with one row an image: `file` and `label` name its columns of file names and of classes."""

    path: str
    file: str
    label: str
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


class FolderSource(Section):
    """PNG, JPEG, TIFF and WebP files below a folder, a subfolder a class, or as `labels` says; see docs/params.md."""

    kind: Literal["folder"]
    path: str = Field(min_length=1)  # absolute, or relative to a folder of the search path
    size: int = Field(ge=8, le=1024)  # pixels, of the square to which each picture is brought
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")  # over names and bytes; `fetch` prints it
    labels: LabelsFile | None = None
    groups: GroupsFile | None = None  # matched by file name: `id` names that column
    class_names: dict[str, ClassName] = Field(
        default_factory=dict
    )  # by subfolder or label; the others are called as these
    colour: Literal["auto", "grey", "rgb"] = "auto"  # auto: grey where no image has a coloured pixel
    window: tuple[float, float] | None = None  # values that become 0 and 255 where a pixel has more than 8 bits
    skip_broken: bool = False
    licence: str = "not stated"
    title: str | None = None

    @field_validator("window")
    @classmethod
    def _black_below_white(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and value[0] >= value[1]:
            raise ValueError(f"[{value[0]:g}, {value[1]:g}] is no range: the lower end comes first")
        return value

    @field_validator("groups")
    @classmethod
    def _by_file_name(cls, value: GroupsFile | None) -> GroupsFile | None:
        if value and value.id is None:
            raise ValueError("name the column with the files' names: `id: <column>`; files have no order to go by")
        return value

    @model_validator(mode="after")
    def _tables_can_be_told_apart(self) -> FolderSource:
        if self.groups and self.labels:
            one, other = PurePath(self.groups.path), PurePath(self.labels.path)
            if one != other and one.name == other.name:  # checksums are kept by a file's name
                raise ValueError(f"`groups` and `labels` are two files called {one.name}; rename one")
        return self


Source = Annotated[
    DigitsSource | MedMNISTSource | Cifar10Source | NpzSource | FolderSource, Field(discriminator="kind")
]


class Protocol(Section):
    """How images become folds.

    pooled-cv: stratified k folds over all images. train-cv: folds over the training part, the test part scored
    beside. official: the set's own split, as one fold: its validation part is
    watched while training (predictions come from the weights after the last epoch), its test part is scored.
    """

    kind: Literal["pooled-cv", "train-cv", "official"] = "pooled-cv"
    folds: int = Field(default=5, ge=2, le=100)
    repeats: int = Field(default=1, ge=1, le=1000)
    # no group (lesion, patient) on both sides of a fold; near-duplicates: groups found by looks, where none are known
    grouped: bool | Literal["near-duplicates"] = False

    @model_validator(mode="after")
    def _official_is_one_split(self) -> Protocol:
        if self.kind == "official" and self.grouped:
            raise ValueError("`grouped` has no meaning for the official split, which is taken as it is")
        if self.kind == "official" and "folds" in self.model_fields_set:
            raise ValueError("`folds` has no meaning for the official split, which is one fold; remove it")
        return self


class Task(Section):
    """One key of `datasets`: a source with a protocol. `images_of`: the task whose images and channels it shares."""

    source: Source
    images_of: TaskName | None = None
    protocol: Protocol = Protocol()
    images_per_class: int | None = Field(default=None, ge=2)  # a random subset, drawn by `split`; None: all images
