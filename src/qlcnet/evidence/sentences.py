"""Verdicts and claims as sentences with their numbers: one wording for report, tracking and command line."""

from __future__ import annotations

from qlcnet.evidence.answers import Standing, level
from qlcnet.evidence.claims import Claim, Part
from qlcnet.evidence.families import Contrast, Line, Role
from qlcnet.evidence.power import Outlook
from qlcnet.evidence.resampled import PairedT
from qlcnet.evidence.statistics import Interval
from qlcnet.evidence.verdicts import Silent, Verdict

WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc_macro": "macro AUC",
    "auc_micro": "micro AUC",
    "recall": "recall",
}
# what stands for the verdict in a sentence; {a} and {b} are the models
FINDINGS = {
    "better by more than the margin": "{a} is better than {b} by more than the margin",
    "worse by more than the margin": "{a} is worse than {b} by more than the margin",
    "better, by less than the margin": "{a} is better than {b}, by less than the margin",
    "worse, by less than the margin": "{a} is worse than {b}, by less than the margin",
    "better": "{a} is better than {b}",
    "worse": "{a} is worse than {b}",
    "equivalent": "{a} and {b} differ by less than the margin",
    "rises": "the lead of {a} over {b} rises with width",
    "falls": "the lead of {a} over {b} falls with width",
    "undecided": "whether {a} or {b} is better is undecided",
}
UNDECIDED_TREND = "whether the lead of {a} over {b} changes with width is undecided"


def sentence(line: Line, role: Role = "primary") -> str:
    """What may be said of a comparison, in one sentence with its numbers."""
    contrast, verdict = line.contrast, line.verdict
    where = f"{contrast.task}, {_over(contrast)}, {WORDS.get(contrast.metric, contrast.metric)}"
    if isinstance(verdict, Silent):
        return f"{where}: {contrast.a} and {contrast.b} cannot be compared: {verdict.reason}."
    trend = verdict.margin is None
    finding = UNDECIDED_TREND if trend and verdict.word == "undecided" else FINDINGS[verdict.word]
    parts = [_numbers(verdict)]
    if verdict.word == "undecided":
        parts.append(_what_would_decide(verdict.test, verdict.outlook, trend))
    scope = "" if verdict.test.design.scope == "this way of training" else " on these images"
    note = "" if role == "primary" else f" ({role}, unadjusted)"
    return f"{where}{note}: {finding.format(a=contrast.a, b=contrast.b)}{scope}: {'; '.join(parts)}."


def claim_sentence(claim: Claim) -> str:
    """A claim of the paper and what the fits say of it."""
    if claim.word == "not testable":
        return f'"{claim.statement}": not testable here: {claim.reason}.'
    numbers = "; ".join(_part(part) for part in claim.decisive)
    metric = WORDS.get(claim.metric, claim.metric)
    return f'"{claim.statement}" ({metric}): {claim.word}: {numbers}; p = {p_text(claim.p)}, one-sided.'


def standing_sentence(found: Standing) -> str:
    """Where a quantum model stands between the classical network and its twins, and what follows."""
    parts = []
    if found.reference is not None:
        name, verdict = found.reference
        parts.append(f"{level(verdict)} the classical network {name} ({_difference(verdict)})")
    if found.against:
        strongest, verdict = found.against[0]
        levels = {level(one) for _, one in found.against}
        name = strongest.control if strongest.control == strongest.kind else f"{strongest.control} ({strongest.kind})"
        which = f"{level(verdict)} its twin {name}"
        if len(found.against) > 1 and len(levels) == 1:
            which = f"{level(verdict)} its {len(found.against)} twins, the strongest of them {name}"
        elif len(levels) > 1:
            beaten = sum(level(one) == "ahead of" for _, one in found.against)
            which = f"ahead of {beaten} of its {len(found.against)} twins, {level(verdict)} the strongest, {name}"
        parts.append(f"{which} ({_difference(verdict)})")
    return f"{found.model}: {'; '.join(parts)}: {found.conclusion}."


def _difference(verdict: Verdict) -> str:
    return f"{signed(verdict.test.mean)}, {_interval(verdict.interval)}"


def p_text(p: float) -> str:
    """A p-value to two digits: 0.031, 0.0042, below 0.0001."""
    return "below 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def signed(value: float) -> str:
    """A difference of shares or areas: +0.0123."""
    return f"{value:+.4f}"


def _over(contrast: Contrast) -> str:
    if contrast.kind == "one width" or len(contrast.backbones) == 1:
        return contrast.backbones[0]
    if not contrast.backbones:
        return "no width"
    return f"{contrast.kind} ({len(contrast.backbones)} widths)"


def _numbers(verdict: Verdict) -> str:
    unit = " a doubling of parameters" if verdict.margin is None else ""
    if not verdict.test.has_spread:
        return f"{signed(verdict.test.mean)}{unit} in every fit"
    level = f"{100 * (1 - verdict.alpha / verdict.family):.4g} %"
    text = f"{signed(verdict.test.mean)}{unit} ({level} interval {_interval(verdict.interval)}), "
    margin = "" if verdict.margin is None else f", margin {verdict.margin:g}"
    if verdict.word == "equivalent":
        return text + f"p of a difference beyond the margin {p_text(verdict.adjusted.equivalent)}{margin}"
    adjusted = f", Holm-adjusted in a family of {verdict.family}" if verdict.family > 1 else ""
    return text + f"p = {p_text(verdict.adjusted.difference)}{adjusted}{margin}"


def _what_would_decide(test: PairedT, outlook: Outlook | None, trend: bool) -> str:
    if not test.has_spread:
        return "the differences of all fits are equal, so that nothing says how they would vary"
    if outlook is None:
        return "no difference at all was seen"
    target = f"a slope like this ({outlook.target:.4f})" if trend else f"the margin ({outlook.target:g})"
    sees = f"this design sees {outlook.detectable:.4f} with 80 % power"
    if outlook.seen_now:
        return f"{sees}, so that {target} would mostly be seen"
    unit = "repeats" if test.design.scope == "this way of training" else "seeds"
    if outlook.repeats is not None:
        return f"{sees}; {outlook.repeats} {unit} would see {target}"
    return f"{sees}; no number of {unit} would see {target}, about {outlook.images:.2g} times as many images would"


def _part(part: Part) -> str:
    ratio = part.what.startswith("ratio")
    value = f"{part.estimate:.2f}" if ratio else signed(part.estimate)
    limits = f"{part.interval.low:.2f} to {part.interval.high:.2f}" if ratio else _interval(part.interval)
    return f"{part.what} {value} ({limits})"


def _interval(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"
