"""How a study could be wrong: a table of checks, each with a code, a state and a sentence with numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qlcnet.config.checks import CheckCode
from qlcnet.evidence import check_looks
from qlcnet.evidence.check_facts import StudyFacts
from qlcnet.evidence.check_looks import Looked, State


@dataclass(frozen=True)
class Check:
    """One entry of the table. about: what it looks for and why that would make a study wrong, in one sentence."""

    code: CheckCode
    title: str
    about: str
    look: Callable[[StudyFacts], Looked]


@dataclass(frozen=True)
class Finding:
    """What a check found. reason: why it is muted in params.yaml, empty where it is not."""

    check: Check
    state: State
    sentence: str
    reason: str = ""


def run_checks(facts: StudyFacts, mute: Mapping[CheckCode, str] | None = None) -> tuple[Finding, ...]:
    """Every check's finding, in the order of CHECKS. Only an issue becomes `muted`; the reason is kept for all."""
    found = []
    for check in CHECKS:
        state, sentence = check.look(facts)
        reason = (mute or {}).get(check.code, "")
        found.append(Finding(check, "muted" if reason and state == "issue" else state, sentence, reason))
    return tuple(found)


CHECKS = (
    Check(
        "QLC001",
        "Groups on both sides of a fold",
        "Images of one patient or lesion in training and test part: the network may know the patient, not the disease.",
        check_looks.look_at_groups,
    ),
    Check(
        "QLC002",
        "Copies of an image on both sides of a fold",
        "Images that are equal pixel by pixel, one trained on and one scored, or with two labels.",
        check_looks.look_at_copies,
    ),
    Check(
        "QLC003",
        "Comparisons not declared before",
        "Which comparisons decide was chosen when results could be seen.",
        check_looks.look_at_declared,
    ),
    Check(
        "QLC004",
        "Undecided comparisons",
        "The data cannot tell models apart, which is easily read as no difference.",
        check_looks.look_at_undecided,
    ),
    Check(
        "QLC005",
        "Collapsed fits",
        "Networks that name the commonest class always: their mean with others describes neither.",
        check_looks.look_at_collapsed,
    ),
    Check(
        "QLC006",
        "Fits from several kinds of CPU",
        "Rounding differs between kinds of CPU, and grows over epochs like another seed.",
        check_looks.look_at_machines,
    ),
    Check(
        "QLC007",
        "Controls that are missing",
        "Without a twin that lacks the quantum part alone, a gain may come from parameters, channels or noise.",
        check_looks.look_at_controls,
    ),
    Check(
        "QLC008",
        "Too few of a class",
        "With few members a recall, and every mean over classes, is hardly known.",
        check_looks.look_at_few,
    ),
    Check(
        "QLC009",
        "A setting at the edge of its search",
        "The best value may lie outside of what was searched, and for one of the models only.",
        check_looks.look_at_edges,
    ),
    Check(
        "QLC010",
        "Results of a subset",
        "With `images_per_class` classes have other shares, and networks fewer images, than the set.",
        check_looks.look_at_subset,
    ),
    Check(
        "QLC011",
        "Models left out",
        "Fits that failed are not missing at random: models that diverge look better without them.",
        check_looks.look_at_left_out,
    ),
    Check(
        "QLC012",
        "Unequal twins",
        "A model and its control that were trained otherwise, or differ in neck or fusion: the quantum is not alone.",
        check_looks.look_at_equal_twins,
    ),
    Check(
        "QLC013",
        "Near-duplicates on both sides of a fold",
        "Images that look the same, of a set whose groups are not known: one is trained on, the other scored.",
        check_looks.look_at_near_duplicates,
    ),
    Check(
        "QLC014",
        "Dead and duplicate channels",
        "Added channels that are constant, or repeat another or the image: there are fewer of them than is said.",
        check_looks.look_at_idle_channels,
    ),
)
