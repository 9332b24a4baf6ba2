"""Repositories with a study that runs in milliseconds (program.py), recorded as DVC does: lock, cache, checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qlcnet.reproduce.lock import checksum_of, files_below, listing, md5_of

TASK = "spots"
STAGES = {  # arguments, dependencies, outputs
    "fetch": ((TASK,), (), (f"data/raw/{TASK}",)),
    "split": ((TASK,), (f"data/raw/{TASK}",), (f"data/folds/{TASK}.csv",)),
    "quanvolve": ((TASK,), (f"data/raw/{TASK}",), (f"data/quanvolved/{TASK}",)),
    "train": (
        (TASK,),
        (f"data/raw/{TASK}", f"data/folds/{TASK}.csv", f"data/quanvolved/{TASK}"),
        (f"results/folds/{TASK}",),
    ),
    "report": ((), ("results/folds",), ("results/summary.json", "results/metrics.json", "results/curves.csv")),
}
IGNORED = "/data/\n/.qlcnet/\n/mlruns/\n/results/folds/\n/.dvc/cache/\n__pycache__/\n"


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody; its output."""
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def params(learning_rate: float = 2.0, folds: int = 4, **changes: Any) -> dict[str, Any]:
    """params.yaml of a study of two models."""
    return {
        "images": 120,
        "datasets": {TASK: {"protocol": {"folds": folds}}},
        "models": {"classical": None, "hybrid": None},
        "backbones": {"lcnet_035": None},
        "training": {"learning_rate": learning_rate},
        **changes,
    }


def make_repository(folder: Path) -> Path:
    """An empty study under git."""
    package = folder / "src" / "qlcnet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copyfile(Path(__file__).with_name("program.py"), package / "cli.py")
    (folder / ".gitignore").write_text(IGNORED)
    git(folder, "init", "-q", "-b", "main")
    return folder


def record(folder: Path, content: Mapping[str, Any]) -> str:
    """Run the study of these params and commit what it leaves; returns the commit."""
    (folder / "params.yaml").write_text(yaml.safe_dump(dict(content)))
    for place in ("data", "results", ".qlcnet"):
        shutil.rmtree(folder / place, ignore_errors=True)
    (folder / "results").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    for stage, (arguments, _, _) in STAGES.items():
        command = [sys.executable, "-m", "qlcnet.cli", stage, *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    write_lock(folder)
    return commit(folder, "a study")


def commit(folder: Path, message: str) -> str:
    """Commit everything; returns the commit."""
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def write_lock(folder: Path) -> None:
    """dvc.lock and DVC's cache for what is in the checkout, as `dvc commit` writes them."""
    lock: dict[str, Any] = {"schema": "2.0", "stages": {}}
    for stage, (arguments, deps, outs) in STAGES.items():
        lock["stages"][f"{stage}@{TASK}" if arguments else stage] = {
            "cmd": " ".join(("qlcnet", stage, *arguments)),
            "deps": [{"path": path, "hash": "md5", "md5": checksum_of(folder / path)} for path in deps],
            "outs": [{"path": path, "hash": "md5", "md5": checksum_of(folder / path)} for path in outs],
        }
        for path in outs:
            if not path.endswith((".json", "curves.csv")):
                _keep(folder, folder / path)
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))


def _keep(folder: Path, output: Path) -> None:
    cache = folder / ".dvc" / "cache" / "files" / "md5"

    def put(md5: str, content: bytes) -> None:
        place = cache / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    if output.is_file():
        put(md5_of(output), output.read_bytes())
        return
    files = {file.relative_to(output).as_posix(): file for file in files_below(output)}
    for file in files.values():
        put(md5_of(file), file.read_bytes())
    content = listing({name: md5_of(file) for name, file in files.items()})
    put(hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir", content)
