"""Section for whoever writes a paper: sentences to copy, and checklists filled in as far as the software knows."""

from __future__ import annotations

from qlcnet.report.checklists import FOR_THE_AUTHOR, SOURCES, filled_in
from qlcnet.report.content import Block, Cell, Context, Details, Table, Text
from qlcnet.report.methods import methods


def for_a_paper(context: Context) -> list[Block]:
    """Methods as sentences, and a folded table a guideline."""
    paragraphs: list[Block] = [
        Text(f"**{heading}.** {_plain(text)}") for heading, text in methods(context.study).items()
    ]
    return [
        Text(
            "Sentences to copy, made from params.yaml and the fits (also `results/tables/methods.txt`), and reporting "
            "checklists. Tables are in `results/tables` as CSV, the summary as LaTeX too."
        ),
        Details("Methods, as sentences", paragraphs, is_open=False),
        *(_checklist(guideline, context) for guideline in SOURCES),
    ]


def methods_text(context: Context) -> str:
    """The text of tables/methods.txt."""
    return "\n\n".join(f"{heading}. {text}" for heading, text in methods(context.study).items()) + "\n"


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
