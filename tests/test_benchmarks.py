"""What benchmarks share: a file named like a module of the standard library does not take its place."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_scripts_beside_it_still_import_the_standard_librarys_statistics():
    code = "import statistics; from statistics import quantiles; print(statistics.median([1, 2, 9]), quantiles([1, 2]))"
    # -c puts the working folder first, as a script's own folder is
    found = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert found.stdout.split()[0] == "2", found.stderr
