"""Reporting checklists filled in from what the software knows; what it cannot know is for the author."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from qlcnet.report import methods
from qlcnet.report.study import Study
from qlcnet.report.words import join_words

FOR_THE_AUTHOR = "for the author"
# Numbers of items were compared with these sources; of REFORMS from 3e on they were not, and are left out.
SOURCES = {
    "REFORMS": "Kapoor et al., REFORMS: Consensus-based Recommendations for Machine-learning-based Science. "
    "Science Advances 10(18), 2024, eadk3452. doi:10.1126/sciadv.adk3452",
    "TRIPOD+AI": "Collins et al., TRIPOD+AI statement: updated guidance for reporting clinical prediction models that "
    "use regression or machine learning methods. BMJ 385, 2024, e078378. doi:10.1136/bmj-2023-078378",
    "CLAIM 2024": "Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update. "
    "Radiology: Artificial Intelligence 6(4), 2024, e240300. doi:10.1148/ryai.240300",
}


@dataclass(frozen=True)
class Item:
    """One item of a guideline, in words of ours.

    item: its number, empty where it was not verified. answer: a key of ANSWERS, empty where only the author can tell.
    """

    guideline: str
    item: str
    topic: str
    asks: str
    answer: str


@cache
def items() -> tuple[Item, ...]:
    """All items that a study of this kind can answer, and those that it needs an author for, from checklists.csv."""
    text = files("qlcnet.report").joinpath("checklists.csv").read_text(encoding="utf-8")
    return tuple(Item(**row) for row in csv.DictReader(text.splitlines()))


def filled_in(study: Study) -> dict[str, list[tuple[Item, str]]]:
    """Items with their answers by guideline; FOR_THE_AUTHOR where the software has none."""
    answers = {key: answer(study) for key, answer in ANSWERS.items()}
    found: dict[str, list[tuple[Item, str]]] = {guideline: [] for guideline in SOURCES}
    for item in items():
        found[item.guideline].append((item, answers[item.answer] if item.answer else FOR_THE_AUTHOR))
    return found


def _origin(study: Study) -> str:
    origins = []
    for name, task in study.tasks.items():
        about = task.images.about
        where = [str(about[key]) for key in ("title", "source", "url") if about.get(key)]
        origins.append(f"{name}: {', '.join(where) or 'not stated'}")
    return f"{'; '.join(origins)}. When, and who labelled: {FOR_THE_AUTHOR}."


def _counts(study: Study) -> str:
    return " ".join(
        f"{task.name}: {len(task.used):,} images, {len(task.scored):,} scored; of each class "
        f"{', '.join(f'{n:,}' for n in task.class_counts.tolist())}."
        for task in study.tasks.values()
    )


def _preprocessing(study: Study) -> str:
    sizes = {study.params.training_of(model).input_size for model in study.params.models}
    seen = join_words(
        ["as stored" if size is None else f"resized to {size} px" for size in sorted(sizes, key=lambda s: s or 0)]
    )
    return (
        f"Input {seen}; each channel normalised by mean and sd of the fold's training part; augmentation of it alone."
    )


def _subset(study: Study) -> str:
    drawn = [
        f"{task.name}: {len(task.used):,} of {len(task.images):,}"
        for task in study.tasks.values()
        if len(task.used) < len(task.images)
    ]
    return f"{'; '.join(drawn)}." if drawn else "Every image of each set was used."


def _apart(study: Study) -> str:
    tuned = "no search was found" if not study.searches else "searches never saw the images of the first outer fold"
    return f"Normalisation and augmentation are of the training part alone; predictions after the last epoch; {tuned}."


def _leakage(study: Study) -> str:
    return (
        "; ".join(f"{task.name}: {methods.disjoint_words(task)}" for task in study.tasks.values())
        + ". See QLC001, QLC002."
    )


def _tuning(study: Study) -> str:
    if not study.searches:
        return f"Set in params.yaml, the same for all models but where said; how they were found: {FOR_THE_AUTHOR}."
    return f"Searched with Optuna on an inner split for {join_words([one.name for one in study.searches])}; see QLC009."


def _imbalance(study: Study) -> str:
    weights = {study.params.training_of(model).class_weights for model in study.params.models}
    return f"Class weights in the loss: {join_words(sorted(weights))}. No recalibration."


def _external(study: Study) -> str:
    with_test = [task.name for task in study.tasks.values() if task.task.protocol.kind != "pooled-cv"]
    held = f" A test part of the same set is scored for {join_words(with_test)}." if with_test else ""
    return f"None by this software: all images of a task come from one set.{held}"


def _initial(study: Study) -> str:
    pretrained = [name for name, one in study.params.backbones.items() if one.pretrained]
    return (
        f"Pretrained for {join_words(pretrained)}." if pretrained else "Random, from the fit's own stream of the seed."
    )


ANSWERS: dict[str, Callable[[Study], str]] = {
    "data": lambda study: " ".join(methods.data_sentences(study)),
    "origin": _origin,
    "counts": _counts,
    "missing": lambda study: "Images have no missing values. Left out: see the data section and QLC011.",
    "subset": _subset,
    "preprocessing": _preprocessing,
    "inputs": lambda study: "Pixels of the image, and channels computed from them; nothing else.",
    "networks": lambda study: " ".join([*methods.network_sentences(study), *methods.circuit_sentences(study.params)]),
    "initial": _initial,
    "training": lambda study: " ".join(methods.training_sentences(study.params)),
    "selection": lambda study: "None: every fit ends after its last epoch, and every model is reported.",
    "ensembling": lambda study: "None.",
    "tuning": _tuning,
    "baselines": lambda study: (
        "The majority class stands in the tables; classical models: see Results; controls: QLC007."
    ),
    "folds": lambda study: " ".join(methods.fold_sentences(study)),
    "disjoint": _leakage,
    "apart": _apart,
    "leakage": _leakage,
    "metrics": lambda study: (
        "Accuracy, balanced accuracy, macro and micro AUC, macro F1, Cohen's kappa, log loss, Brier score, calibration "
        "error; recall, AUC and average precision of each class."
    ),
    "statistics": lambda study: methods.statistics_sentence(study.params),
    "imbalance": _imbalance,
    "output": lambda study: "Class probabilities (softmax); the most probable class is named, without thresholds.",
    "results": lambda study: "See Results and Classes; tables/summary.csv, tables/per-class.csv.",
    "external": _external,
    "software": methods.software_sentence,
    "script": lambda study: "dvc repro, with params.yaml, dvc.yaml and dvc.lock of the project.",
    "checks": lambda study: "See How this study could be wrong.",
}
