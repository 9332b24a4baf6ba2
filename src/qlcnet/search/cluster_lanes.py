"""One connection to a cluster for all lanes of a search: it gives each worker one fit at a time.

With one each, every lane would hand its fit to the first worker, as none sees what the others hand out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qlcnet.grid.engine import Engine, Event, OnEvent


@dataclass(eq=False)
class _Open:
    engine: Engine
    lanes: set[object] = field(default_factory=set)  # those that use it


class SharedEngines:
    """Engines by the data that they have open; lanes of one search want the same, but for a moment between searches."""

    def __init__(self) -> None:
        self._open: dict[object, _Open] = {}
        self._on_event: dict[str, OnEvent] = {}  # by fingerprint
        self._lock = threading.Lock()

    def opened(
        self, lane: object, opens: Callable[[OnEvent], Engine], of: object, fingerprint: str, on_event: OnEvent
    ) -> Engine:
        """The engine for data `of`, opened by the first lane that wants it; events of a fit come to `on_event`."""
        self._on_event[fingerprint] = on_event
        with self._lock:
            self._leave(lane, but=of)
            if of not in self._open:
                self._open[of] = _Open(opens(self._relay))
            self._open[of].lanes.add(lane)
            return self._open[of].engine

    def leave(self, lane: object) -> None:
        """A lane needs none any more; what no lane needs is closed."""
        with self._lock:
            self._leave(lane)

    def abort(self) -> None:
        """End the fits that run, from any thread: also from one that stops lanes of which one still connects."""
        for one in list(self._open.values()):
            one.engine.close(abort=True)
        self._open.clear()

    def _leave(self, lane: object, but: object = None) -> None:
        for of, one in list(self._open.items()):
            if of != but and lane in one.lanes:
                one.lanes.discard(lane)
                if not one.lanes:
                    del self._open[of]
                    one.engine.close()

    def _relay(self, event: Event) -> None:
        if on_event := self._on_event.get(event[1]):
            on_event(event)
