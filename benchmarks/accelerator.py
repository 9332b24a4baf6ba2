"""What a training step costs on one accelerator, by every way that might be fast, and what the paper's grid would take.

Run: python benchmarks/accelerator.py [--budget 540]; docs/accelerator.md says what the rows mean. Each part runs in a
process of its own with its own timeout. What is measured is kept (--state) for the same device, torch and code: a
second run goes on where the first stopped. Parts that no longer fit the budget are skipped. The last line is JSON,
whatever happened. `--device cpu --tiny` shows in seconds whether the script works; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # a machine lent for minutes has torch, but not this project

import accelerator_grid  # noqa: E402
from accelerator_step import Row, Sizes  # noqa: E402

KEPT = ROOT / ".qlcnet" / "benchmarks" / "accelerator.json"
NEEDED = ("torch", "timm", "pytorch_lightning", "torchmetrics", "numpy", "pydantic", "yaml", "psutil", "filelock")
ROW = "row "  # begins a part's line that holds one
NO_CUDA = "finds no CUDA device"
LAST_WORDS = 5.0  # seconds kept for the end
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


class Part(NamedTuple):
    """A process's worth of rows. `least`: seconds without which it is not begun; `most`: after which it is ended."""

    name: str
    least: float
    most: float
    rows: Callable[[Sizes, Collection[str]], Iterator[Row]]


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


# --- what is known, and what is still to be measured ----------------------------------------------------------------


class PartFailed(Exception):
    """A part that ended before its end; the message says how."""


@dataclass
class Known:
    """Rows by name for one device, torch and code, kept in a file of several such."""

    path: Path
    key: str = ""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)  # parts, whole

    def open(self, key: str) -> None:
        """Take up what the file holds under `key`."""
        self.key = key
        mine = self._read().get(key, {})
        self.rows, self.done = mine.get("rows", {}), mine.get("done", [])

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def save(self) -> None:
        """Write it, beside what other devices and versions gave. A row with an error is measured again next time."""
        rows = {name: value for name, value in self.rows.items() if "error" not in value}
        whole = {**self._read(), self.key: {"rows": rows, "done": self.done}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)


@dataclass
class Outcome:
    """What became of the parts."""

    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


Launch = Callable[[Part, float], Iterator[Row]]  # (part, seconds): its rows as they come; raises PartFailed


def measure(parts: Sequence[Part], until: float, known: Known, launch: Launch, outcome: Outcome) -> None:
    """Each part that is not done and has time left until time.monotonic() is `until`."""
    for part in parts:
        if part.name in known.done:
            continue
        left = until - time.monotonic() - LAST_WORDS
        if left < part.least:
            outcome.skipped.append(part.name)
            continue
        whole = True
        try:
            for name, value in launch(part, min(left, part.most)):
                known.rows[name] = value
                whole = whole and "error" not in value
                print(f"{name}: {', '.join(f'{k} {v}' for k, v in value.items())}", flush=True)
                known.save()
        except PartFailed as error:
            outcome.failed[part.name] = str(error)
            print(f"{part.name}: FAILED: {error}", flush=True)
            continue
        if whole:
            known.done.append(part.name)
            known.save()


def run_process(command: Sequence[str], seconds: float, environment: dict[str, str]) -> Iterator[Row]:
    """Rows that a process prints, as it prints them. It and what it started are killed after `seconds`."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, env=environment
        )
        late = threading.Event()

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def end_late() -> None:
            late.set()
            end()

        timer = threading.Timer(seconds, end_late)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(ROW):
                    name, value = json.loads(line.removeprefix(ROW))
                    yield name, value
            code = process.wait()
        finally:
            timer.cancel()
            end()
            process.wait()
        if late.is_set():
            raise PartFailed(f"ended after {seconds:.0f} s")
        if code:
            errors.seek(0)
            said = errors.read().strip().splitlines()
            raise PartFailed(f"exit {code}: {said[-1][:300] if said else 'it said nothing'}")


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
