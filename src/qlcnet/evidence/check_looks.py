"""What each check of a study finds: a state, and a sentence with numbers. The table of them is checks.py's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from qlcnet.evidence.check_facts import CheckedFit, CheckedSearch, SearchedSetting, StudyFacts

State = Literal["issue", "passed", "not applicable", "muted"]
Looked = tuple[State, str]  # a state but `muted`, and a sentence
FEWEST = 30  # members or groups of a class, below which its recall is hardly known (see docs/checks.md)
FEWEST_IN_FIT = 5  # below which a class's share in one fit's metric moves in steps of more than 20 points
NEAR = 0.01  # of the majority's share, and of 1/K: closer than any network that learnt something
EDGE = 0.02  # of a search's range, on its own scale
SHOWN = 3  # names in a sentence
# heads that differ from `quantum` in nothing but the circuit; `sine` is its identity, which tests code, not quantum


def look_at_groups(facts: StudyFacts) -> Looked:
    known = {task.name: task.groups for task in facts.tasks if task.groups is not None}
    unknown = [task.name for task in facts.tasks if task.groups is None]
    lost = f" Of {_some(unknown)} no groups are known." if unknown else ""
    if not known:
        return (
            "not applicable",
            "No task has groups (patients, lesions): whether images of one stand on both sides is unknown.",
        )
    leaks = [
        f"{name}: {both.units:,} groups stand in training and scored part of a fit, {both.images:,} of {both.scored:,} "
        f"scored images ({both.share:.1%})"
        for name, both in known.items()
        if both.units
    ]
    if leaks:
        return "issue", f"{'; '.join(leaks)}.{lost}"
    return "passed", f"No group of {_some(list(known))} is both trained on and scored in a fit.{lost}"


def look_at_copies(facts: StudyFacts) -> Looked:
    leaks = [
        f"{task.name}: {task.copies.images:,} of {task.copies.scored:,} scored images ({task.copies.share:.2%}) have "
        "an exact copy in the training part of a fit that scores them"
        for task in facts.tasks
        if task.copies.units
    ]
    leaks += [
        f"{task.name}: {task.contradictions:,} images have an exact copy with another label"
        for task in facts.tasks
        if task.contradictions
    ]
    unseen = " Copies that were shifted, scaled or compressed anew are not seen."
    if leaks:
        return "issue", f"{'; '.join(leaks)}.{unseen}"
    return "passed", f"No scored image is pixel by pixel equal to one that the same fit was trained on.{unseen}"


def look_at_near_duplicates(facts: StudyFacts) -> Looked:
    known = {task.name: task.near_duplicates for task in facts.tasks if task.near_duplicates is not None}
    if not known:
        return "not applicable", "Groups of every task are known, or its images are too small to tell."
    leaks = [
        f"{name}: {both.images:,} of {both.scored:,} scored images ({both.share:.2%}) have a near-duplicate in the "
        "training part of a fit that scores them"
        for name, both in known.items()
        if both.units
    ]
    if leaks:
        return "issue", f"{'; '.join(leaks)}. No groups are known: the pairs are shown under Near-duplicates."
    return "passed", f"No near-duplicates of {_some(list(known))} are both trained on and scored in a fit."


def look_at_declared(facts: StudyFacts) -> Looked:
    if facts.models < 2:
        return "not applicable", "The study has one model: nothing is compared."
    if facts.declared is None:
        return "issue", "No comparison was declared before the results were there: all of them are exploratory."
    number, before = facts.declared.comparisons, facts.declared.fits_before
    if before is None:
        when = "nothing says whether that was before the first fit"
        return "issue", f"{_counted(number, 'comparison')} declared, and {when}."
    if before:
        return (
            "issue",
            f"The {_counted(number, 'comparison')} declared were changed when {_counted(before, 'fit')} existed.",
        )
    return "passed", f"{_counted(number, 'comparison')} declared before the first fit."


def look_at_undecided(facts: StudyFacts) -> Looked:
    total = sum((facts.verdicts or {}).values())
    if not facts.verdicts or not total:
        return "not applicable", "No comparison has a verdict."
    undecided = facts.verdicts.get("undecided", 0)
    if undecided:
        return "issue", f'{undecided:,} of {_counted(total, "comparison")} undecided: that is not "no difference".'
    return "passed", f"All of the {_counted(total, 'comparison')} have a verdict."


def look_at_collapsed(facts: StudyFacts) -> Looked:
    usable = [fit for fit in facts.fits if fit.occurring > 1]
    if not usable:
        return "not applicable", "No fit scored images of more than one class."
    found = [fit for fit in usable if is_collapsed(fit)]
    if not found:
        return "passed", f"Each of {_counted(len(usable), 'fit')} tells classes apart."
    one = sum(fit.named == 1 for fit in found)
    return "issue", (
        f"{len(found):,} of {_counted(len(usable), 'fit')} learnt nothing but the commonest class: {one:,} name one "
        f"class only, {len(found) - one:,} have its share as accuracy and 1/K as balanced accuracy "
        f"({_some([fit.name for fit in found])})."
    )


def is_collapsed(fit: CheckedFit) -> bool:
    """One class for every image; or the majority's share and 1/K, both within NEAR."""
    at_majority = abs(fit.accuracy - fit.majority_share) <= NEAR
    return fit.named == 1 or (at_majority and abs(fit.balanced_accuracy - 1 / fit.occurring) <= NEAR)


