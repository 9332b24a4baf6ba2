"""The README's section on DVC, played line by line: the tests have no commands of their own, so the two cannot part.

One tiny study is made once; each block of the section runs in a copy of it. `make test` compares, shares through a
folder and opens a clone; `make soak` adds the queue, S3 (a server of moto on this machine) and the tracking UI.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlcnet.paths import Project
from qlcnet.reproduce.lock import is_reported
from tests.test_end_to_end import BIN, DIGITS, ROOT, fits, project, run, small, tracked
from tests.tracking.test_server import free_port, serving

README = (ROOT / "README.md").read_text()
SECTION = README.split("## Compare, try, share\n")[1].split("\n## ")[0]
# of the rest of the page: which test runs it
ELSEWHERE = {"dvc repro": "tests/test_end_to_end.py", "dvc config core.no_scm true": "tests/test_check.py"}
# the tests run in an environment that is already there: `make test` and `make soak` begin with these
DONE = {"make setup && source .venv/bin/activate": "true", "make s3": "true"}
# of whoever runs the tests: another store, another repository, other commits' author
SOMEBODY = {
    "DVC_NO_ANALYTICS": "true",
    **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def commands(block: str) -> list[str]:
    """The lines of a block without their remarks."""
    return [command for line in block.splitlines() if (command := re.sub(r"(^|\s+)# .*", "", line).strip())]


BLOCKS = [commands(block) for block in re.findall(r"^```\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)]
COMPARE, QUEUE, FOLDER, S3, THEIRS = BLOCKS  # a block more is one that nothing plays
UI = THEIRS.pop()  # it ends only with the server


def play(block: list[str], folder: Path, replace: Mapping[str, str] = DONE, **environment: str) -> dict[str, str]:
    """Run the lines of a block in one shell, as somebody who pastes them would; what each printed, both streams.

    A line that fails ends the block, and the test.
    """
    typed = block
    for there, here in replace.items():
        typed = [line.replace(there, here) for line in typed]
    mark = "-- played --"
    script = "\n".join(f"echo '{mark}'\n{line}" for line in typed)
    said = run("bash", "-ec", script, cwd=folder, **SOMEBODY, **environment).split(f"{mark}\n")[1:]
    return dict(zip(block, said, strict=True))


def of(said: Mapping[str, str], start: str) -> str:
    """What the first command that starts like this printed."""
    return next(text for command, text in said.items() if command.startswith(start))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one model and two fits, whose study has run and is committed."""
    folder = tmp_path_factory.mktemp("workflow") / "study"
    folder.mkdir()
    models = {"hybrid": {"inputs": ["image"], "head": "quantum"}}
    training = {"epochs": 1, "batch_size": 32, "learning_rate": 0.01}
    project(folder, small("digits", DIGITS, circuits={}, models=models, training=training))
    shutil.copy(ROOT / "Makefile", folder)
    run("dvc", "repro", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "commit", "-qm", "a study", cwd=folder, **SOMEBODY)
    return folder


@pytest.fixture
def own(study: Path, tmp_path: Path) -> Path:
    """A copy of the study for one test, which pushes to a repository of its own."""
    folder = tmp_path / "study"
    shutil.copytree(study, folder, symlinks=True)
    run("git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "repository"), cwd=tmp_path)
    run("git", "remote", "add", "origin", str(tmp_path / "repository"), cwd=folder)
    run("git", "push", "-qu", "origin", "main", cwd=folder)
    return folder


def test_every_dvc_command_of_the_page_is_run() -> None:
    """In blocks and in the text; what a remark or a sentence shortens is the beginning of a command that is run."""
    played = [*COMPARE, *QUEUE, *FOLDER, *S3, *THEIRS, UI]
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    named = {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)}
    blocks = re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    named |= {line for block in blocks for line in commands(block)}
    of_dvc = {command for command in named if command.startswith("dvc ")}
    assert {command for command in of_dvc if not any(line.startswith(command) for line in played)} == set(ELSEWHERE)
    for command, place in ELSEWHERE.items():
        assert ", ".join(f'"{word}"' for word in command.split()) in (ROOT / place).read_text()


