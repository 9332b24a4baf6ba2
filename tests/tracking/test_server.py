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

from qlcnet.tracking import TrackingError, local_ui, sync
from qlcnet.tracking.place import place_of
from qlcnet.tracking.ui import PortError
from tests.tracking.studies import make_grid, make_results, runs_of, sync_at_once
from tests.tracking.test_live import FOLLOWED, run_grid

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds; a server answers after 10 to 26 on an idle machine


@contextlib.contextmanager
def serving(command: list[str], port: int, environment: dict[str, str]) -> Iterator[str]:
    """Run a server until the block ends; in a process group of its own, because it leaves children behind."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
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
    options = ["--artifacts-destination", str(tmp_path / "there")]
    network = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command, environment = (
        [sys.executable, "-m", "mlflow", "server", *options, *network],
        local_ui(root, port).environment,
    )
    with serving(command, port, environment) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shared")
        run_grid(other_root, make_grid())
        on_server = runs_of(other_root)
        assert [(run["name"], run["status"]) for run in on_server] == [(name, "FINISHED") for name in FOLLOWED]
        assert "roc/roc.png" in on_server[2]["artifacts"]
        assert sync(other_root) == 0
        assert not (other_root / "mlruns" / "artifacts").exists()
        with pytest.raises(TrackingError, match="in a browser"):
            local_ui(other_root, free_port())
        _sync_clones_at_once(tmp_path)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    make_results(other_root, make_grid())
    assert sync(other_root) == 3
    for run in on_server:
        run["metrics"].pop("seconds_stage", None)
    assert runs_of(other_root) == on_server


def _sync_clones_at_once(folder: Path) -> None:
    """Several clones of one project on one server make each run once."""
    clones = [folder / f"clone {i}" for i in range(3)]
    for clone in clones:
        make_results(clone, make_grid(learning_rate=0.5))
    assert sum(sync_at_once(clones)) == 3
    assert [run["status"] for run in runs_of(clones[0])] == ["FINISHED"] * 6


def test_the_ui_is_of_this_machine_alone_and_its_command_hides_the_address(root: Path) -> None:
    port = free_port()
    ui = local_ui(root, port)
    assert ui.page.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning")
    assert ui.command[1:4] == ["-m", "mlflow", "ui"]
    assert ui.command[ui.command.index("--host") + 1] == "127.0.0.1"
    assert ui.command[ui.command.index("--port") + 1] == str(port)
    # `ps` shows a command line to everybody, and the address can hold a password
    assert "mlflow.db" not in " ".join(ui.command)
    assert ui.environment["MLFLOW_BACKEND_STORE_URI"] == place_of(root).uri


def test_a_port_in_use_is_said_before_the_store_is_opened(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"127\.0\.0\.1:{port} is in use .*`make ui PORT=5000`"):
            local_ui(root / "nowhere", port)
    assert not (root / "nowhere").exists()
    for port in (0, -1, 99999):
        with pytest.raises(PortError, match=r"ports go from 1 to 65535"):
            local_ui(root, port)


def test_make_ui_takes_a_port() -> None:
    for given, port in (([], "5000"), (["PORT=5001"], "5001")):
        command = ["make", "--dry-run", "--no-print-directory", "--old-file=setup", "ui", *given]
        said = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PORT": "1"}
        )
        assert said.stdout.splitlines()[-1] == f"qlcnet track ui --port {port}"


def test_an_address_that_is_no_page_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    with pytest.raises(TrackingError, match="nonsense is neither a database nor a web address"):
        local_ui(root, free_port())
