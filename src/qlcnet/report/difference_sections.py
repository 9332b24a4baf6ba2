"""Sections on differences: the answers, and every comparison with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qlcnet.evidence.families import Family, Line
from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.sentences import WORDS, p_text, sentence, signed
from qlcnet.evidence.several_sets import Ranks
from qlcnet.evidence.statistics import Interval
from qlcnet.evidence.verdicts import Silent, Verdict
from qlcnet.report.content import (
    Block,
    Cell,
    Context,
    Details,
    Heading,
    Note,
    Plot,
    Table,
    Text,
    count,
    number,
)
from qlcnet.report.differences import TaskEvidence
from qlcnet.report.forest import forest, rank_diagram
from qlcnet.report.many_plots import differences
from qlcnet.report.quantum_sections import about_alike, is_it_the_quantum
from qlcnet.report.style import are_many
from qlcnet.report.words import counted

Cells = list[Cell | str]
KINDS = {
    "mean over widths": "the mean over widths",
    "trend over widths": "the trend over widths",
    "one width": "a width",
}


def answers(context: Context) -> list[Block]:
    """One sentence a task and width, and the forest plot of what they are read off."""
    found = [(name, of_task) for name, of_task in context.differences.tasks.items() if of_task.headline]
    if not found:
        return [Note("One model alone: there is nothing to compare it with.")]
    declared = context.study.params.evidence.primary is not None
    rows: list[Cells] = []
    for name, of_task in found:
        for role, line in of_task.headline:
            over = line.contrast.backbones
            width = over[0] if len(over) == 1 else f"mean of {len(over)}"
            rows.append([name, width, Cell(line.verdict.word), _told(line, role, of_task)])
    metrics = {of_task.metric for _, of_task in found}
    plots = [
        Plot(f"forest-{metric}", forest(_headlines(found, metric), metric, len(found) > 1), FOREST)
        for metric in metrics
    ]
    shown = [plot for plot in plots if plot.figure.axes[0].lines]
    note = (
        "These comparisons were declared in `params.yaml`, section `evidence`; all others are exploratory."
        if declared
        else "**Nothing was declared** in the section `evidence` of `params.yaml`: every comparison here is "
        "exploratory, its p-values are not adjusted for their number, and a claim needs a study that declares it "
        "first."
    )
    return [
        *is_it_the_quantum(context),
        Table(["Task", "Width", "Verdict", "Answer"], rows, "", sortable=False, stacks=True),
        *shown,
        Note(note),
    ]


FOREST = (
    "Differences in what training again would give: mean over fits, interval of 95 % (thick) and of its family "
    "(thin: Bonferroni). Diamond: mean over widths within each fold. Band: differences too small to matter (the "
    "margin). Grey: undecided, which is not the same as equal."
)


def _headlines(found: Sequence[tuple[str, TaskEvidence]], metric: str) -> list[Line]:
    return [line for _, of_task in found for _, line in of_task.headline if of_task.metric == metric]


def _told(line: Line, role: str, of_task: TaskEvidence) -> str:
    """The sentence without what the columns before it say."""
    text = sentence(line, role)  # type: ignore[arg-type]
    told = text.partition(": ")[2]
    return told[0].upper() + told[1:]


def comparisons(context: Context) -> list[Block]:
    """Every comparison with its numbers, families apart, and what was refused."""
    alpha = context.study.params.evidence.alpha
    blocks: list[Block] = [
        Text(
            "Two questions, never mixed. **This way of training**: were both trained again, on other images like "
            "these, with other folds and seeds, which would be better? Its unit is the fit, paired by repeat and "
            "fold, by the corrected resampled t test (Nadeau and Bengio 2003), since folds share training images. "
            "**These networks**: which of those that were fitted classifies more images like these correctly? Its "
            f"unit is the image. Families are adjusted by Holm at {alpha:g}; docs/statistics.md says how each word "
            "is earned."
        )
    ]
    for name, of_task in context.differences.tasks.items():
        blocks += [Heading(name)] if len(context.differences.tasks) > 1 else []
        blocks += [Note(f"{refused.a} and {refused.b}: {refused.reason}.") for refused in of_task.comparisons.refused]
        blocks += [_family(family) for family in of_task.comparisons.of("primary")]
        blocks += _exploratory(name, of_task)
        if alike := of_task.comparisons.of("A/A"):
            lines = [about_alike(of_task), *(_family(family) for family in alike)]
            blocks.append(Details(f"{name}: A/A lines", lines, is_open=False))
        if len(of_task.models) > 2:
            blocks.append(Details(f"{name}: every pair", [_every_pair(name, of_task)], is_open=False))
        blocks.append(Details(f"{name}: what each side costs", [_costs(context, name)], is_open=False))
        if of_task.networks:
            blocks.append(Details(f"{name}: these networks, by image", [_networks(of_task)], is_open=False))
    if context.differences.across:
        blocks += [Heading("Over data sets"), _across(context)]
        if isinstance(context.differences.ranks, Ranks):
            blocks.append(Plot("ranks", rank_diagram(context.differences.ranks), RANKS))
    return blocks


def _exploratory(name: str, of_task: TaskEvidence) -> list[Block]:
    """Folded away; of many models a part a metric, that of the overview first."""
    parts = {name: of_task.comparisons.of("exploratory")}
    if are_many(of_task.models):
        metrics = sorted(dict.fromkeys(one.metric for one in parts[name]), key=lambda metric: metric != of_task.metric)
        parts = {
            f"{name}, {WORDS.get(metric, metric)}": tuple(one for one in parts[name] if one.metric == metric)
            for metric in metrics
        }
    return [
        Details(
            f"{title}: {counted(sum(len(one.lines) for one in families), 'exploratory comparison')}, unadjusted",
            [_family(one) for one in families],
            is_open=False,
        )
        for title, families in parts.items()
        if families
    ]


def _family(family: Family) -> Table:
    rows: list[Cells] = []
    for line in family.lines:
        contrast, verdict = line.contrast, line.verdict
        over = contrast.backbones[0] if len(contrast.backbones) == 1 else f"{len(contrast.backbones)} widths"
        head: Cells = [f"{contrast.a} − {contrast.b}", over]
        if isinstance(verdict, Silent):
            rows.append([*head, Cell(verdict.word, detail=verdict.reason), *["–"] * 5])
            continue
        probabilities, effect = verdict.probabilities, verdict.effect
        chances = (
            "–"
            if probabilities is None
            else " / ".join(f"{p:.2f}" for p in (probabilities.worse, probabilities.same, probabilities.better))
        )
        beats = Cell("–") if effect is None else number(effect.share, 2, _limits(effect.interval, 2))
        adjusted = f"{p_text(verdict.adjusted.difference)} adjusted" if family.role == "primary" else ""
        rows.append(
            [
                *head,
                Cell(verdict.word, detail=_outlook(verdict)),
                Cell(signed(verdict.test.mean), verdict.test.mean, _signed_limits(verdict.interval)),
                _signed_limits(verdict.unadjusted),
                Cell(p_text(verdict.p), verdict.p, adjusted),
                chances,
                beats,
            ]
        )
    adjusted = f"Holm over {len(family.lines)}" if family.role == "primary" else "unadjusted"
    margin = next((v.verdict.margin for v in family.lines if isinstance(v.verdict, Verdict) and v.verdict.margin), None)
    band = "" if margin is None else f", margin {margin:g}"
    unit = "; change a doubling of parameters" if family.kind == "trend over widths" else ""
    return Table(
        [
            "Pair",
            "Over",
            "Verdict",
            "Difference",
            "95 % alone",
            "p",
            "Worse, same, better",
            "A beats B",
        ],
        rows,
        f"{family.task}, {WORDS.get(family.metric, family.metric)}, {KINDS[family.kind]}{unit}: {family.role}, "
        f"{adjusted}{band}. Below a difference its interval in the family. Worse, same, better: Bayesian reading of "
        "the same numbers, which decides nothing. A beats B: share of paired fits.",
        sortable=False,
        stacks=True,
    )


def _outlook(verdict: Verdict) -> str:
    outlook = verdict.outlook
    if verdict.word != "undecided" or outlook is None:
        return "" if verdict.margin is None else f"could show equivalence to ±{verdict.least_margin:.4f} at best"
    if outlook.seen_now:
        return f"sees {outlook.detectable:.4f} with 80 % power"
    how = f"{outlook.repeats} repeats" if outlook.repeats else f"{outlook.images:.2g} times as many images"
    return f"sees {outlook.detectable:.4f} with 80 % power; {how} would see {outlook.target:.4f}"


RANKS = (
    "Mean ranks over data sets, 1 is best (Demsar 2006). Models less than the critical difference apart (bar, "
    "Nemenyi) are not told apart. One more model changes all ranks; the pairs above stay as they are."
)


def _every_pair(task: str, of_task: TaskEvidence) -> Table | Plot:
    """Every model against every other: a table, of many models a heat map."""
    about = (
        f"{task}, {WORDS.get(of_task.metric, of_task.metric)}, mean over common widths: each cell is of its two models "
        "alone, unadjusted, and stays the same when a model is added."
    )
    if not are_many(of_task.models):
        return Table(["Row − column", *of_task.models], list(_matrix_rows(of_task)), about, sortable=False)
    figure = differences(of_task.models, of_task.pairs, "Row − column")
    marks = (
        " Dot: a difference was found; ring: it is too small to matter; no mark: undecided. Numbers: tables/pairs.csv."
    )
    return Plot(f"{task}-pairs", figure, about + marks)


def _matrix_rows(of_task: TaskEvidence) -> Iterator[Cells]:
    for i, model in enumerate(of_task.models):
        row: Cells = [model]
        for j in range(len(of_task.models)):
            verdict = of_task.pairs[i, j]
            if verdict is None or isinstance(verdict, Silent):
                row.append("–")
            else:
                row.append(Cell(signed(verdict.test.mean), verdict.test.mean, verdict.word))
        yield row


def _costs(context: Context, task: str) -> Table:
    """Three axes beside each verdict: parameters, training, circuits an inference.

    Training counts in multiply-adds (a backward pass is two forward ones): seconds differ from machine to machine and
    are no part of results. They stand in MLflow, measured, as seconds_fit.
    """
    rows: list[Cells] = []
    for (backbone, model), summary in context.summaries[task].items():
        cost, fits = summary.cost, context.study.tasks[task].results[backbone, model].fits
        trained = sum(fit.config["images"]["train"] for fit in fits) * context.study.params.training_of(model).epochs
        work = 3.0 * cost.multiply_adds * trained
        channels = cost.circuit_evaluations.hardware_quanvolution // len(context.study.tasks[task].images)
        circuits = channels + context.study.params.models[model].head.is_quantum  # a forward pass of the head is one
        rows.append(
            [backbone, model, count(cost.parameters), Cell(f"{work / 1e12:.3g}", work), count(circuits)],
        )
    return Table(
        ["Backbone", "Model", "Parameters", "Training, 10^12 multiply-adds", "Circuits an inference"],
        rows,
        f"{task}: training counts three passes' work an image and epoch over all fits, without the quantum part; how "
        "long each fit took is in MLflow. Circuits: what quantum hardware would run to classify an image, with many "
        "shots each.",
        stacks=True,
    )


def _networks(of_task: TaskEvidence) -> Table:
    rows: list[Cells] = []
    for one in of_task.networks:
        pair, backbone = f"{one.contrast.a} − {one.contrast.b}", one.contrast.backbones[0]
        rows.append([pair, backbone, *by_image(one.found)])
    metric = WORDS.get(of_task.metric, of_task.metric)
    return Table(
        ["Pair", "Width", "Difference", "p", "A alone / B alone right", "McNemar, mid-p"],
        rows,
        f"{metric}: of the networks that were fitted, paired by image, with cluster-robust intervals from influence "
        "values. It says nothing of training again.",
        sortable=False,
        stacks=True,
    )


def by_image(found: ImageDifference | TooFew) -> Cells:
    """Cells: the difference with its interval, p, images that one alone has right, McNemar's p."""
    if isinstance(found, TooFew):
        return [Cell("–", detail=str(found)), "–", "–", "–"]
    return [
        Cell(signed(found.difference), found.difference, _signed_limits(found.interval)),
        "–" if found.p is None else p_text(found.p),
        f"{found.discordant[0]:,} / {found.discordant[1]:,}",
        "–" if found.mcnemar is None else p_text(found.mcnemar),
    ]


def _across(context: Context) -> Table:
    rows: list[Cells] = []
    for one in context.differences.across:
        head: Cells = [f"{one.a} − {one.b}", WORDS.get(one.metric, one.metric), ", ".join(one.tasks)]
        if isinstance(one.found, TooFew):
            rows.append([*head, Cell("–", detail=str(one.found)), "–", "–", "–"])
            continue
        following = "–" if one.found.next_set is None else _signed_limits(one.found.next_set)
        mean = Cell(signed(one.found.mean), one.found.mean, _signed_limits(one.found.interval))
        rows.append([*head, mean, p_text(one.found.p), f"{one.found.between:.4f}", following])
    return Table(
        ["Pair", "Metric", "Tasks", "Mean difference", "p", "sd between sets", "The next set"],
        rows,
        "Random effects over data sets (DerSimonian and Laird; intervals by Hartung and Knapp), mean over widths "
        "within each. Tasks that share images count once, and two sets are a very small sample.",
        sortable=False,
        stacks=True,
    )


def _limits(interval: Interval, digits: int) -> str:
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _signed_limits(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"
