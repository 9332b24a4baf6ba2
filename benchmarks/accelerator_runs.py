"""What benchmarks/accelerator.py knows already, and parts run in processes of their own within a budget of time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from accelerator_step import Row, Sizes

ROW = "row "  # begins a part's line that holds one
LAST_WORDS = 5.0  # seconds kept for the end


class Part(NamedTuple):
    """A process's worth of rows. `least`: seconds without which it is not begun; `most`: after which it is ended."""

    name: str
    least: float
    most: float
    rows: Callable[[Sizes, Collection[str]], Iterator[Row]]


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
