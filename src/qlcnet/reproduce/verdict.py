"""What a reproduction found: fit by fit, file by file, in one verdict with its basis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from qlcnet.reproduce.compare_fits import FitVerdict
from qlcnet.reproduce.conclusion import Conclusion
from qlcnet.reproduce.grades import Grade, exit_code


@dataclass
class Verdict:
    """Of a commit.

    fits: one each that was compared. total: how many the study has. problems: files that were tampered with, or cannot
    come from one another. together: what fits held against a range say. inputs: images, folds and channels, a line
    each. report: numbers of it that differ, for a reason that fits give. differs: between then and now. basis: what
    was compared with what. unchecked: what was not.
    """

    asked: str
    commit: str
    fits: list[FitVerdict]
    total: int
    conclusion: Conclusion
    problems: list[str] = field(default_factory=list)
    together: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    rounded: set[str] = field(default_factory=set)  # tasks whose channels differ by rounding alone
    report: list[str] = field(default_factory=list)
    differs: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    basis: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    run: int = 0  # fits that this process ran
    fingerprints: dict[str, str] = field(default_factory=dict)  # of the recorded fits that were compared
    study: str = ""  # of docs/results, where that was reproduced

    @property
    def grade(self) -> Grade:
        """The farthest of all fits; different where a file was tampered with; cannot be told where nothing was."""
        if self.problems:
            return Grade.DIFFERENT
        return max((fit.grade for fit in self.fits), default=Grade.UNKNOWN)

    @property
    def worst_first(self) -> list[FitVerdict]:
        """Fits, the farthest first."""
        return sorted(self.fits, key=lambda fit: (-fit.grade, -fit.largest, fit.fit))

    @property
    def divergence(self) -> str:
        """The first stage and file in which then and now part; empty where they do not."""
        if self.problems:
            return self.problems[0]
        if self.inputs:
            return self.inputs[0]
        first = next((fit for fit in sorted(self.fits, key=lambda fit: fit.fit) if fit.divergence), None)
        if first:
            return f"train, {first.fit}: {first.divergence}"
        return f"report, {self.report[0]}" if self.report else ""

    def code(self, level: str) -> int:
        """The exit code, for the level that `--require` names."""
        return exit_code(level, self.grade, self.conclusion.same, bool(self.problems))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        fits = [
            {**asdict(fit), "grade": fit.grade.words, "metrics": pairs(fit.metrics), "differs": pairs(fit.differs)}
            for fit in self.worst_first
        ]
        return {
            "asked": self.asked,
            "commit": self.commit,
            "study": self.study,
            "verdict": self.grade.words,
            "conclusion": {**asdict(self.conclusion), "changes": list(self.conclusion.changes)},
            "first_divergence": self.divergence,
            "fits": fits,
            "fits_of_study": self.total,
            "fits_run": self.run,
            "fingerprints": self.fingerprints,
            "problems": self.problems,
            "together": self.together,
            "inputs": self.inputs,
            "report": self.report,
            "differs": pairs(self.differs),
            "basis": self.basis,
            "not_checked": self.unchecked,
            "machine": self.machine,
        }


def pairs(found: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    """Named pairs as JSON: NaN as null."""
    return {name: {"recorded": plain(then), "recomputed": plain(now)} for name, (then, now) in found.items()}


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN, which it has not, as None."""
    return None if isinstance(value, float) and value != value else value
