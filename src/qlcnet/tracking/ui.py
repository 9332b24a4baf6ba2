"""MLflow's own UI on the local store: the command that serves it and the page to open."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from qlcnet.paths import Project
from qlcnet.tracking.backend import Backend, TrackingError, is_server, open_backend, tracking_uri, without_password

log = logging.getLogger("qlcnet")

VIEW = "qlcnet"
# The table shows no metric until columns are chosen. A shared view, which is a tag of the experiment, chooses them.
METRICS = ("oof_accuracy", "fold_sd_accuracy", "oof_auc_macro", "val_accuracy", "val_auc_macro", "train_loss")
NAME, CREATED, DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"  # columns of the table itself


def ui_command(root: Path, port: int = 5000) -> list[str]:
    """The command that serves the UI of the local store on this machine alone; logs the address to open.

    It answers after 10 to 26 s and has child processes: start it in a process group of its own to end it whole.
    Raises TrackingError where MLFLOW_TRACKING_URI names a server, which has a UI of its own.
    """
    uri = tracking_uri(root)
    if is_server(uri):
        raise TrackingError(f"MLFLOW_TRACKING_URI is set: open {without_password(uri)} in a browser, or unset it")
    backend = open_backend(root)
    columns = [f"metrics.`{name}`" for name in METRICS]
    widths = {NAME: 300, CREATED: 130, DURATION: 90, **dict.fromkeys(columns, 130)}  # pixels
    view = {"selectedColumns": columns, "columnOrder": list(widths), "columnWidths": widths}
    backend.client.set_experiment_tag(backend.experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    log.info("in about 15 s: %s", ui_url(backend, port))
    options = {
        "--backend-store-uri": uri,
        "--default-artifact-root": str(Project(root).mlruns / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    return [sys.executable, "-m", "mlflow", "ui", *(text for option in options.items() for text in option)]


def ui_url(backend: Backend, port: int) -> str:
    """The page of the local UI that lists the nested runs."""
    page = f"http://127.0.0.1:{port}/#/experiments/{backend.experiment_id}/runs"
    return f"{page}?workflowType=machine_learning&viewStateShareKey={VIEW}"
