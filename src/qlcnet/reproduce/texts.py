"""A verdict as text for people, as Markdown, and as JUnit for machines that run tests."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from qlcnet.grid.text import count_text, table
from qlcnet.reproduce.compare_fits import FitVerdict
from qlcnet.reproduce.grades import CONCLUSION, LEVELS, Grade
from qlcnet.reproduce.verdict import Verdict

SHOWN = 10  # fits of the table, differing numbers of a list
HEAD = ["fit", "verdict", "equal classes", "largest difference", "what"]


def as_text(verdict: Verdict) -> str:
    """For a terminal: the verdict first, then the worst fits, then what it stands on."""
    lines = [f"{verdict.commit[:12]} again: {verdict.grade.words}", conclusion_line(verdict), ""]
    if verdict.fits:
        lines += [table([HEAD, *(_row(fit) for fit in verdict.worst_first[:SHOWN])])]
        if (more := len(verdict.fits) - SHOWN) > 0:
            lines.append(f"… and {count_text(more, 'fit')} no worse than these")
        lines.append("")
    for title, found in _sections(verdict):
        shown = found[:SHOWN] + ([f"… and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])
        lines += [f"{title}:", *(f"  {line}" for line in shown)]
    return "\n".join(lines)


def as_markdown(verdict: Verdict) -> str:
    """For a pull request or an issue."""
    lines = [f"## {verdict.commit[:12]} again: {verdict.grade.words}", "", conclusion_line(verdict), ""]
    if verdict.fits:
        lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
        lines += [f"| {' | '.join(_row(fit))} |" for fit in verdict.worst_first]
        lines.append("")
    for title, found in _sections(verdict):
        lines += [f"**{title}**", "", *(f"- {line}" for line in found), ""]
    return "\n".join(lines)


def as_junit(verdict: Verdict, level: str) -> str:
    """A test case a fit, one of the files and one of the conclusion, against the level that is asked for."""
    suite = ElementTree.Element("testsuite", name=f"qlcnet reproduce {verdict.commit[:12]}")
    accepted = LEVELS.get(level, Grade.UNKNOWN)
    cases = []
    for fit in verdict.worst_first if level != CONCLUSION else []:
        untold = fit.grade == Grade.UNKNOWN
        why = "; ".join(filter(None, [fit.grade.words, *fit.notes, fit.divergence]))
        cases.append((fit.fit, fit.grade > accepted and not untold, untold, why))
    cases.append(("files", bool(verdict.problems), False, "; ".join(verdict.problems)))
    same = verdict.conclusion.same
    is_asked = level == CONCLUSION
    cases.append(("conclusion", is_asked and same is False, same is None, conclusion_line(verdict)))
    for name, failed, untold, why in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="reproduce", name=name)
        if failed:
            ElementTree.SubElement(case, "failure", message=why)
        elif untold:
            ElementTree.SubElement(case, "skipped", message=why)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(len(suite.findall("*/failure"))))
    suite.set("skipped", str(len(suite.findall("*/skipped"))))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def conclusion_line(verdict: Verdict) -> str:
    """Whether the study says the same."""
    found = verdict.conclusion
    if found.same is None:
        return f"the same conclusion? cannot be told: {found.basis}"
    if found.same:
        return f"the same conclusion? yes: {count_text(found.said, 'verdict')} are as recorded ({found.basis})"
    return (
        f"the same conclusion? no: {len(found.changes)} of {count_text(found.said, 'verdict')} changed ({found.basis})"
    )


def _row(fit: FitVerdict) -> list[str]:
    agreement = "-" if fit.agreement is None else f"{100 * fit.agreement:.1f} %"
    return [fit.fit, fit.grade.words, agreement, f"{fit.largest:.2g}", "; ".join(fit.notes)]


def _sections(verdict: Verdict) -> Iterator[tuple[str, list[str]]]:
    found = {
        "Not what was recorded": verdict.problems,
        "All fits together": verdict.together,
        "First divergence": [verdict.divergence] if verdict.divergence else [],
        "Images, folds and channels": verdict.inputs,
        "Verdicts that changed": list(verdict.conclusion.changes),
        "Numbers of the report that differ": verdict.report,
        "Then and now": [
            f"{name}: {'none' if then is None else then} then, {'none' if now is None else now} now"
            for name, (then, now) in verdict.differs.items()
        ],
        "Stands on": verdict.basis,
        "Not checked": verdict.unchecked,
    }
    yield from ((title, lines) for title, lines in found.items() if lines)
