"""The page of a search, of the report's parts: what was found and how sure that is, then how it came about.

It is a page of its own: the study's report neither reads it nor waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qlcnet.report.content import Block, Cell, Code, Heading, Note, Plot, Section, Table, Text, count, number
from qlcnet.report.page import Page
from qlcnet.report.plots import METRIC_TITLES
from qlcnet.report.style import figure_style
from qlcnet.report.words import counted, join_words
from qlcnet.search import plots
from qlcnet.search.nested import Nested
from qlcnet.search.outcome import SearchRecord, TrialRecord
from qlcnet.search.tune import Found
from qlcnet.search.words import (
    counts_sentence,
    gain_sentence,
    nested_sentence,
    notes,
    overtuning_sentence,
    setting_yaml,
    value_sentence,
)

LEAST_PLOTTED = 3  # complete trials, for figures of settings


def page_of(found: Found) -> tuple[str, dict[str, bytes]]:
    """The HTML, and its figures by file name."""
    page = Page()
    with figure_style():
        sections = [
            (_section("found", "What was found"), list(_found(found))),
            (_section("outside", "On folds that no search saw"), list(_outside(found.nested))),
            (_section("trials", "Trials"), list(_budgets(found))),
            (_section("settings", "What mattered"), list(_settings(found))),
            (_section("all", "Every trial"), list(_all(found))),
        ]
        html = page.render(f"Search: {found.name}", [(section, blocks) for section, blocks in sections if blocks])
    return html, page.figures


def _section(anchor: str, title: str) -> Section:
    return Section(anchor, title, lambda context: ())


def _found(found: Found) -> Iterator[Block]:
    metric = found.params.tuning.metric
    yield Text(
        f"{counted(len(found.outcomes), 'search')} on {found.asked.task} with {found.outcomes[0].search.backbone}: "
        f"{METRIC_TITLES[metric]} over {found.params.tuning.folds} inner folds of an outer training part. Values are "
        "**optimistic**: the best of several, on the folds that it was chosen on. The bias beside them is Tibshirani "
        "and Tibshirani's estimate of how much."
    )
    rows: list[Sequence[Cell | str]] = []
    for one in found.outcomes:
        default = one.search.default
        rows.append(
            [
                _name(one.search, found), number(default.value if default else float("nan"), 4),
                number(one.winner.value, 4), number(one.bias, 4), number(one.corrected, 4),
                "replaces the default" if one.is_better else "no gain shown",
            ]
        )  # fmt: skip
    yield Table(["search", "default", "best (optimistic)", "bias", "best − bias", "tuned"], rows)
    for one in found.outcomes:
        yield Text(f"**{_name(one.search, found)}**: {gain_sentence(one)}.")
        for line in notes(one):
            kind = "warning" if line.startswith(("at the edge", "failed")) else "info"
            yield Note(line[0].upper() + line[1:] + ".", kind)
        if one.is_better:
            yield Code(setting_yaml(one.chosen.setting))


def _outside(nested: Sequence[Nested]) -> Iterator[Block]:
    if not nested:
        return
    yield Text(
        "In every outer training part the whole search was done, its winner fitted again on that part, and scored on "
        "the outer fold. This is what the procedure, searching included, is worth."
    )
    rows: list[Sequence[Cell | str]] = []
    for one in nested:
        for i, fold in enumerate(one.folds):
            rows.append(
                [
                    one.model, count(one.seed), count(fold), number(one.default[i], 4), number(one.tuned[i], 4),
                    number(one.tuned[i] - one.default[i], 4), number(one.inner[i], 4), number(one.corrected[i], 4),
                ]
            )  # fmt: skip
    headers = [
        "model",
        "search seed",
        "outer fold",
        "default",
        "tuned",
        "tuned − default",
        "promised",
        "promised − bias",
    ]
    yield Table(headers, rows)
    for one in nested:
        yield Text(f"{nested_sentence(one)}.")
    yield Note(overtuning_sentence(nested))


def _budgets(found: Found) -> Iterator[Block]:
    by_model: dict[str, list[SearchRecord]] = {}
    for one in found.outcomes:
        by_model.setdefault(one.search.model, []).append(one.search)
    several = len(found.outcomes) > 1
    yield Text(
        f"Each search has the same budget of {counted(found.asked.trials, 'trial')}, folds and seeds; trial 0 is the "
        "setting of params.yaml. "
        + ("Keys of one model alone are searched for that model only." if len(by_model) > 1 else "")
    )
    yield Plot(
        "history", plots.history(by_model),
        "Best value so far against settled trials" + (", mean and range over searches." if several else "."),
    )  # fmt: skip
    rows: list[Sequence[Cell | str]] = [
        [
            _name(search, found), count(len(search.trials)),
            *(count(sum(one.state == state for one in search.trials)) for state in ("complete", "pruned", "fail")),
            count(sum(one.new_fits for one in search.trials)),
            number(sum(one.seconds for one in search.trials) / 60, 1),
            join_words([plots.short_key(key) for key in search.bounds]),
        ]
        for searches in by_model.values() for search in searches
    ]  # fmt: skip
    yield Table(["search", "settled", "complete", "pruned", "failed", "new fits", "minutes of fits", "keys"], rows)
    for one in found.outcomes:
        yield Text(f"{_name(one.search, found)}: {counts_sentence(one.search)}; {value_sentence(one)}.")


def _settings(found: Found) -> Iterator[Block]:
    for i, one in enumerate(found.outcomes):
        search = one.search
        if len(search.complete) < LEAST_PLOTTED:
            continue
        yield Heading(_name(search, found))
        if search.importances:
            yield Plot(f"importances-{i}", plots.importances(search), "How much each key sets good trials apart.")
        yield Plot(f"parallel-{i}", plots.parallel(search), "Parallel coordinates: a line a trial with all folds.")
        yield Plot(f"slices-{i}", plots.slices(search), "Slices: ring, the default; filled, the best.")


def _all(found: Found) -> Iterator[Block]:
    for one in found.outcomes:
        search = one.search
        yield Heading(_name(search, found))
        headers = ["trial", "state", *(plots.short_key(key) for key in search.bounds), search.metric, "by fold"]
        yield Table(headers, [_row(search, trial) for trial in search.trials])


def _row(search: SearchRecord, trial: TrialRecord) -> list[Cell | str]:
    drawn = [_cell(trial.setting[key]) if key in trial.setting else Cell("–") for key in search.bounds]
    folds = " ".join(f"{value:.3f}" for value in trial.values)
    return [count(trial.number), trial.state, *drawn, number(trial.value, 4), folds]


def _cell(value: object) -> Cell:
    if isinstance(value, float):
        return Cell(f"{value:.4g}", value)
    return Cell(str(value), value if isinstance(value, int) and not isinstance(value, bool) else None)


def _name(search: SearchRecord, found: Found) -> str:
    """A search within its page."""
    name = search.model
    if found.asked.nested:
        name += f", fold {search.fold}"
    return f"{name}, seed {search.seed}" if found.asked.search_seeds > 1 else name
