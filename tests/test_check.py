"""`qlcnet check`: a line each, what is wrong with its remedy, and the remedy works."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from qlcnet.check import OK, WARNING, WRONG, Finding, look_at
from qlcnet.cli import main
from tests.test_end_to_end import DIGITS, project, run, small


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml alone."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small("digits", DIGITS)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(root: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in look_at(root)}


def test_a_zip_without_git_is_told_what_mends_it(tmp_path: Path) -> None:
    project(tmp_path, small("digits", DIGITS))
    assert {name: finding.state for name, finding in found(tmp_path).items()} == dict.fromkeys(
        ("params", "git", "DVC", "store", "tracking", "disk"), OK
    )
    shutil.rmtree(tmp_path / ".git")
    states = found(tmp_path)
    assert states["git"].state == WARNING
    assert states["DVC"].state == WRONG
    assert "`dvc config core.no_scm true`" in states["DVC"].text
    run("dvc", "config", "core.no_scm", "true", cwd=tmp_path)
    assert "DVC       ok" in run("qlcnet", "check", cwd=tmp_path)
    run("dvc", "repro", "-q", "split@digits", cwd=tmp_path)
    assert (tmp_path / "data/folds/digits.csv").is_file()


def test_wrong_params_do_not_hide_the_other_lines(params: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (params / "params.yaml").write_text("seed: [")
    assert main(["check"]) == 1
    lines = capsys.readouterr().out
    assert "params    WRONG" in lines
    assert "params.yaml" in lines
    assert "DVC       WRONG    not set up here: `dvc init --no-scm`" in lines
    assert "store     ok" in lines


def test_a_store_that_cannot_be_written_is_wrong(params: Path) -> None:
    (params / ".qlcnet").write_text("a file in its place")
    assert found(params)["store"].state == WRONG


@pytest.mark.parametrize(("free", "state"), [(1e3, WRONG), (0.5e9, WARNING), (1e11, OK)])
def test_little_room_on_the_disk(params: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    disk = found(params)["disk"]
    assert disk.state == state
    # twice 1,797 images of 16 x 16 pixels: a byte, and four channels of two
    assert "data that are not there yet take 8 MB" in disk.text


@pytest.fixture
def server() -> Iterator[str]:
    """A server that is well."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def test_a_tracking_server_is_asked_whether_it_is_there(
    params: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert found(params)["tracking"].state == OK
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    tracking = found(params)["tracking"]
    assert tracking.state == WARNING
    assert "127.0.0.1:9 does not answer" in tracking.text
    assert "secret" not in tracking.text


def test_a_database_is_opened(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = params / "other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    assert "made by the first run" in found(params)["tracking"].text
    other.write_text("no database, and long enough that SQLite says so " * 40)
    assert found(params)["tracking"].state == WARNING
    assert os.path.getsize(other) > 1000
