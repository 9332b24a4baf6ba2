"""What a search found, as text for the terminal: counts, sentences, the setting to copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from qlcnet.evidence.sentences import p_text, signed
from qlcnet.evidence.verdicts import Verdict
from qlcnet.search.nested import Nested
from qlcnet.search.outcome import Outcome, SearchRecord
from qlcnet.search.tune import Found


def found_text(found: Found) -> str:
    """What `qlcnet tune` prints."""
    blocks = [_search_text(one) for one in found.outcomes]
    blocks += [nested_sentence(one) for one in found.nested]
    return "\n\n".join(blocks)


def _search_text(outcome: Outcome) -> str:
    search = outcome.search
    lines = [f"{search.name}: {counts_sentence(search)}", f"  {gain_sentence(outcome)}", f"  {value_sentence(outcome)}"]
    lines += [f"  {line}" for line in notes(outcome)]
    lines += [f"  {line}" for line in setting_yaml(outcome.chosen.setting).splitlines()]
    return "\n".join(lines)


def counts_sentence(search: SearchRecord) -> str:
    """How the trials ended, and what that cost."""
    states = [one.state for one in search.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    left = search.asked - len(states)
    stopped = f"; {left} were not begun: {search.stopped}" if search.stopped else ""
    return f"{len(states)} of {search.asked} trials settled ({counts}){stopped}"


def pruning_sentence(search: SearchRecord) -> str:
    """What dropping trials saved and risked; empty where none could be dropped."""
    if not search.replicates:
        return ""
    fits, whole = search.fold_fits
    share = (whole - fits) / whole if whole else 0.0
    risks = [one.p for one in search.trials if one.p is not None]
    risk = f", each with p up to {p_text(max(risks))} of being no worse" if risks else ""
    return (
        f"pruning: {len(risks)} trials dropped{risk}; {whole - fits} of {whole} fold fits saved ({100 * share:.0f} %), "
        f"{search.replicates} spent on replicates of the default (sd between weight seeds {search.seed_sd or 0:.4f})"
    )


def gain_sentence(outcome: Outcome) -> str:
    """Whether the winner replaces the default, from the comparison over inner folds."""
    winner, verdict = outcome.winner, outcome.verdict
    if verdict is None:
        return "tuned: no gain shown: the setting of params.yaml itself is the best"
    if not isinstance(verdict, Verdict):
        return f"tuned: no gain shown: {verdict.reason}"
    numbers = (
        f"{signed(verdict.test.mean)} over the default ({signed(verdict.interval.low)} to "
        f"{signed(verdict.interval.high)}, p = {p_text(verdict.p)}, on the folds that it was chosen on)"
    )
    if outcome.is_better:
        return f"tuned: trial {winner.number} is {verdict.word}: {numbers}"
    return f"tuned: no gain shown: trial {winner.number} has {numbers}: {verdict.word}"


def value_sentence(outcome: Outcome) -> str:
    """The best value with its label and its bias."""
    search = outcome.search
    return (
        f"best {search.metric} {outcome.winner.value:.4f} over {search.folds} inner folds of trial "
        f"{outcome.winner.number} ({outcome.rule}): optimistic, by about {outcome.bias:.4f}; without that "
        f"{outcome.corrected:.4f}. --nested measures it"
    )


def notes(outcome: Outcome) -> list[str]:
    """What a reader should be told besides."""
    lines = [text] if (text := pruning_sentence(outcome.search)) else []
    if outcome.at_the_edge:
        lines.append(f"at the edge of the space: {', '.join(outcome.at_the_edge)}: a better value may lie beyond")
    if outcome.without_effect:
        lines.append(f"never mattered: {', '.join(outcome.without_effect)}")
    equal = [one.number for one in outcome.search.trials if one.equal_to is not None]
    if equal:
        lines.append(f"settings drawn twice, answered from the store: trials {', '.join(map(str, equal))}")
    for error in dict.fromkeys(one.error for one in outcome.search.trials if one.error):
        numbers = [str(one.number) for one in outcome.search.trials if one.error == error]
        lines.append(f"failed: trial {', '.join(numbers)}: {error.splitlines()[0]}")
    return lines


def nested_sentence(nested: Nested) -> str:
    """The outer estimate of one model."""
    count = len(nested.folds)
    mean = [sum(values) / count for values in (nested.default, nested.tuned, nested.inner, nested.corrected)]
    text = (
        f"{nested.model}, search seed {nested.seed}, on {count} outer folds that no search saw: {nested.metric} "
        f"default {mean[0]:.4f}, tuned {mean[1]:.4f}"
    )
    if isinstance(nested.verdict, Verdict):
        test = nested.verdict.test
        text += f" ({signed(test.mean)}, p = {p_text(nested.verdict.p)}: {nested.verdict.word})"
    else:
        text += f" ({nested.verdict.reason})"
    return (
        f"{text}. The searches themselves promised {mean[2]:.4f}, {mean[3]:.4f} without the estimated bias. "
        f"{nested.overtuned} of {count} searches ended worse than their default (overtuning)"
    )


def overtuning_sentence(nested: Sequence[Nested]) -> str:
    """How many of all searches ended worse than their default on outer folds."""
    worse, every = sum(one.overtuned for one in nested), sum(len(one.folds) for one in nested)
    return (
        f"Overtuning: {worse} of {every} searches ({100 * worse / every:.0f} %) ended worse than their default on the "
        "outer fold; in the literature about a tenth do (arXiv 2506.19540)."
    )


def setting_yaml(setting: Any) -> str:
    """A setting as the sections of params.yaml that it is of; the keys stay dotted, as in `tuning.space`."""
    return yaml.safe_dump(dict(setting), sort_keys=True, default_flow_style=None).rstrip() if setting else "{}"
