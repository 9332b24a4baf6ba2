"""The lines of docs/cluster.md for one machine, as they stand there: what they start is reached from here alone."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("distributed")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "cluster.md"


def lines() -> list[str]:
    """The page's first command lines that start something."""
    return re.findall(r"^    dask ((?:scheduler|worker) .*) &$", PAGE.read_text(encoding="utf-8"), flags=re.M)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Addresses at which a process and its children listen."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        found |= {connection.laddr[:2] for connection in one.net_connections("inet") if connection.status == "LISTEN"}
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[psutil.Process]]:
    """Scheduler and workers of the page's lines, but for the ports, which other tests may use."""
    ports = {"8786": str(free_port()), "8787": str(free_port())}
    processes = []
    for line in lines():
        for known, own in ports.items():
            line = line.replace(known, own)
        command = [sys.executable, "-m", "dask", *shlex.split(line)]
        processes.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    yield [psutil.Process(process.pid) for process in processes]
    for process in processes:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def test_what_the_page_starts_listens_on_this_machine_alone(started: list[psutil.Process]) -> None:
    scheduler, workers = started
    deadline = time.monotonic() + 60
    # a worker has a port of its own, one of its nanny's, and one for HTTP
    while len(listening(scheduler)) < 2 or len(listening(workers)) < 2 * 3:
        assert time.monotonic() < deadline, f"{listening(scheduler)}, {listening(workers)}"
        time.sleep(0.3)
    assert {host for host, _ in listening(scheduler) | listening(workers)} == {"127.0.0.1"}


def test_no_line_of_the_page_leaves_an_address_open() -> None:
    assert len(lines()) == 2
    for line in lines():
        assert "--host 127.0.0.1" in line
        assert re.search(r"--dashboard-address 127\.0\.0\.1:\d+", line)
        assert "--no-dashboard" not in line
