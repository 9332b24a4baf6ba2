"""What the report says of quantum parts: the answers by twins, notes on pairs that must be alike, draws of circuits."""

from __future__ import annotations

from collections.abc import Iterator

from qlcnet.evidence.answers import level
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.sentences import WORDS, signed
from qlcnet.evidence.statistics import Interval
from qlcnet.evidence.verdicts import Verdict
from qlcnet.report.content import Block, Cell, Context, Note, Table
from qlcnet.report.differences import TaskEvidence
from qlcnet.report.words import join_words

Cells = list[Cell | str]
ROUNDING = 1e-3  # of probabilities after a fit: rounding grows over its steps


def is_it_the_quantum(context: Context) -> list[Block]:
    """Where each quantum model stands: one sentence each, the strongest twin named; identities that failed."""
    blocks: list[Block] = []
    several = len(context.differences.tasks) > 1
    for name, of_task in context.differences.tasks.items():
        rows: list[Cells] = []
        for one in of_task.parts.standings:
            cells = [_against(*one.reference) if one.reference else "–"]
            cells.append(_against(one.strongest[0].control, one.strongest[1]) if one.strongest else "–")
            rows.append(
                [*([name] if several else []), one.model, *cells, one.conclusion[0].upper() + one.conclusion[1:]]
            )
        if rows:
            blocks.append(
                Table(
                    [*(["Task"] if several else []), "Quantum model", "Classical network", "Strongest twin", "So"],
                    rows,
                    f"Is it the quantum? {WORDS.get(of_task.metric, of_task.metric)}, mean over common widths, by the "
                    "corrected t test. A twin lacks one thing of the quantum part; the strongest is the one that the "
                    "model leads least. Declared comparisons are adjusted, others stand each for itself.",
                    sortable=False,
                    stacks=True,
                )
            )
        blocks += [
            Note(
                f"{name}, {one.backbone}: {one.a} and {one.b} are one function, and their probabilities differ by up "
                f"to {one.largest:.2g}: something else differs between these fits.",
                "warning",
            )
            for one in of_task.parts.identities
            if one.largest > ROUNDING + context.study.rounding
        ]
    return blocks


def _against(name: str, verdict: Verdict) -> Cell:
    detail = f"{signed(verdict.test.mean)} ({_limits(verdict.interval)})"
    return Cell(f"{level(verdict)} {name}", detail=detail)


def about_alike(of_task: TaskEvidence) -> Note:
    """What pairs that are one function, or a seed apart, are for."""
    text = (
        "Pairs that differ by the seed of their first weights alone show how far apart one model and itself come to "
        "lie: the floor of this study. Pairs that are one function must agree to rounding. Neither proves anything of "
        "the test."
    )
    for one in of_task.parts.identities:
        text += f" **{one.a} and {one.b}** ({one.backbone}): probabilities differ by at most {one.largest:.2g}."
    return Note(text)


def over_draws(name: str, of_task: TaskEvidence) -> Iterator[Block]:
    """Models that are one but for a drawn seed: how much the draw matters, and what it says of circuits of the kind."""
    rows: list[Cells] = []
    for one in of_task.parts.draws:
        lead: Cell | str = "–"
        if isinstance(one.lead, Interval):
            lead = Cell(f"over {one.reference}: {_limits(one.lead)}")
        elif isinstance(one.lead, TooFew):
            lead = Cell("too few", detail=one.lead.reason)
        values = ", ".join(f"{value:.4f}" for value in one.values)
        rows.append(
            [
                join_words(list(one.models)),
                one.backbone,
                Cell(f"{one.mean:.4f}", one.mean, f"sd {one.sd:.4f}"),
                values,
                lead,
            ]
        )
    if rows:
        yield Table(
            ["Models", "Width", "Mean", "Each", "Lead of the kind"],
            rows,
            f"{name}, {WORDS.get(of_task.metric, of_task.metric)}: models that differ in the seed of a drawn circuit "
            "or control alone, mean over fits. A verdict elsewhere is about the one circuit that was drawn; the last "
            "column, a t interval over seeds, is about circuits of the kind.",
            sortable=False,
            stacks=True,
        )


def _limits(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"
