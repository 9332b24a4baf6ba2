"""Whether the tracking store can be reached, in a second: MLflow, whose import takes longer, is not asked."""

from __future__ import annotations

from pathlib import Path

import requests

from qlcnet.tracking.backend import TrackingError, brief, is_server, tracking_uri, without_password

SECONDS = 3  # for a server that does not answer


def look(root: Path) -> str:
    """Where the runs of the project in `root` go, in words. Raises TrackingError where nobody answers there."""
    uri = tracking_uri(root)
    shown = without_password(uri)
    try:
        if uri.startswith(("http://", "https://")):
            requests.get(f"{uri.rstrip('/')}/health", timeout=SECONDS).raise_for_status()
            return f"MLflow server at {shown}"
        if is_server(uri):
            return f"{shown} (not looked at)"
        return _look_at_database(uri, shown)
    except Exception as error:  # of the network, of SQLAlchemy, of a driver
        raise TrackingError(f"{shown} does not answer ({brief(error)}); fits go on without it") from error


def _look_at_database(uri: str, shown: str) -> str:
    from sqlalchemy import create_engine, make_url, text

    url = make_url(uri)
    is_file = url.get_backend_name() == "sqlite"
    if is_file and not Path(url.database or "").is_file():
        return f"{shown}, made by the first run"
    engine = create_engine(url, connect_args={"timeout" if is_file else "connect_timeout": SECONDS})
    try:
        with engine.connect() as connection:
            runs = connection.execute(text("SELECT count(*) FROM runs")).scalar()
    finally:
        engine.dispose()
    return f"{shown}: {runs} runs"
