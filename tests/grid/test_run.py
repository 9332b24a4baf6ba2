"""What becomes of a grid when workers die, its engine is lost or fits fail, on engines that act at once."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from qlcnet.fit.fold_folder import read_provenance
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.grid.engine import EngineError
from qlcnet.grid.run import RESTARTS, GridError
from tests.grid.projects import Record
from tests.grid.test_grid import InstantEngine, run_instantly, succeed

FITS = 18


def die(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
    future.set_exception(BrokenProcessPool("a worker died"))


def fits_a_run(engines: list[InstantEngine]) -> list[int]:
    return [len(engine.order) for engine in engines]


# --- dead workers ---------------------------------------------------------------------------------------------------


def test_deaths_with_finished_fits_between_them_do_not_end_a_grid(tmp_path: Path) -> None:
    def act(engine: InstantEngine, *fit: Any) -> None:
        (succeed if len(engine.order) <= 3 else die)(engine, *fit)

    engines = run_instantly(tmp_path, act, [])
    assert len(engines) > RESTARTS + 1
    assert fits_a_run(engines) == [18, 15, 12, 9, 6, 3], "and as many at a time as before"


def test_deaths_before_a_fit_ended_halve_the_fits_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(InstantEngine, "workers", 5)
    with pytest.raises(GridError, match="died 3 times before a fit ended, at last with 1 at a time; 18 fits are left"):
        run_instantly(tmp_path, die, [])
    assert fits_a_run(run_instantly.engines) == [FITS, 2, 1]  # type: ignore[attr-defined]
    first, second = caplog.messages
    assert "before a fit ended; 18 fits go on, 2 at a time instead of 5, as memory may be short" in first
    assert "1 at a time instead of 2" in second


def test_fewer_fits_at_a_time_stay_so_and_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstantEngine, "workers", 4)
    engines: list[InstantEngine] = []

    def act(engine: InstantEngine, *fit: Any) -> None:
        if engine not in engines:
            engines.append(engine)
        (die if len(engines) == 1 or (len(engines) == 2 and len(engine.order) == 3) else succeed)(engine, *fit)

    assert fits_a_run(run_instantly(tmp_path, act, [])) == [FITS, 4, FITS - 3]  # the second: 2, and 2 more
    store = run_instantly.store  # type: ignore[attr-defined]
    assert {read_provenance(store.path(spec.fingerprint))["workers"] for spec in engines[0].order} == {2}


# --- what the last error says ---------------------------------------------------------------------------------------


def test_a_cause_is_told_once_with_some_of_the_fits_that_it_struck(tmp_path: Path) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        few = spec.backbone_name == "lcnet_100" and spec.fold == 0
        future.set_exception(ValueError("no such channel") if few else RuntimeError("no such device"))

    with pytest.raises(GridError) as raised:
        run_instantly(tmp_path, act, [])
    title, *lines = str(raised.value).splitlines()
    assert title.startswith("18 of 18 fits failed")
    few, many = sorted(lines, key=len)
    assert few.endswith("lcnet_100/hybrid/repeat-0/fold-0: ValueError: no such channel")
    assert few.count("fold-0") == 2
    assert many.endswith(" and 13 more: RuntimeError: no such device")
    assert many.count("repeat-0") == 3


@pytest.mark.parametrize(
    ("end", "told"),
    [(EngineError("the scheduler is gone"), "the scheduler is gone"), (BrokenProcessPool(), "worker processes died")],
)
def test_fits_that_failed_by_themselves_are_named_whatever_ends_the_grid(
    tmp_path: Path, end: BaseException, told: str
) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        own = spec.name == "squares/lcnet_050/hybrid/repeat-0/fold-1"
        future.set_exception(ValueError("no such channel") if own else end)

    with pytest.raises(EngineError if isinstance(end, EngineError) else GridError) as raised:
        run_instantly(tmp_path, act, [])
    assert str(raised.value).startswith(told)
    assert "1 of 18 fits failed" in str(raised.value)
    assert "lcnet_050/hybrid/repeat-0/fold-1: ValueError: no such channel" in str(raised.value)


def test_after_ctrl_c_the_log_names_fits_that_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stops(Record):
        def failed(self, spec: FitSpec, error: BaseException) -> None:
            raise KeyboardInterrupt

    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        future.set_exception(ValueError("no such channel"))

    with pytest.raises(KeyboardInterrupt):
        run_instantly(tmp_path, act, [Stops()])
    assert "1 of 18 fits failed" in caplog.text
    assert "ValueError: no such channel" in caplog.text