def look_at_machines(facts: StudyFacts) -> Looked:
    if not facts.machines:
        return "not applicable", "No fit says what it was computed on."
    if len(facts.machines) > 1:
        parts = ", ".join(f"{_counted(number, 'fit')} on {kind}" for kind, number in facts.machines.items())
        return (
            "issue",
            f"Fits come from {len(facts.machines)} kinds of CPU or accelerator, whose last bits differ: {parts}.",
        )
    kind, number = next(iter(facts.machines.items()))
    return "passed", f"{'The fit was' if number == 1 else f'All {number:,} fits were'} computed on one kind: {kind}."


def look_at_controls(facts: StudyFacts) -> Looked:
    if not facts.quantum:
        return "not applicable", "No model has a quantum part."
    missing = [f"{model.name} (its {' and its '.join(model.untwinned)})" for model in facts.quantum if model.untwinned]
    if missing:
        return "issue", (
            f"No twin that differs in the quantum part alone, for {_some(missing)}: being ahead of a classical network "
            "would not say that it is the quantum that helps."
        )
    return "passed", "Every quantum part has a twin among the models that differs in it alone."


def look_at_equal_twins(facts: StudyFacts) -> Looked:
    if not facts.quantum:
        return "not applicable", "No model has a quantum part."
    unequal = [f"{model.name} and {twin}" for model in facts.quantum for twin in model.unequal]
    if unequal:
        return "issue", (
            f"Twins that differ in more than the quantum part: {_some(unequal)}. A difference between them may come "
            "from that."
        )
    return "passed", "Twins differ in the quantum part alone: same inputs, neck, training and place on the image."


def look_at_idle_channels(facts: StudyFacts) -> Looked:
    if not facts.channels:
        return (
            "not applicable",
            "No stored channels were measured: there are none, or `qlcnet quanvolve` made them before.",
        )
    idle = [
        f"{one.name}: of {_counted(one.channels, 'channel')} {one.dead} constant, "
        f"{_counted(one.duplicates, 'pair')} equal but for scale, {one.of_image} a pixel of the image"
        for one in facts.channels
        if one.dead or one.duplicates or one.of_image
    ]
    if idle:
        return "issue", f"Added channels that add nothing: {_some(idle)}."
    return "passed", f"No dead or duplicate channel in {_counted(len(facts.channels), 'set')} of added channels."


def look_at_few(facts: StudyFacts) -> Looked:
    found = []
    for task in facts.tasks:
        units, unit = (task.members, "image") if task.units is None else (task.units, "group")
        for name, number, least in zip(task.class_names, units, task.least, strict=True):
            if number < FEWEST:
                found.append(f"{task.name}, {name}: {_counted(number, unit)}")
            elif least < FEWEST_IN_FIT:
                found.append(f"{task.name}, {name}: {_counted(least, 'image')} in one fit")
    if found:
        return "issue", f"Too few to tell how well they are recognised: {_some(found)}."
    if not facts.tasks:
        return "not applicable", "The study has no task."
    fewest = min(number for task in facts.tasks for number in (task.units or task.members))
    return "passed", f"Every class has {fewest:,} independent members or more, and {FEWEST_IN_FIT} in every fit."


def look_at_edges(facts: StudyFacts) -> Looked:
    if not facts.searches:
        return "not applicable", "No model has settings that a search of this project found."
    found = [text for search in facts.searches for text in _at_edge(search)]
    if found:
        return "issue", f"The best setting lies at the edge of what was searched: {_some(found)}."
    return (
        "passed",
        f"The best settings of {_counted(len(facts.searches), 'search', 'searches')} lie within their ranges.",
    )


def _at_edge(search: CheckedSearch) -> Iterator[str]:
    for setting in search.settings:
        if side := edge_of(setting):
            yield (
                f"{search.name}: {setting.key} {setting.best:.4g} at the {side} end of {setting.low:g} to "
                f"{setting.high:g} ({_counted(search.trials, 'trial')})"
            )


def edge_of(setting: SearchedSetting) -> Literal["lower", "upper", ""]:
    """Which end of its range the best value lies at, if any; a range of one value has none."""
    low, best, high = (math.log(x) if setting.log else x for x in (setting.low, setting.best, setting.high))
    if high <= low:
        return ""
    place = (best - low) / (high - low)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else ""


def look_at_subset(facts: StudyFacts) -> Looked:
    found = [
        f"{task.name}: {task.used:,} of {task.images:,} images, at most {task.limit:,} of each class"
        for task in facts.tasks
        if task.limit is not None and task.used < task.images
    ]
    if found:
        return "issue", f"These are results of a subset, whose classes have other shares: {'; '.join(found)}."
    return "passed", "Every image of each set was used, but those that the protocol leaves out."


def look_at_left_out(facts: StudyFacts) -> Looked:
    if facts.failed:
        parts = [f"{model} ({_counted(number, 'fit')})" for model, number in facts.failed.items()]
        return (
            "issue",
            f"Left out, because fits of theirs failed: {_some(parts)}. What is left may not be all that was meant.",
        )
    return "passed", "No model is left out for a fit that failed."


def _some(names: Sequence[str]) -> str:
    """The first SHOWN of them and how many more."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ("; " if any("," in name for name in names) else ", ").join(names[:SHOWN]) + more


def _counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
