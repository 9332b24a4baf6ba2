"""Section for whoever writes a paper: sentences to copy, and checklists filled in as far as the software knows."""

from __future__ import annotations

import math

from qlcnet.evidence.sentences import WORDS, claim_sentence, sentence
from qlcnet.evidence.summary import ModelSummary
from qlcnet.report.checklists import FOR_THE_AUTHOR, SOURCES, filled_in
from qlcnet.report.content import Block, Cell, Context, Details, Table, Text, interval_words
from qlcnet.report.methods import methods


def for_a_paper(context: Context) -> list[Block]:
    """Methods as sentences, and a folded table a guideline."""
    paragraphs: list[Block] = [
        Text(f"**{heading}.** {_plain(text)}") for heading, text in methods(context.study).items()
    ]
    return [
        Text(
            "Sentences to copy, made from params.yaml and the fits (also `methods.txt` and `results.txt` in "
            "`results/tables`), and reporting checklists. Tables are there as CSV, the summary as LaTeX too."
        ),
        Details("Methods, as sentences", paragraphs, is_open=False),
        Details("Results, as sentences", [Text(_plain(text)) for text in results(context)], is_open=False),
        *(_checklist(guideline, context) for guideline in SOURCES),
    ]


def results(context: Context) -> list[str]:
    """A sentence a comparison of the overview, a model's level, and a claim of the paper."""
    found = []
    for name, task in context.differences.tasks.items():
        for (backbone, model), summary in context.summaries[name].items():
            found.append(f"{name}, {backbone}, {model}: {_level(summary)}.")
        found += [sentence(line, role) for role, line in task.headline]
        found += [claim_sentence(claim) for claim in task.claims]
    return found


def _level(summary: ModelSummary) -> str:
    parts = []
    for metric in ("accuracy", "balanced_accuracy", "auc_macro"):
        one = summary.oof.metrics[metric]
        spread = "" if math.isnan(one.fold_sd) else f", over folds {one.fold_mean:.3f} ± {one.fold_sd:.3f}"
        interval = interval_words(one.interval)
        parts.append(f"{WORDS[metric]} {one.shown:.3f} (95 % interval: {interval or 'none'}{spread})")
    return "; ".join(parts)


def methods_text(context: Context) -> str:
    """The text of tables/methods.txt."""
    return "\n\n".join(f"{heading}. {text}" for heading, text in methods(context.study).items()) + "\n"


def results_text(context: Context) -> str:
    """The text of tables/results.txt."""
    return "\n".join(results(context)) + "\n"


def _checklist(guideline: str, context: Context) -> Details:
    filled = filled_in(context.study)[guideline]
    rows: list[list[Cell | str]] = [[item.item or "–", item.topic, item.asks, answer] for item, answer in filled]
    open_items = sum(answer == FOR_THE_AUTHOR for _, answer in filled)
    caption = (
        f"{len(filled) - open_items} of {len(filled)} items filled in, {open_items} for the author. In words of ours, "
        f"and only what a study of this kind can answer: {SOURCES[guideline]}."
    )
    table = Table(["Item", "Topic", "Asks for", "Here"], rows, caption, sortable=False, stacks=True)
    return Details(f"Checklist: {guideline}", [table], is_open=False)


def _plain(text: str) -> str:
    """Names from data sets are no markup."""
    return text.replace("**", "* *").replace("`", "'")
