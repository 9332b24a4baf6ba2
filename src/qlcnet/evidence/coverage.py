"""How often the printed intervals held the truth in simulated studies like a given one.

The packaged coverage.csv is made of benchmarks/statistics.json by benchmarks/statistics.py
(test_the_packaged_coverage_is_that_of_the_benchmark).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Coverage:
    """Of a metric's nominal 95 % interval in one simulated shape; `recall` and `auc` are the worst class's.

    shape: in words. classes, n: of it. grouped: whether images came in groups. simulations: that showed an interval.
    """

    shape: str
    classes: int
    n: int
    grouped: bool
    metric: str
    simulations: int
    coverage: float


@cache
def coverages() -> tuple[Coverage, ...]:
    """All that was simulated."""
    text = files("qlcnet.evidence").joinpath("coverage.csv").read_text(encoding="utf-8")
    return tuple(
        Coverage(
            row["shape"], int(row["classes"]), int(row["n"]), row["grouped"] == "yes",
            row["metric"], int(row["simulations"]), float(row["coverage"]),
        )
        for row in csv.DictReader(text.splitlines())
    )  # fmt: skip


def coverage_like(classes: int, n: int, grouped: bool) -> dict[str, Coverage]:
    """For each metric the worst of the shapes that are nearest: two classes or more, grouped or not, then images.

    Shapes differ in how good the network is, too; which is yours is not known before, so that the worst counts.
    """
    alike = [one for one in coverages() if (one.classes == 2) == (classes == 2) and one.grouped == grouped]
    if not alike:
        return {}
    nearest = min({one.n for one in alike}, key=lambda size: abs(math.log(size / n)))
    found: dict[str, Coverage] = {}
    for one in alike:
        if one.n == nearest and one.coverage < found.get(one.metric, one).coverage + 1e-12:
            found[one.metric] = one
    return found
