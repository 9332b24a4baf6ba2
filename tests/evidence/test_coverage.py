"""What the report says that its intervals hold: from the benchmark's results, for the nearest shapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from qlcnet.evidence.coverage import coverage_like, coverages

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_packaged_coverage_is_that_of_the_benchmark() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from simulate.coverage import table_of  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(BENCHMARKS))
    results = json.loads((BENCHMARKS / "statistics.json").read_text(encoding="utf-8"))["intervals"]
    packaged = BENCHMARKS.parent / "src/qlcnet/evidence/coverage.csv"
    assert packaged.read_text(encoding="utf-8") == table_of(results)


def test_no_interval_that_is_printed_holds_less_than_it_has_to() -> None:
    assert not [one for one in coverages() if one.coverage < 0.92]


def test_the_worst_of_the_nearest_shapes_counts() -> None:
    found = coverage_like(classes=10, n=1797, grouped=False)
    assert {one.n for one in found.values()} == {1000}
    assert all(one.classes > 2 and not one.grouped for one in found.values())
    of_metric = [one.coverage for one in coverages() if (one.n, one.metric, one.grouped) == (1000, "accuracy", False)]
    assert found["accuracy"].coverage == min(of_metric)
    assert coverage_like(classes=2, n=150, grouped=False)["accuracy"].n == 156
