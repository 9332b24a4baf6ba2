"""The grades of a reproduction, from equal bytes to another result, and what a level that is asked for accepts."""

from __future__ import annotations

from enum import IntEnum


class Grade(IntEnum):
    """How near a recomputed result is to the recorded one; a higher one is farther."""

    BYTES = 0
    METRICS = 1
    ROUNDING = 2
    CONSISTENT = 3
    UNKNOWN = 4
    DIFFERENT = 5

    @property
    def words(self) -> str:
        """As people read it."""
        return WORDS[self]


WORDS = {
    Grade.BYTES: "identical bytes",
    Grade.METRICS: "identical metrics",
    Grade.ROUNDING: "same within rounding",
    Grade.CONSISTENT: "consistent",
    Grade.UNKNOWN: "cannot be told",
    Grade.DIFFERENT: "different",
}
# of --require: the farthest grade that it accepts
LEVELS = {
    "bytes": Grade.BYTES,
    "metrics": Grade.METRICS,
    "rounding": Grade.ROUNDING,
    "consistent": Grade.CONSISTENT,
}
CONCLUSION = "conclusion"  # the level that looks at the study's verdicts alone
REACHED, NOT_REACHED, UNTOLD = 0, 1, 2  # exit codes


def exit_code(level: str, grade: Grade, same_conclusion: bool | None, tampered: bool) -> int:
    """Of a verdict. `tampered`: some file is not what was recorded, which no level accepts."""
    if tampered:
        return NOT_REACHED
    if level == CONCLUSION:
        return UNTOLD if same_conclusion is None else REACHED if same_conclusion else NOT_REACHED
    if grade == Grade.UNKNOWN:
        return UNTOLD
    return REACHED if grade <= LEVELS[level] else NOT_REACHED
