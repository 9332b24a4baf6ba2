"""Claim: intervals hold what they promise, and tests cry wolf no more often than they say.

Run: python benchmarks/statistics.py [--part intervals] [--simulations 2000] [--only 156] (tens of minutes; goes on
where it stopped, and is meant for the background). Each cell simulates studies of one shape, in which the truth is
known. What a cell gave stands in benchmarks/statistics.json, which is in git; the state of unfinished cells in
.qlcnet/benchmarks. The last line is JSON.
"""

from __future__ import annotations

import sys

if __name__ == "statistics":  # a script beside this one asked for the standard library's module, and found this file
    import importlib.util
    import sysconfig

    _spec = importlib.util.spec_from_file_location(__name__, f"{sysconfig.get_path('stdlib')}/statistics.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
else:
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")

    import argparse
    import json
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from machine import describe_machine
    from simulate.breastmnist import breastmnist_cells
    from simulate.cells import Cell, Kept, run
    from simulate.coverage import coverage_cells, table_of
    from simulate.networks_compared import cells as cells_of_networks
    from simulate.tests_of_differences import cells as cells_of_tests

    SIMULATIONS = 2000
    HERE = Path(__file__).resolve().parent
    PARTS: Mapping[str, Callable[[], Mapping[str, Cell]]] = {
        "intervals": coverage_cells,
        "tests": cells_of_tests,
        "networks": cells_of_networks,
        "breastmnist": breastmnist_cells,
    }

    def main(arguments: Sequence[str] | None = None) -> None:
        """The chosen parts; prints a line a cell and, last, one JSON line."""
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--part", choices=PARTS, action="append", help="one part (default: all); may be repeated")
        parser.add_argument("--simulations", type=int, default=SIMULATIONS, help=f"a cell (default {SIMULATIONS})")
        parser.add_argument("--only", default="", help="cells whose name contains this")
        given = parser.parse_args(arguments)
        machine = describe_machine("numpy", "scipy")
        print(machine, flush=True)
        found = {}
        for part in given.part or PARTS:
            kept = Kept(part, HERE / "statistics.json", HERE.parent / ".qlcnet" / "benchmarks")
            cells = {name: cell for name, cell in PARTS[part]().items() if given.only in name}
            for name, result in run(cells, given.simulations, kept):
                found[f"{part}: {name}"] = result
                print(f"{part}: {name}\n  {json.dumps(result)}", flush=True)
        simulated = json.loads((HERE / "statistics.json").read_text(encoding="utf-8")).get("intervals", {})
        (HERE.parent / "src/qlcnet/evidence/coverage.csv").write_text(table_of(simulated), encoding="utf-8")
        print(json.dumps({"benchmark": "statistics", "machine": machine, "cells": found}))

    if __name__ == "__main__":
        main()
