"""Draws the folds: the images of a task into a fold table, as its protocol says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qlcnet.data.fold_table import NO_FOLD, FoldTable
from qlcnet.data.imageset import DataError
from qlcnet.data.shown import shown

if TYPE_CHECKING:
    from qlcnet.config import Task

log = logging.getLogger("qlcnet")


class Images(Protocol):
    """What a split needs to know about images; an ImageSet is one."""

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,)."""

    @property
    def parts(self) -> np.ndarray:
        """str (N,): train, val or test."""

    @property
    def groups(self) -> np.ndarray | None:
        """int64 (N,) or None."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""


def make_folds(images: Images, task: Task, seed: int) -> FoldTable:
    """Fold the images of a task as its protocol says; the same arguments give the same table.

    pooled-cv: stratified k folds over all images; train-cv: over the training and validation part, the test part
    scored beside; grouped: no group of `images` on both sides of a fold (with_near_duplicates_as_groups makes some).
    official: the set's own split as fold 0.
    `images_per_class` first draws a subset (see `draw_subset`). Repeat 0 shuffles with the seed itself, as
    scikit-learn's StratifiedKFold(k, shuffle=True, random_state=seed) does on labels in the order of the images;
    further repeats with seeds derived from it. Raises DataError naming classes that are too small.
    """
    protocol = task.protocol
    if protocol.grouped and images.groups is None:
        raise DataError(
            "protocol.grouped is true, but the set has no groups; give them with a source of kind npz or "
            "folder: `groups: {path: <a CSV with one row an image>, column: <its column that names the group>, id: "
            "<that of the images' names>}`; or write `grouped: near-duplicates`"
        )
    if protocol.grouped is True and images.groups is not None and len(np.unique(images.groups)) == len(images.groups):
        raise DataError(
            "protocol.grouped is true, but each group holds one image, so that it means nothing: is `groups.column` "
            "the column that names the lesion or the patient?"
        )
    rows = np.arange(len(images.labels))
    if task.images_per_class is not None:
        rows = draw_subset(images.labels, images.parts, task.images_per_class, seed)
    roles = PROTOCOL_ROLES[protocol.kind](images, rows)
    if protocol.grouped:
        rows, roles = _without_groups_of_test(images, rows, roles)
    cv = rows[roles == "cv"]
    if protocol.kind == "official":
        _check_classes(images, rows[roles == "train"], None, 1, "training image")
    else:
        _check_classes(images, cv, images.groups if protocol.grouped else None, protocol.folds, "fold")
    columns = []
    for repeat in range(protocol.repeats):
        folds = np.full(len(rows), NO_FOLD)
        if len(cv):
            folds[roles == "cv"] = _validation_folds(images, cv, task, repeat_seed(seed, repeat))
        columns.append(folds)
    n = len(rows) * protocol.repeats
    return FoldTable(
        index=np.tile(rows, protocol.repeats),
        label=np.tile(images.labels[rows], protocol.repeats),
        group=None if images.groups is None else np.tile(images.groups[rows], protocol.repeats),
        part=np.tile(roles, protocol.repeats),
        repeat=np.repeat(np.arange(protocol.repeats), len(rows)),
        fold=np.concatenate(columns) if n else np.empty(0, np.int64),
    )


def repeat_seed(seed: int, repeat: int) -> int:
    """The 32-bit seed of a repeat's shuffle: the seed itself at first, then a stream of its own for each repeat."""
    if repeat == 0 and seed < 2**32:
        return seed
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0])


