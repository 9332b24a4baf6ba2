"""Whether the tracking store can be reached, in a second: MLflow, whose import takes longer, is not asked."""

from __future__ import annotations

from pathlib import Path

import requests

from qlcnet.tracking.backend import brief
from qlcnet.tracking.place import TrackingError, place_of

SECONDS = 3  # for a server that does not answer


def look(root: Path) -> str:
    """Where the runs of the project in `root` go, in words. Raises TrackingError where nobody answers there."""
    place = place_of(root)
    if place.file and not place.file.is_file():
        return f"{place.shown}, made by the first run"
    try:
        if place.uri.startswith(("http://", "https://")):
            requests.get(f"{place.uri.rstrip('/')}/health", timeout=SECONDS).raise_for_status()
        elif not place.is_server:
            from qlcnet.tracking.database import Database

            Database(place).check()
    except TrackingError:
        raise
    except Exception as error:  # of the network, of SQLAlchemy, of a driver
        raise TrackingError(f"{place.shown} does not answer ({brief(error)}); fits go on without it") from error
    return place.shown
