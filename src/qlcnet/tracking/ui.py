"""MLflow's own UI on the local store: the command that serves it and the page to open."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from qlcnet.tracking.backend import Backend, brief, open_backend
from qlcnet.tracking.place import VARIABLE, TrackingError, place_of

HOST = "127.0.0.1"  # of this machine alone
VIEW = "qlcnet"
# The table shows no metric until columns are chosen. A shared view, which is a tag of the experiment, chooses them.
METRICS = ("oof_accuracy", "fold_sd_accuracy", "oof_auc_macro", "val_accuracy", "val_auc_macro", "train_loss")
NAME, CREATED, DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"  # columns of the table itself


class PortError(ValueError):
    """The UI cannot be served at this port; the message says why and what to do."""


@dataclass(frozen=True)
class UI:
    """What serves the UI, and the page that shows the nested runs once it does, after 10 to 26 s.

    The command has child processes: start it in a process group of its own to end it whole. `environment` holds the
    store's address, with a password perhaps, which on a command line `ps` would show to everybody on the machine.
    """

    command: list[str]
    environment: dict[str, str]
    page: str


def local_ui(root: Path, port: int = 5000) -> UI:
    """The UI of the local store, on this machine alone.

    Raises PortError, and TrackingError where MLFLOW_TRACKING_URI names a server, which has a UI of its own.
    """
    check_port(port)
    place = place_of(root)
    if place.is_server:
        has_page = place.uri.startswith("http")
        raise TrackingError(
            f"{VARIABLE} is set: open {place.shown} in a browser, or unset it" if has_page
            else f"{VARIABLE}={place.shown} is neither a database nor a web address: correct it, or unset it"
        )  # fmt: skip
    backend = open_backend(root)
    try:
        _choose_columns(backend)
    except Exception as error:
        raise TrackingError(f"{place.shown}: {brief(error)}") from error
    files = backend.database.artifacts if backend.database else ""
    options = {"--default-artifact-root": files, "--host": HOST, "--port": str(port), "--workers": "1"}
    command = [sys.executable, "-m", "mlflow", "ui", *(text for option in options.items() for text in option)]
    page = f"http://{HOST}:{port}/#/experiments/{backend.experiment_id}/runs"
    return UI(
        command,
        {**os.environ, "MLFLOW_BACKEND_STORE_URI": place.uri},
        f"{page}?workflowType=machine_learning&viewStateShareKey={VIEW}",
    )


def check_port(port: int) -> None:
    """Raises PortError where no server can be had at `port` of this machine."""
    free = 5001 if port == 5000 else 5000
    other = f"choose another one: `qlcnet track ui --port {free}`, `make ui PORT={free}`"
    if not 1 <= port <= 65535:
        raise PortError(f"--port {port}: ports go from 1 to 65535; {other}")
    with socket.socket() as probe:
        # as the server binds: the remains of a connection that is over do not count as use
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise PortError(f"--port {port}: below 1024 you may serve nothing here; {other}") from None
        except OSError as error:
            raise PortError(f"--port {port}: {HOST}:{port} is in use ({error.strerror}); {other}") from None


def _choose_columns(backend: Backend) -> None:
    columns = [f"metrics.`{name}`" for name in METRICS]
    widths = {NAME: 300, CREATED: 130, DURATION: 90, **dict.fromkeys(columns, 130)}  # pixels
    view = {"selectedColumns": columns, "columnOrder": list(widths), "columnWidths": widths}
    backend.client.set_experiment_tag(backend.experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
