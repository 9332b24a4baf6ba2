"""What the checks of a study look at: plain facts, gathered by the report from a study's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qlcnet.evidence.both_sides import BothSides


@dataclass(frozen=True)
class CheckedTask:
    """A task: its images and how they were split.

    groups: groups on both sides of a fit, None where no groups are known. copies: exact copies on both sides.
    contradictions: images whose copy carries another label. members: scored images of each class. units: groups of each
    class among them, None where no groups are known. least: the fewest members of each class that one fit scored.
    images: of the whole set. used: of them. limit: `images_per_class`, None where all were to be used.
    near_duplicates: chains of them on both sides of a fit, None where groups are known or images too small to tell.
    """

    name: str
    class_names: tuple[str, ...]
    groups: BothSides | None
    copies: BothSides
    contradictions: int
    members: tuple[int, ...]
    units: tuple[int, ...] | None
    least: tuple[int, ...]
    images: int
    used: int
    limit: int | None
    near_duplicates: BothSides | None = None


@dataclass(frozen=True)
class CheckedFit:
    """One fit on the images that it scored: classes that occur and that were ever named; shares, 0 to 1."""

    name: str
    occurring: int
    named: int
    accuracy: float
    balanced_accuracy: float
    majority_share: float


@dataclass(frozen=True)
class CheckedModel:
    """A model with a quantum part, and no control of another (config.controls).

    untwinned: parts without a twin among the models, `channels` or `head`. unequal: `control: keys` for twins that
    differ in other settings too.
    """

    name: str
    untwinned: tuple[str, ...] = ()
    unequal: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedChannels:
    """A set of stored channels of a task, `task/name`: how many; constant; pairs that repeat; that repeat the image."""

    name: str
    channels: int
    dead: int
    duplicates: int
    of_image: int


@dataclass(frozen=True)
class Declared:
    """Comparisons that params.yaml declares. fits_before: fits that existed when it last changed, None: not known."""

    comparisons: int
    fits_before: int | None


@dataclass(frozen=True)
class SearchedSetting:
    """The best value of a numeric setting that was searched, and its range."""

    key: str
    best: float
    low: float
    high: float
    log: bool  # whether it was searched on a log scale


@dataclass(frozen=True)
class CheckedSearch:
    """A search whose best settings a model has: task/backbone/model, completed trials, numeric settings."""

    name: str
    trials: int
    settings: tuple[SearchedSetting, ...]


@dataclass(frozen=True)
class StudyFacts:
    """All that the checks look at.

    models: how many the study has. quantum: those with a quantum part.
    machines: number of fits by kind of CPU or accelerator. verdicts: comparisons by verdict, None where none was made.
    failed: fits that raised, by the model that is left out for them. channels: stored ones that were measured.
    """

    tasks: tuple[CheckedTask, ...]
    fits: tuple[CheckedFit, ...]
    models: int
    quantum: tuple[CheckedModel, ...]
    machines: Mapping[str, int]
    declared: Declared | None = None
    verdicts: Mapping[str, int] | None = None
    searches: tuple[CheckedSearch, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    channels: tuple[CheckedChannels, ...] = ()
