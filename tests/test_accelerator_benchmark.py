"""What benchmarks/accelerator.py does around its measurements: keeps them, fits a budget, ends in one JSON line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import accelerator
from accelerator_grid import estimates, paper_grid
from accelerator_runs import LAST_WORDS, Known, Outcome, Part, PartFailed, measure, run_process
from accelerator_step import Row


def part(name: str, least: float = 1.0) -> Part:
    return Part(name, least, 100.0, lambda sizes, known: iter(()))


def known_at(path: Path) -> Known:
    known = Known(path)
    known.open("card; torch 1; code 2")
    return known


def test_what_was_measured_is_kept_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    ran: list[str] = []

    def launch(part: Part, seconds: float) -> Iterator[Row]:
        ran.append(part.name)
        yield f"{part.name} 1", {"ms": 1.0}
        if part.name == "b" and ran.count("b") == 1:
            raise PartFailed("exit 3")
        yield f"{part.name} 2", {"error": "no"} if part.name == "c" else {"ms": 2.0}

    parts, path, outcome = [part("a"), part("b"), part("c")], tmp_path / "state" / "kept.json", Outcome()
    known = known_at(path)
    measure(parts, time.monotonic() + 60, known, launch, outcome)
    assert outcome == Outcome({"b": "exit 3"}, [])
    assert known.rows["c 2"] == {"error": "no"}, "the last line says it"

    again = known_at(path)
    assert again.done == ["a"]
    assert again.rows.keys() == {"a 1", "a 2", "b 1", "c 1"}, "a row with an error is not known"
    measure(parts, time.monotonic() + 60, again, launch, Outcome())
    assert ran == ["a", "b", "c", "b", "c"]
    other = Known(path)
    other.open("another card")
    assert not other.rows
    assert not other.done


def test_parts_that_no_longer_fit_the_budget_are_skipped_and_the_others_get_what_is_left(tmp_path: Path) -> None:
    given: list[tuple[str, float]] = []

    def launch(part: Part, seconds: float) -> Iterator[Row]:
        given.append((part.name, seconds))
        return iter(())

    outcome = Outcome()
    parts = [part("long", 50.0), part("short", 5.0), part("longest", 200.0)]
    measure(parts, time.monotonic() + 40, known_at(tmp_path / "kept.json"), launch, outcome)
    assert outcome.skipped == ["long", "longest"]
    ((name, seconds),) = given
    assert name == "short"
    assert 30 < seconds < 40 - LAST_WORDS + 1


def process(code: str, seconds: float = 20.0) -> Iterator[Row]:
    return run_process([sys.executable, "-c", f"import sys, time, json\n{code}"], seconds, {})


def test_the_rows_of_a_process_come_whatever_ends_it() -> None:
    line = "print('row ' + json.dumps(['one', {'ms': 1.5}]), flush=True)\n"
    assert list(process(f"print('chatter')\n{line}")) == [("one", {"ms": 1.5})]
    rows = process(f"{line}sys.exit('what happened')")
    assert next(rows) == ("one", {"ms": 1.5})
    with pytest.raises(PartFailed, match="exit 1: what happened"):
        next(rows)
    rows, started = process(f"{line}time.sleep(60)", 1.0), time.monotonic()
    assert next(rows) == ("one", {"ms": 1.5})
    with pytest.raises(PartFailed, match="ended after 1 s"):
        next(rows)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("ends", [PartFailed("packages are missing: timm"), KeyboardInterrupt("SIGTERM"), OSError("x")])
def test_the_last_line_is_json_whatever_happened(
    ends: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Iterator[Row]:
        raise ends

    monkeypatch.setattr(accelerator, "run_process", fail)
    monkeypatch.setattr(accelerator.signal, "signal", lambda *_: None)
    assert accelerator.main(["--device", "cpu", "--tiny", "--state", str(tmp_path / "kept.json")]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == "accelerator"
    assert str(ends) in last["failed"].get("device", "") + last.get("stopped", "")


def test_the_grid_is_the_papers_and_its_price_by_hand() -> None:
    grid = paper_grid()
    assert sum(fits.folds for fits in grid) == 80
    assert {fits.steps for fits in grid} == {10 * 126, 10 * 625}  # 8,012 and 40,000 images in batches of 64
    rows: dict[str, dict[str, Any]] = {
        f"lcnet_{width} hybrid float32 | {way}": {"ms": ms}
        for way, prices in {
            "train | 4": (2.0, 2.0), "single graph | 1": (1.0, 4.0), "evaluate | 1": (0.0, 0.0)
        }.items()
        for width, ms in zip(("050", "200"), prices, strict=True)
    }  # fmt: skip
    found = estimates({**rows, "lcnet_050 hybrid float32 | batches | 1": {"ms": 0.5}, "tests": {"passed": 6}})
    steps = 50 * 1260 + 30 * 6250
    interpolated = 10 * 1260 * (1 + 1.5 + 2 + 3 + 4) + 10 * 6250 * (1 + 1.5 + 2)
    assert found["grid_seconds"] == {
        "train 4 float32": round(2 * steps / 1e3), "single graph 1 float32": round((interpolated + 0.5 * steps) / 1e3),
    }  # fmt: skip
    assert found["under_10_minutes"] == ["train 4 float32", "single graph 1 float32"]
    assert estimates({"lcnet_050 hybrid float32 | train | 4": {"ms": 1.0}}) == {
        "grid_seconds": {},
        "under_10_minutes": [],
    }
