"""Each check on facts made by hand: its issue, its pass, where it does not apply; codes, docs and muting agree."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from qlcnet.config import ParamsError, parse_params
from qlcnet.config.checks import CheckCode
from qlcnet.evidence.both_sides import BothSides
from qlcnet.evidence.check_facts import (
    CheckedChannels,
    CheckedFit,
    CheckedModel,
    CheckedSearch,
    CheckedTask,
    Declared,
    SearchedSetting,
    StudyFacts,
)
from qlcnet.evidence.check_looks import edge_of, is_collapsed
from qlcnet.evidence.checks import CHECKS, run_checks
from tests.params import REQUIRED

DOCS = Path(__file__).resolve().parents[2] / "docs" / "checks.md"
NONE = BothSides(0, 0, 200)
TASK = CheckedTask("moles", ("benign", "malign"), NONE, NONE, 0, (150, 50), (90, 40), (30, 10), 200, 200, None, NONE)
FIT = CheckedFit("moles/lcnet_050/classical/repeat-0/fold-0", 2, 2, 0.8, 0.75, 0.75)


GOOD = StudyFacts(
    (TASK,), (FIT, FIT), 4, (CheckedModel("head"), CheckedModel("hybrid")),
    {"AMD": 2}, Declared(2, 0), {"better": 1, "equivalent": 1},
    (CheckedSearch("moles/lcnet_050/head", 20, (SearchedSetting("learning_rate", 1e-3, 1e-4, 1e-2, True),)),),
    channels=(CheckedChannels("moles/ry", 4, 0, 0, 0),),
)  # fmt: skip


def state(facts: StudyFacts, code: str) -> tuple[str, str]:
    (found,) = (one for one in run_checks(facts) if one.check.code == code)
    return found.state, found.sentence


def test_a_good_study_passes_all() -> None:
    assert [one.state for one in run_checks(GOOD)] == ["passed"] * len(CHECKS)


@pytest.mark.parametrize(
    ("code", "changes", "says"),
    [
        (
            "QLC001",
            {"tasks": (replace(TASK, groups=BothSides(12, 30, 200)),)},
            "12 groups .* 30 of 200 scored images .15.0%",
        ),
        ("QLC002", {"tasks": (replace(TASK, copies=BothSides(1, 2, 200)),)}, "2 of 200 scored images .1.00%"),
        ("QLC002", {"tasks": (replace(TASK, contradictions=3),)}, "3 images have an exact copy with another label"),
        (
            "QLC013",
            {"tasks": (replace(TASK, near_duplicates=BothSides(3, 5, 200)),)},
            "5 of 200 scored images .2.50%. have a near-duplicate",
        ),
        ("QLC003", {"declared": None}, "exploratory"),
        ("QLC003", {"declared": Declared(2, 7)}, "changed when 7 fits existed"),
        ("QLC003", {"declared": Declared(2, None)}, "nothing says"),
        ("QLC004", {"verdicts": {"undecided": 3, "better": 1}}, "3 of 4 comparisons undecided"),
        ("QLC005", {"fits": (FIT, replace(FIT, named=1))}, "1 of 2 fits .* 1 name one class only, 0 have"),
        (
            "QLC006",
            {"machines": {"AMD": 3, "Intel": 1}},
            "2 kinds of CPU or accelerator.*3 fits on AMD, 1 fit on Intel",
        ),
        (
            "QLC007",
            {"quantum": (CheckedModel("hybrid", ("channels", "head")),)},
            r"hybrid \(its channels and its head\)",
        ),
        ("QLC012", {"quantum": (CheckedModel("a", (), ("b (head.qubits)",)),)}, r"a and b \(head.qubits\)"),
        ("QLC008", {"tasks": (replace(TASK, units=(90, 29)),)}, "moles, malign: 29 groups"),
        ("QLC008", {"tasks": (replace(TASK, units=None, members=(150, 29)),)}, "moles, malign: 29 images"),
        ("QLC008", {"tasks": (replace(TASK, least=(30, 4)),)}, "malign: 4 images in one fit"),
        (
            "QLC014",
            {"channels": (CheckedChannels("moles/ry", 4, 1, 2, 0),)},
            "moles/ry: of 4 channels 1 constant, 2 pairs",
        ),
        ("QLC010", {"tasks": (replace(TASK, used=120, limit=60),)}, "120 of 200 images, at most 60"),
        ("QLC011", {"failed": {"moles/lcnet_050/head": 2}}, r"moles/lcnet_050/head \(2 fits\)"),
    ],
)
def test_issues(code: str, changes: dict[str, Any], says: str) -> None:
    found = run_checks(replace(GOOD, **changes))
    assert {one.check.code for one in found if one.state == "issue"} == {code}
    assert re.search(says, state(replace(GOOD, **changes), code)[1])


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("QLC001", {"tasks": (replace(TASK, groups=None),)}),
        ("QLC003", {"models": 1}),
        ("QLC013", {"tasks": (replace(TASK, near_duplicates=None),)}),
        ("QLC012", {"quantum": ()}),
        ("QLC004", {"verdicts": None}),
        ("QLC005", {"fits": (replace(FIT, occurring=1, named=1),)}),
        ("QLC006", {"machines": {}}),
        ("QLC007", {"quantum": ()}),
        ("QLC009", {"searches": ()}),
    ],
)
def test_not_applicable(code: str, changes: dict[str, Any]) -> None:
    assert state(replace(GOOD, **changes), code)[0] == "not applicable"


def test_a_set_with_groups_beside_one_without_says_both() -> None:
    both = (TASK, replace(TASK, name="eyes", groups=None))
    assert state(replace(GOOD, tasks=both), "QLC001") == (
        "passed", "No group of moles is both trained on and scored in a fit. Of eyes no groups are known."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fit", "collapsed"),
    [
        (replace(FIT, named=1, accuracy=0.1, balanced_accuracy=0.5), True),  # a rare class for all
        (replace(FIT, accuracy=0.755, balanced_accuracy=0.508), True),
        (replace(FIT, accuracy=0.755, balanced_accuracy=0.53), False),
        (replace(FIT, accuracy=0.80, balanced_accuracy=0.50), False),
        (replace(FIT, occurring=4, majority_share=0.4, accuracy=0.4, balanced_accuracy=0.25), True),
    ],
)
def test_collapsed(fit: CheckedFit, collapsed: bool) -> None:
    assert is_collapsed(fit) == collapsed


@pytest.mark.parametrize(
    ("setting", "side"),
    [
        (SearchedSetting("learning_rate", 1.05e-4, 1e-4, 1e-2, True), "lower"),  # 1.06 % of two decades
        (SearchedSetting("learning_rate", 9.4e-3, 1e-4, 1e-2, True), "upper"),
        (SearchedSetting("learning_rate", 1.3e-4, 1e-4, 1e-2, True), ""),  # 5.7 %; on a linear scale 0.3 %
        (SearchedSetting("learning_rate", 1.3e-4, 1e-4, 1e-2, False), "lower"),
        (SearchedSetting("batch_size", 128, 32, 128, True), "upper"),
        (SearchedSetting("batch_size", 64, 64, 64, True), ""),
    ],
)
def test_edges(setting: SearchedSetting, side: str) -> None:
    assert edge_of(setting) == side
    search = CheckedSearch("moles/lcnet_050/head", 20, (setting,))
    assert state(replace(GOOD, searches=(search,)), "QLC009")[0] == ("issue" if side else "passed")


def test_only_an_issue_is_muted_and_keeps_its_sentence() -> None:
    facts = replace(GOOD, declared=None)
    found = {one.check.code: one for one in run_checks(facts, {"QLC003": "a rehearsal", "QLC001": "no need"})}
    assert (found["QLC003"].state, found["QLC003"].reason) == ("muted", "a rehearsal")
    assert "exploratory" in found["QLC003"].sentence
    assert (found["QLC001"].state, found["QLC001"].reason) == ("passed", "no need")


def test_codes_of_table_params_and_docs_agree() -> None:
    codes = [check.code for check in CHECKS]
    assert codes == list(get_args(CheckCode))
    page = DOCS.read_text(encoding="utf-8")
    assert re.findall(r"^## (QLC\d{3})$", page, flags=re.M) == codes
    for check in CHECKS:
        assert re.search(rf"^## {check.code}\n\n\*\*{re.escape(check.title)}\.\*\* ", page, flags=re.M), check.code


def test_mute_takes_known_codes_with_a_reason() -> None:
    some = {
        **REQUIRED, "datasets": {"digits": {"source": {"kind": "digits"}}}, "models": {"m": {"inputs": ["image"]}},
        "backbones": {"lcnet_050": {}},
    }  # fmt: skip
    section = {**some, "report": {"mute": {"QLC010": "a rehearsal"}}}
    assert parse_params(section).report.mute == {"QLC010": "a rehearsal"}
    with pytest.raises(ParamsError, match=r"report\.mute\.QLC099.*QLC001"):
        parse_params({**some, "report": {"mute": {"QLC099": "a rehearsal"}}})
    with pytest.raises(ParamsError, match=r"report\.mute\.QLC010"):
        parse_params({**some, "report": {"mute": {"QLC010": " "}}})
