"""What a training step costs on one accelerator, by every way that might be fast, and what the paper's grid would take.

Run: python benchmarks/accelerator.py [--budget 540]; docs/accelerator.md says what the rows mean. Each part runs in a
process of its own with its own timeout. What is measured is kept (--state) for the same device, torch and code: a
second run goes on where the first stopped. Parts that no longer fit the budget are skipped. The last line is JSON,
whatever happened. `--device cpu --tiny` shows in seconds whether the script works; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # a machine lent for minutes has torch, but not this project

import accelerator_grid  # noqa: E402
from accelerator_runs import ROW, Known, Outcome, Part, PartFailed, measure, run_process  # noqa: E402
from accelerator_step import Row, Sizes  # noqa: E402

KEPT = ROOT / ".qlcnet" / "benchmarks" / "accelerator.json"
NEEDED = ("torch", "timm", "pytorch_lightning", "torchmetrics", "numpy", "pydantic", "yaml", "psutil", "filelock")
NO_CUDA = "finds no CUDA device"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def parts_of(sizes: Sizes) -> list[Part]:
    """All parts, what decides first."""
    from accelerator_processes import processes
    from accelerator_ways import compiled, one_process

    def ways(width: str, number: str) -> Part:
        return Part(f"ways {width} {number}", 20, 110, lambda sizes, known: one_process(width, number, sizes, known))

    def many(width: str) -> Part:
        return Part(f"processes {width}", 30, 120, lambda sizes, known: processes(width, sizes, known))

    widths = sizes.widths
    always = [
        Part("device", 5, 90, lambda sizes, known: device_facts(sizes.device)),
        Part("tests", 15, 90, tests),
        *(ways(width, "float32") for width in widths),
        *(many(width) for width in widths),
    ]
    compile_one = Part("compile", 60, 120, lambda sizes, known: compiled(widths[0], sizes, known))
    return always if sizes.tiny else [*always, *(ways(width, "bfloat16") for width in widths), compile_one]


def device_facts(device: str) -> Iterator[Row]:
    """What it is, and the versions; a missing package is named here. Also that it multiplies."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise RuntimeError(f"packages are missing: {', '.join(missing)}")
    facts: dict[str, Any] = {"name": "cpu", "torch": version("torch"), "cpus": len(os.sched_getaffinity(0))}
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} {NO_CUDA} (built for CUDA {torch.version.cuda})")
        properties, ones = torch.cuda.get_device_properties(0), torch.ones(64, 64, device="cuda")
        if float((ones @ ones)[0, 0]) != 64:
            raise RuntimeError("a product of ones is wrong")
        facts |= {"name": properties.name, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        facts |= {"multiprocessors": properties.multi_processor_count, "gib": round(properties.total_memory / 2**30)}
    yield "device", facts


def tests(sizes: Sizes, known: Collection[str]) -> Iterator[Row]:
    """tests/fit/test_fit_cuda.py: how many passed, failed, were skipped, and what the failed ones say."""
    if "tests" in known:
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run([*command, "tests/fit/test_fit_cuda.py"], cwd=ROOT, capture_output=True, text=True)
        if not report.is_file():
            raise RuntimeError(f"pytest: {(done.stdout + done.stderr)[-400:]}")
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = {}
    for case in cases:
        for fault in (*case.findall("failure"), *case.findall("error")):
            failed[case.get("name", "")] = (fault.get("message") or fault.text or "")[:200]
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"passed": len(cases) - len(failed) - skipped, "failed": len(failed), "skipped": skipped}
    yield "tests", {**counts, **({"failures": failed} if failed else {})}


# --- the run ----------------------------------------------------------------------------------------------------------


def code_digest() -> str:
    """Of the code of fits and of this benchmark."""
    from qlcnet.fit.code import LOADED

    own = [*sorted(Path(__file__).parent.glob("accelerator*.py")), Path(__file__).with_name("grouped_fits.py")]
    return hashlib.sha256(b"\0".join([LOADED.whole.encode(), *(path.read_bytes() for path in own)])).hexdigest()[:16]


def run_part(name: str, sizes: Sizes, known: Known) -> None:
    """In a part's own process: print its rows."""
    (part,) = (part for part in parts_of(sizes) if part.name == name)
    for row, value in part.rows(sizes, set(known.rows)):
        value = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in value.items()}
        print(ROW + json.dumps([row, value]), flush=True)


def result_of(known: Known, outcome: Outcome, device: dict[str, Any], stopped: str, seconds: float) -> dict[str, Any]:
    """The last line."""
    grid: dict[str, Any] = {}
    try:
        grid = accelerator_grid.estimates(known.rows)
    except Exception as error:
        outcome.failed["grid"] = f"{type(error).__name__}: {error}"
    rows: dict[str, dict[str, Any]] = {}
    for name, value in known.rows.items():
        setting, _, way = name.partition(" | ")
        if way:
            rows.setdefault(setting, {})[way.replace(" | ", " ")] = value
        else:
            rows[setting] = value
    more = {"stopped": stopped} if stopped else {}
    return {
        "benchmark": "accelerator", "device": device, "rows": rows, **grid, "failed": outcome.failed,
        "skipped": outcome.skipped, **more, "seconds": round(seconds, 1),
    }  # fmt: skip


def interrupt(*_: object) -> None:
    """SIGTERM ends it as Ctrl-C does: with the last line."""
    raise KeyboardInterrupt("SIGTERM")


def main(arguments: Sequence[str] | None = None) -> int:
    """All parts; 0 where nothing failed and nothing was left out, and where there is no device (`make bench`)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, to see whether the script works")
    parser.add_argument("--budget", type=float, default=540, help="seconds for everything (default 540)")
    parser.add_argument("--state", type=Path, default=KEPT, help="the file that keeps what is measured")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--key", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    sizes, known = Sizes.of(given.device, given.tiny), Known(given.state)
    if given.part:
        known.open(given.key)
        run_part(given.part, sizes, known)
        return 0

    started, outcome, device, stopped = time.monotonic(), Outcome(), dict[str, Any](), ""
    signal.signal(signal.SIGTERM, interrupt)

    def launch(part: Part, seconds: float) -> Iterator[Row]:
        command = [sys.executable, __file__, "--device", given.device, *(["--tiny"] if given.tiny else [])]
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        command += ["--state", str(given.state), "--key", known.key, "--part", part.name]
        return run_process(command, seconds, {**os.environ, **ONE_THREAD, "PYTHONPATH": path})

    try:
        first, *rest = parts_of(sizes)
        for _, facts in launch(first, min(first.most, given.budget)):
            device.update(facts)
        print(device, flush=True)
        known.open(f"{device['name']}; torch {device['torch']}; code {code_digest()}{'; tiny' if given.tiny else ''}")
        measure(rest, started + given.budget, known, launch, outcome)
    except PartFailed as error:
        outcome.failed["device"] = str(error)
    except KeyboardInterrupt as error:
        stopped = str(error) or "interrupted"
    except Exception:
        stopped = traceback.format_exc()[-600:]
    print(json.dumps(result_of(known, outcome, device, stopped, time.monotonic() - started), separators=(",", ":")))
    if NO_CUDA in outcome.failed.get("device", ""):
        return 0
    return int(bool(stopped or outcome.failed or outcome.skipped))


if __name__ == "__main__":
    sys.exit(main())