def draw_subset(labels: np.ndarray, parts: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions, ascending, of at most `per_class` random images a class, shared among the parts in proportion.

    Shares are rounded by largest remainder, so each class keeps exactly min(its images, per_class).
    """
    kept = []
    for label in np.unique(labels):
        members = [np.flatnonzero((labels == label) & (parts == part)) for part in np.unique(parts)]
        sizes = np.array([len(positions) for positions in members])
        ideal = sizes * min(1.0, per_class / sizes.sum())
        quota = np.floor(ideal + 1e-9).astype(np.int64)
        missing = min(per_class, int(sizes.sum())) - int(quota.sum())
        quota[np.argsort(quota - ideal, kind="stable")[:missing]] += 1
        rng = np.random.default_rng((seed, int(label)))
        kept += [rng.choice(positions, count, replace=False) for positions, count in zip(members, quota, strict=True)]
    return np.sort(np.concatenate(kept))


def _pooled_roles(images: Images, rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), "cv", dtype="<U5")


def _train_cv_roles(images: Images, rows: np.ndarray) -> np.ndarray:
    test = images.parts[rows] == "test"
    if not test.any():
        raise DataError("protocol train-cv scores a test part beside the folds, and the set has none: use pooled-cv")
    return np.where(test, "test", "cv").astype("<U5")


def _official_roles(images: Images, rows: np.ndarray) -> np.ndarray:
    parts = images.parts[rows]
    missing = [name for name in ("train", "val", "test") if not np.any(parts == name)]
    if missing:
        raise DataError(
            "protocol official needs a training, a validation and a test part; the set has "
            f"no {' and no '.join(missing)} part: use pooled-cv" + ("" if "test" in missing else ", or train-cv")
        )
    return parts.astype("<U5")


PROTOCOL_ROLES = {"pooled-cv": _pooled_roles, "train-cv": _train_cv_roles, "official": _official_roles}


def _without_groups_of_test(images: Images, rows: np.ndarray, roles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out images of the folds whose group the test part shows too: it would be seen in training."""
    assert images.groups is not None
    groups = images.groups[rows]
    leaking = (roles == "cv") & np.isin(groups, groups[roles == "test"])
    if leaking.any():
        log.warning(
            "%d of %d images are left out of the folds: their groups are in the test part too",
            leaking.sum(), np.count_nonzero(roles == "cv"),
        )  # fmt: skip
    return rows[~leaking], roles[~leaking]


def _check_classes(images: Images, rows: np.ndarray, groups: np.ndarray | None, least: int, per: str) -> None:
    """Every class needs `least` images (or groups): fewer, and some fold would lack it."""
    labels, unit = images.labels[rows], "images"
    if groups is not None:
        pairs = np.unique(np.stack([labels, groups[rows]]), axis=1)
        labels, unit = pairs[0], "groups"
    counts = np.bincount(labels, minlength=len(images.class_names))
    small = [f"{name} (label {i}) has {counts[i]}" for i, name in enumerate(images.class_names) if counts[i] < least]
    if small:
        wanted = f"{least} {per}" + ("s" if least > 1 else "")
        raise DataError(
            f"fewer {unit} of a class than {wanted}: {shown(small)}; take fewer folds (protocol.folds), "
            "more images a class (images_per_class), or leave the class out of the set"
        )


def _validation_folds(images: Images, rows: np.ndarray, task: Task, seed: int) -> np.ndarray:
    """For each of `rows` the fold in which it validates, int64."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # 1.5 s: not for readers of tables

    kind = StratifiedGroupKFold if task.protocol.grouped else StratifiedKFold
    splitter = kind(n_splits=task.protocol.folds, shuffle=True, random_state=seed)
    labels = images.labels[rows]
    groups = images.groups[rows] if task.protocol.grouped and images.groups is not None else None
    folds = np.full(len(rows), NO_FOLD)
    for fold, (train, validation) in enumerate(splitter.split(np.zeros(len(rows)), labels, groups)):
        folds[validation] = fold
        for part in (train, validation):
            absent = shown([images.class_names[i] for i in np.setdiff1d(labels, labels[part])])
            if absent and part is train:
                raise DataError(
                    f"fold {fold} would train without {absent}: too few or too large groups; take fewer folds"
                )
            if absent:
                log.warning("fold %d validates without %s: too few or too large groups", fold, absent)
    return folds
