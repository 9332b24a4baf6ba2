"""Sections beside the comparisons: the paper's claims, where the spread comes from, what leaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qlcnet.evidence.claims import Claim
from qlcnet.evidence.sentences import WORDS, claim_sentence, signed
from qlcnet.report.content import Block, Cell, Context, Table, Text, interval_words, number
from qlcnet.report.difference_sections import by_image
from qlcnet.report.quantum_sections import over_draws

Cells = list[Cell | str]


def claims(context: Context) -> list[Block]:
    """The paper's claims, where there are models `hybrid` and `classical`."""
    blocks: list[Block] = []
    for name, of_task in context.differences.tasks.items():
        if of_task.claims:
            blocks.append(_claims(name, of_task.claims))
    if not blocks:
        return []
    return [
        Text(
            "What the paper (Computation 2025, 13(12), 278) says of its networks, each claim with its own one-sided "
            "test on these fits. **Supported** and **contradicted** are findings; **undecided** is none."
        ),
        *blocks,
    ]


def _claims(task: str, found: Sequence[Claim]) -> Table:
    rows: list[Cells] = [
        [
            WORDS.get(claim.metric, claim.metric),
            claim.word,
            Cell(f"{claim.statement[0].upper()}{claim.statement[1:]}.", detail=f"Paper: {claim.source}"),
            Cell(claim.reason or claim_sentence(claim).partition(f"): {claim.word}: ")[2], detail=claim.test),
        ]
        for claim in found
    ]
    return Table(
        ["Metric", "Verdict", "Claim", "Numbers and test"],
        rows,
        f"{task}: hybrid against classical.",
        False,
        stacks=True,
    )


def spread(context: Context) -> list[Block]:
    """Where the spread comes from, and what stands beside each verdict: cost."""
    blocks: list[Block] = []
    for name, of_task in context.differences.tasks.items():
        blocks += over_draws(name, of_task)
        found = of_task.spread
        if found is None or len(found.components) < 2:
            continue
        rows: list[Cells] = [
            [
                " × ".join(each.factors) + (" (residual)" if each is found.components[-1] else ""),
                Cell(f"{100 * each.share:.1f} %", each.share),
                Cell(f"{each.variance:.3g}", each.variance),
                Cell(str(each.df), each.df),
            ]
            for each in found.components
        ]
        lead = ""
        if "model" not in found.not_varied:
            lead = f"**The model explains {100 * found.share_with('model'):.1f} % of what differs on {name}** "
            lead += "(its own share and that with other factors). "
        still = (*found.not_varied, *([] if of_task.parts.draws else ["circuit seed"]))
        unknown = f"Not varied here, so that nothing is known of them: {', '.join(still)}." if still else ""
        blocks += [
            *([Text(lead + unknown)] if lead or unknown else []),
            Table(
                ["Source", "Share", "Variance", "df"],
                rows,
                f"{name}, {WORDS.get(of_task.metric, of_task.metric)} of each fit: components of variance from "
                "expected mean squares, negative ones counted as 0. A fold has its own images and weight seed: the "
                "two are one factor here.",
                sortable=False,
            ),
        ]
    return blocks


def leaks(context: Context) -> list[Block]:
    """What relatives on both sides of a fold add, where a study can say it."""
    blocks: list[Block] = []
    if found := context.differences.leaks:
        rows: list[Cells] = [
            [
                f"{one.ungrouped} − {one.grouped}",
                one.backbone,
                one.model,
                WORDS.get(one.metric, one.metric),
                *by_image(one.found)[:2],
            ]
            for one in found
        ]
        blocks.append(
            Table(
                ["Tasks", "Width", "Model", "Metric", "Ungrouped − grouped", "p"],
                rows,
                "The same images and models, folds with groups torn apart minus folds that keep them whole: what "
                "leaks. Paired by image, so for these networks only.",
                stacks=True,
            )
        )
    blocks += _unseen(context)
    return blocks


def _unseen(context: Context) -> Iterator[Block]:
    for name, of_task in context.differences.tasks.items():
        rows: list[Cells] = [
            [
                backbone,
                model,
                WORDS.get(one.metric, one.metric),
                number(one.seen.value, detail=interval_words(one.seen.interval)),
                number(one.unseen.value, detail=interval_words(one.unseen.interval)),
                Cell(signed(one.seen.value - one.unseen.value), one.seen.value - one.unseen.value),
            ]
            for (backbone, model), parts in of_task.unseen.items()
            for one in parts
        ]
        if rows:
            first = next(iter(of_task.unseen.values()))[0]
            yield Table(
                ["Backbone", "Model", "Metric", "Seen groups", "Unseen groups", "Difference"],
                rows,
                f"{name}: test images whose group has others in the training part ({first.seen.images:,}), and those "
                f"without ({first.unseen.images:,}). The second are what new patients would be.",
                stacks=True,
            )