def test_two_states_are_compared(own: Path) -> None:
    before = json.loads((own / "results/summary.json").read_text())
    said = play(COMPARE, own)
    assert "2 fits, 0 in the store, 2 to do" in of(said, "dvc exp run")
    assert re.search(
        r"^results/metrics.json +digits.lcnet_035.hybrid.loss +[\d.]+ +[\d.]+ ", of(said, "dvc metrics"), re.M
    )
    assert re.findall(r"^params.yaml .*", of(said, "dvc params"), re.M) == [
        "params.yaml  training.learning_rate  0.01    0.0003"
    ]
    page = Path(of(said, "dvc plots").strip().removeprefix("file://")).read_text()
    assert all(f'"rev": "{revision}"' in page for revision in ("HEAD", "workspace"))
    table = of(said, "dvc exp show")
    assert re.search(r"^ +Experiment +digits.lcnet_035.hybrid.accuracy +training.learning_rate *$", table, re.M)
    assert re.search(r"^ +main +0\.\d+ +0.01 *$", table, re.M)
    assert re.search(r"\[slower\] +0\.\d+ +0.0003 *$", table, re.M)
    assert max(map(len, table.splitlines())) <= 100, "three columns, not one a file"

    # what an experiment leaves is the study of the changed file, and git sees nothing but results and settings
    assert json.loads((own / "results/summary.json").read_text()) != before
    changed = run("git", "status", "--porcelain", cwd=own).split()[1::2]
    assert changed == ["dvc.lock", "params.yaml", *(f"results/{name}" for name in NUMBERS)]
    assert len(fits(own)) == 4


NUMBERS = ("curves.csv", "metrics.json", "summary.json")  # of results/, in git


@pytest.fixture
def clone(own: Path, tmp_path: Path) -> Path:
    """A clone of the study by somebody else, after the study was shared through a folder."""
    said = play(FOLDER, own, {"/mnt/lab/store": str(tmp_path / "store")})
    assert re.search(r"^\d+ files pushed$", of(said, "dvc push"), re.M)
    said = play(THEIRS, tmp_path, {**DONE, "<their repository>": str(tmp_path / "repository")})
    assert "4 runs added" in of(said, "qlcnet track sync")
    return tmp_path / "theirs"


def test_somebody_elses_study_is_whole_in_a_clone(own: Path, clone: Path) -> None:
    assert not (clone / ".qlcnet" / "folds").exists(), "nothing came but by git and DVC"
    for name in ("report.html", *NUMBERS):
        assert (clone / "results" / name).read_bytes() == (own / "results" / name).read_bytes()
    assert "up to date" in run("dvc", "repro", cwd=clone)
    assert tracked(clone) == tracked(own)

    # the report of other settings is not the study's, nor is an edited one
    assert is_reported(Project(clone))
    settings, summary = clone / "params.yaml", clone / "results/summary.json"
    text = settings.read_text()
    settings.write_text(text.replace("seed: 42", "seed: 43"))
    assert not is_reported(Project(clone))
    settings.write_text(f"# the same\n{text}")
    assert is_reported(Project(clone))
    summary.write_text(summary.read_text().replace("0", "1", 1))
    assert not is_reported(Project(clone))


@pytest.mark.soak
def test_the_ui_of_a_clone_shows_the_runs(own: Path, clone: Path) -> None:
    port = free_port()
    assert UI.startswith("make ui")
    command = ["make", "--old-file=setup", *UI.split()[1:], "-C", str(clone), f"PORT={port}"]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with serving(command, port, environment) as address:
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"<title>MLflow</title>" in page.read()
        wanted = json.dumps({"experiment_ids": ["1"], "max_results": 100}).encode()
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search", wanted, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            runs = json.load(answer)["runs"]
    assert sorted((run["info"]["status"], run["info"]["run_name"]) for run in runs) == tracked(own)


@pytest.mark.soak
def test_queued_experiments_run_one_after_the_other(own: Path) -> None:
    said = play(QUEUE, own)
    table = of(said, "dvc exp show")
    for name in ("lower", "decayed"):
        assert re.search(rf"\[{name}\] +0\.\d+ ", table), table
    assert len(fits(own)) == 6, "experiments in folders of their own keep their fits in the project's store"
    assert "up to date" in run("dvc", "repro", cwd=own)


@contextmanager
def s3_server(bucket: str, keys: Mapping[str, str]) -> Iterator[str]:
    """An S3-compatible server of this machine that has one bucket; its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **keys})
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT"), timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.mark.soak
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("dvc_s3", "moto")), reason="needs dvc-s3 and moto: make s3"
)
def test_a_study_goes_through_s3(own: Path, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with s3_server("lab", keys) as address:
        said = play(S3, own, {**DONE, "https://s3.example.org": address}, **keys)
        assert re.search(r"^\d+ files pushed$", of(said, "dvc push"), re.M)
        with urllib.request.urlopen(f"{address}/lab?list-type=2&prefix=qlcnet/files/md5/", timeout=30) as listed:
            assert b"<Key>qlcnet/files/md5/" in listed.read()
        said = play(THEIRS, tmp_path, {**DONE, "<their repository>": str(tmp_path / "repository")}, **keys)
    assert "4 runs added" in of(said, "qlcnet track sync")
    clone = tmp_path / "theirs"
    assert (clone / "results/report.html").read_bytes() == (own / "results/report.html").read_bytes()
