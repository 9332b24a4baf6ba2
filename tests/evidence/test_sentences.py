"""Sentences say the verdict, its numbers and what would decide, and never that there is no difference."""

from qlcnet.evidence.claims import crossing
from qlcnet.evidence.families import Contrast, Line
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import Design, PairedT
from qlcnet.evidence.sentences import FINDINGS, UNDECIDED_TREND, claim_sentence, p_text, sentence
from qlcnet.evidence.verdicts import judge
from tests.evidence.test_claims import widths

CONTRAST = Contrast("t", "hybrid", "classical", "auc_macro", "mean over widths", ("lcnet_050", "lcnet_100"))


def said(mean: float, sd: float, margin: float | None, repeats: int = 3, **keys: object) -> str:
    (verdict,) = judge([PairedT(mean, sd, Design(repeats, 5, 0.25))], margin, 0.05)
    return sentence(Line(CONTRAST, verdict), **keys)


def test_a_finding():
    assert said(0.04, 0.01, 0.02) == (
        "t, mean over widths (2 widths), macro AUC: hybrid is better than classical by more than the margin: "
        "+0.0400 (95 % interval +0.0270 to +0.0530), p = 0.0001, margin 0.02."
    )


def test_undecided_says_what_would_decide():
    assert "this design sees 0.0180 with 80 % power; 7 repeats would see the margin (0.017)" in said(0.01, 0.01, 0.017)
    never = said(0.001, 0.01, 0.005)
    assert "no number of repeats would see the margin (0.005), about 13 times as many images would" in never
    assert "all fits are equal" in said(0.01, 0.0, 0.01)
    assert "changes with width is undecided" in said(0.001, 0.01, None)
    assert "no difference" not in "".join([*FINDINGS.values(), UNDECIDED_TREND])


def test_what_is_exploratory_says_so():
    assert "(exploratory, unadjusted)" in said(0.04, 0.01, 0.02, role="exploratory")


def test_families_and_silence():
    silent, verdict = judge([TooFew("2 folds"), PairedT(0.04, 0.01, Design(3, 5, 0.25))], 0.02, 0.05)
    assert "cannot be compared: 2 folds." in sentence(Line(CONTRAST, silent))
    assert "97.5 % interval" in sentence(Line(CONTRAST, verdict))
    assert "Holm-adjusted in a family of 2" in sentence(Line(CONTRAST, verdict))


def test_a_claim():
    text = claim_sentence(crossing(widths({"lcnet_050": 0.03, "lcnet_200": -0.03}), "accuracy", 0.05))
    assert ": supported: mean over lcnet_050 +0.0300 (" in text
    silent = claim_sentence(crossing(widths({"lcnet_050": 0.1}), "accuracy", 0.05))
    assert "not testable here: no network of the widths" in silent


def test_p_values():
    assert [p_text(p) for p in (0.5, 0.0312, 0.00421, 1e-9)] == ["0.50", "0.031", "0.0042", "below 0.0001"]
