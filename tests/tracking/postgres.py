"""A PostgreSQL server of one's own on this machine, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD = "mlflow", "se/c:r#et"


@contextlib.contextmanager
def serving_postgres() -> Iterator[str]:
    """The address of an empty database; skips where the server, a driver or a user to run it is missing."""
    pytest.importorskip("psycopg")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("needs PostgreSQL's initdb and pg_ctl")
    # it refuses to run as root; its folder must be reached by another user, which one of pytest's cannot
    account = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if account:
            shutil.chown(folder, account["user"])
            shutil.chown(secret, account["user"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **account}
        login = ["--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256"]
        data = ["-D", str(folder / "data")]
        subprocess.run(["initdb", *data, *login, "--no-sync"], **quiet)  # type: ignore[call-overload]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -F"
        subprocess.run(["pg_ctl", *data, "-w", "-l", str(folder / "log"), "-o", options, "start"], **quiet)  # type: ignore[call-overload]
        try:
            yield f"postgresql://{USER}:se%2Fc%3Ar%23et@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run(["pg_ctl", *data, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
