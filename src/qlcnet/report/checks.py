"""What the checks look at, gathered from a study; their section of the report and their table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qlcnet.config import Params
from qlcnet.config.controls import quantum_models, twins_in
from qlcnet.evidence.both_sides import BothSides, contradictions, on_both_sides
from qlcnet.evidence.check_facts import CheckedChannels, CheckedFit, CheckedModel, CheckedTask, Declared, StudyFacts
from qlcnet.evidence.check_looks import State
from qlcnet.evidence.checks import CHECKS, Finding, run_checks
from qlcnet.evidence.metrics import mean_of_defined, predicted_classes, recall_per_class
from qlcnet.report.content import Block, Cell, Context, Details, Table, Text
from qlcnet.report.study import ModelResults, Study, TaskResults
from qlcnet.report.words import counted, join_words

PAGE = "docs/checks.md"
MARKS: dict[State, str] = {"issue": "▲", "muted": "△", "passed": "✓", "not applicable": "–"}  # in order of the table


def findings_of(
    study: Study, declared: Declared | None = None, verdicts: Mapping[str, int] | None = None
) -> tuple[Finding, ...]:
    """Every check of a study. declared, verdicts: what the comparisons of it know (see StudyFacts)."""
    return run_checks(facts_of(study, declared, verdicts), study.params.report.mute)


def facts_of(study: Study, declared: Declared | None = None, verdicts: Mapping[str, int] | None = None) -> StudyFacts:
    """All that the checks look at. Most of the time goes into finding copies and near-duplicates."""
    failed = {
        f"{task.name}/{backbone}/{model}": len(reasons)
        for task in study.tasks.values()
        for (backbone, model), reasons in task.failed.items()
    }
    return StudyFacts(
        tuple(_task(task) for task in study.tasks.values()),
        tuple(fit for model in study for fit in _fits(model)),
        len(study.params.models),
        tuple(_models(study.params)),
        Counter(
            _machine(fit.config["computed_on"]) for model in study for fit in model.fits if "computed_on" in fit.config
        ),
        declared,
        verdicts,
        study.searches,
        failed,
        tuple(
            CheckedChannels(f"{task.name}/{name}", len(m.sd), len(m.dead), len(m.duplicates), len(m.of_image))
            for task in study.tasks.values()
            for name, m in task.mechanisms.items()
        ),
    )


def _task(task: TaskResults) -> CheckedTask:
    images, classes = task.images, len(task.images.class_names)
    labels = images.labels[task.scored]
    oof = next(iter(task.results.values())).oof
    in_fits = [np.bincount(oof.of_fit(*split).target, minlength=classes) for split in oof.splits]
    units, near = None, task.near_duplicates
    if images.groups is not None:
        units = tuple(len(np.unique(images.groups[task.scored[labels == k]])) for k in range(classes))
    return CheckedTask(
        task.name,
        images.class_names,
        None if images.groups is None else _both_sides(task, images.groups),
        _both_sides(task, task.copies),
        contradictions(task.copies[task.used], images.labels[task.used]),
        tuple(np.bincount(labels, minlength=classes).tolist()),
        units,
        tuple(np.min(in_fits, axis=0).tolist()),
        len(images),
        len(task.used),
        task.task.images_per_class,
        None if near is None else on_both_sides(near.groups, splits_of(task)),
    )


def _both_sides(task: TaskResults, codes: np.ndarray) -> BothSides:
    return on_both_sides(codes, splits_of(task))


def splits_of(task: TaskResults) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What each fit was trained and scored on: the validation part of the official split is only watched."""
    for repeat in task.folds.repeats:
        for fold in task.folds.folds:
            split = task.folds.split(repeat, fold)
            official = task.task.protocol.kind == "official"
            yield split.train, split.test if official else np.concatenate([split.validation, split.test])


