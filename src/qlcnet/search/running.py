"""The lanes of a search as threads: each takes slots until all are settled, and waits for those of other processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optuna.trial import TrialState

from qlcnet.grid.engine import EngineError
from qlcnet.search.fits import Bench, TrialFits
from qlcnet.search.lanes import Lane
from qlcnet.search.progress import SearchBar
from qlcnet.search.record import STATES
from qlcnet.search.stopping import Clock, is_flat
from qlcnet.search.study import Slots
from qlcnet.search.trials import run_trial

log = logging.getLogger("qlcnet")
POLL_SECONDS = 1.0  # how often slots of other processes are looked at, once none is left here


@dataclass
class Unit:
    """One search to run: its slots, and what its lanes share. stopped: why it ended early."""

    slots: Slots
    bench: Bench
    fold: int
    seed: int
    replicates: int
    stopped: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def title(self) -> str:
        """How the progress names it."""
        return self.slots.name

    def may_begin(self, clock: Clock, flat: bool) -> bool:
        """Whether another trial may begin."""
        with self._lock:
            if not self.stopped and clock.is_over:
                self.stopped = f"the {clock.minutes:g} minutes are over"
            if not self.stopped and flat:
                settled = self.slots.settled()
                complete = [
                    (one.number, [one.intermediate_values[step] for step in sorted(one.intermediate_values)])
                    for one in settled
                    if one.state == TrialState.COMPLETE
                ]
                if is_flat(complete, len(settled)):
                    self.stopped = "the last trials brought less than the noise of the folds"
            return not self.stopped


class Lanes:
    """Runs functions of a lane in as many threads as there are lanes. The first error stops all and is raised."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self.stopping = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, work: Callable[[Lane], None]) -> None:
        """`work` of each lane, side by side. Ctrl-C ends the fits that run; their slots are taken up later."""
        threads = [threading.Thread(target=self._guarded, args=(work, lane), daemon=True) for lane in self.lanes]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._stop()
            for thread in threads:
                thread.join(10)
            raise
        if self._errors:
            raise self._errors[0]

    def close(self) -> None:
        """Free the workers."""
        for lane in self.lanes:
            lane.close()

    def _guarded(self, work: Callable[[Lane], None], lane: Lane) -> None:
        try:
            work(lane)
        except BaseException as error:
            first = not self._errors
            if not (isinstance(error, EngineError) and self.stopping.is_set()):
                self._errors.append(error)
            if first:
                self._stop()

    def _stop(self) -> None:
        self.stopping.set()
        for lane in self.lanes:
            lane.stop()


def search(
    lanes: Lanes,
    units: Sequence[Unit],
    bar: SearchBar,
    clock: Clock,
    flat: bool,
    settled: Callable[[Unit], None] = lambda unit: None,
) -> None:
    """Settle the slots of all units, one unit after the other; lanes that find none left go on with the next.

    settled: told after each trial, from a lane's thread.
    """

    news = threading.Condition()  # a trial of this process was settled: a lane that waits need not wait out its time

    def tell(unit: Unit) -> None:
        settled(unit)
        with news:
            news.notify_all()

    def work(lane: Lane) -> None:
        while not lanes.stopping.is_set():
            for unit in units:
                _run_unit(unit, lane, lanes.stopping, bar, clock, flat, tell)
            with news:
                if all(_is_done(unit) for unit in units):
                    return
                news.wait(POLL_SECONDS)

    _say_who_is_waited_for(units)
    lanes.run(work)


def _run_unit(
    unit: Unit,
    lane: Lane,
    stopping: threading.Event,
    bar: SearchBar,
    clock: Clock,
    flat: bool,
    settled: Callable[[Unit], None],
) -> None:
    objective = TrialFits(unit.bench, lane, [bar])
    while not stopping.is_set() and unit.slots.open_ones() and unit.may_begin(clock, flat):
        trial = unit.slots.take()
        if trial is None:
            return
        state = STATES[run_trial(unit.slots, trial, unit.bench.space, objective, unit.replicates)]
        done = unit.slots.storage.get_trial(trial._trial_id)
        fits = list(done.user_attrs.get("fits", ()))
        bar.settled(unit.title, done.number, state, done.value, len(fits), fits)
        settled(unit)


def _is_done(unit: Unit) -> bool:
    """Whether nothing is left that this process has to do or to wait for."""
    left = unit.slots.open_ones()
    return not left or (bool(unit.stopped) and all(one.state == TrialState.WAITING for one in left))


def _say_who_is_waited_for(units: Sequence[Unit]) -> None:
    hosts = sorted({host for unit in units for host in unit.slots.elsewhere()})
    if hosts:
        log.info("trials run on %s; if that is gone for good, add --lost %s", ", ".join(hosts), hosts[0])
