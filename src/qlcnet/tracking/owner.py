"""Which process writes a run: a tag that tells whether it still lives."""

from __future__ import annotations

import re
import socket

import psutil

OWNER = "owner"  # tag: host/pid/start


def of_this_machine() -> str:
    """A filter of MLflow's for the runs of processes on this machine."""
    return f"tags.{OWNER} LIKE '{socket.gethostname()}/%'"


def me() -> str:
    """The tag of this process."""
    process = psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{int(process.create_time())}"


def is_alive(owner: str) -> bool:
    """Whether the process that an owner tag names still runs here. Of other machines nothing is known: False."""
    parts = re.fullmatch(r"(.+)/(\d+)/(\d+)", owner)
    if parts is None or parts[1] != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(parts[2]))
        # the start distinguishes a process from a later one with its number; 2 s: clocks get adjusted
        return abs(process.create_time() - int(parts[3])) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