def _fits(model: ModelResults) -> Iterator[CheckedFit]:
    for repeat, fold in model.oof.splits:
        table = model.oof.of_fit(repeat, fold)
        named = predicted_classes(table.probabilities)
        members = np.bincount(table.target)
        yield CheckedFit(
            f"{model.task}/{model.backbone}/{model.model}/repeat-{repeat}/fold-{fold}",
            int((members > 0).sum()),
            len(np.unique(named)),
            float((named == table.target).mean()),
            mean_of_defined(recall_per_class(table.target, table.probabilities)),
            float(members.max() / len(table)),
        )


def _models(params: Params) -> Iterator[CheckedModel]:
    """Those with a quantum part; `sine` is the paper's head itself, so that being equal to it tests nothing."""
    twins = [twin for twin in twins_in(params) if not twin.what.identity]
    for name in quantum_models(params):
        model, mine = params.models[name], [twin for twin in twins if twin.model == name]
        parts = [*(["channels"] if model.circuits else []), *(["head"] if model.head.kind == "quantum" else [])]
        untwinned = tuple(part for part in parts if not any(twin.what.part == part for twin in mine))
        unequal = tuple(f"{twin.control} ({', '.join(twin.unequal)})" for twin in mine if twin.unequal)
        yield CheckedModel(name, untwinned, unequal)


def _machine(computed_on: Mapping[str, Any]) -> str:
    """One kind of machine in a few words: what differs between two kinds is in them."""
    parts = [
        str(computed_on[key])
        for key in ("vendor", "torch", "onednn", "products", "accelerator")
        if computed_on.get(key)
    ]
    variables = computed_on.get("variables") or {}
    return " ".join([*dict.fromkeys(parts), *([json.dumps(variables, sort_keys=True)] if variables else [])])


# --- the section, and the table -----------------------------------------------------------------------------------


def _findings(context: Context) -> tuple[Finding, ...]:
    return findings_of(context.study, declared_in(context.study), context.differences.verdicts or None)


def declared_in(study: Study) -> Declared | None:
    """What params.yaml declares, and how many fits there were before: see declarations.csv."""
    primary = study.params.evidence.primary
    return None if primary is None else Declared(len(primary.compare), study.fits_before)


def checks(context: Context) -> list[Block]:
    """Every check with its state; what each looks at folded away."""
    findings = _findings(context)
    order = list(MARKS)
    rows: list[list[Cell | str]] = [
        [
            finding.check.code,
            finding.check.title,
            Cell(f"{MARKS[finding.state]}\u00a0{finding.state}"),
            Cell(finding.sentence, detail=f"muted: {finding.reason}" if finding.reason else ""),
        ]
        for finding in sorted(findings, key=lambda one: order.index(one.state))
    ]
    states = Counter(finding.state for finding in findings)
    words = join_words([_how_many(states[state], state) for state in order if states[state]])
    return [
        Text(
            f"{counted(len(findings), 'check')} of what would make the numbers of this page mean less than they seem "
            f"to: **{words}**. A check that passed found nothing; that does not prove that nothing is there."
        ),
        Table(
            ["Code", "Check", "State", "Found"],
            rows,
            "Issues first. Muted: params.yaml says why it is none here.",
            sortable=False,
            stacks=True,
        ),
        Details(
            "What each check looks for",
            [
                Table(
                    ["Code", "Looks for"],
                    [[check.code, f"{check.title}: {check.about}"] for check in CHECKS],
                    f"More in {PAGE} of the project, a paragraph a code.",
                    sortable=False,
                    stacks=True,
                )
            ],
            is_open=False,
        ),
    ]


def _how_many(number: int, state: State) -> str:
    return counted(number, "issue") if state == "issue" else f"{number} {state}"


def check_records(context: Context) -> Iterator[dict[str, Any]]:
    """Rows of tables/checks.csv."""
    for one in _findings(context):
        yield {
            "code": one.check.code, "title": one.check.title, "state": one.state, "found": one.sentence,
            "muted_because": one.reason,
        }  # fmt: skip
