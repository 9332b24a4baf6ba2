"""Logging to an MLflow server of one's own, over HTTP, and the command that starts the local UI."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlcnet.tracking import TrackingError, sync, ui_command
from tests.tracking.studies import make_grid, make_results, runs_of
from tests.tracking.test_live import FOLLOWED, run_grid

PATIENCE = 120  # seconds; a server answers after 10 to 26 on an idle machine


@contextlib.contextmanager
def serving(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the block ends; in a process group of its own, because it leaves children behind."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(address):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5) as response:
        return bool(response.status == 200)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_gets_what_a_file_gets(
    root: Path, other_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    options = [
        "--backend-store-uri",
        f"sqlite:///{root}/mlruns/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "there"),
    ]
    network = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with serving([sys.executable, "-m", "mlflow", "server", *options, *network], port) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shared")
        run_grid(other_root, make_grid())
        on_server = runs_of(other_root)
        assert [(run["name"], run["status"]) for run in on_server] == [(name, "FINISHED") for name in FOLLOWED]
        assert "roc/roc.png" in on_server[2]["artifacts"]
        assert sync(other_root) == 0
        assert not (other_root / "mlruns" / "artifacts").exists()
        with pytest.raises(TrackingError, match="in a browser"):
            ui_command(other_root)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    make_results(other_root, make_grid())
    assert sync(other_root) == 3
    for run in on_server:
        run["metrics"].pop("seconds_stage", None)
    assert runs_of(other_root) == on_server


def test_the_command_of_the_ui(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="qlcnet"):
        command = ui_command(root, 5123)
    assert "http://127.0.0.1:5123/#/experiments/1/runs?workflowType=machine_learning" in caplog.text
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert f"sqlite:///{root}/mlruns/mlflow.db" in command
    assert command[command.index("--host") + 1] == "127.0.0.1"  # of this machine alone
