"""The clone in which a commit runs again: made once, run with the commit's own code, resumed, removed."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from qlcnet import git
from qlcnet.paths import Project
from qlcnet.reproduce.from_published import folder_of
from qlcnet.reproduce.revision import ReproduceError, Revision
from qlcnet.whole import whole_folder, write_whole

log = logging.getLogger("qlcnet")
LOCKED = "requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?:\s*;.*)?\s*\\?$", re.MULTILINE)
# of the caller: a store, a server or a project that is not the clone's
NOT_INHERITED = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT", *git.INHERITED)
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Workplace:
    """`folder` below the project's .qlcnet, for one commit; `clone`: the project in its clone; `python`: runs it."""

    folder: Path
    clone: Path
    python: Path

    def has_done(self, step: str) -> bool:
        """Whether a step ended well, in this run or in one before."""
        return self._mark(step).is_file()

    def set_done(self, step: str, **facts: object) -> None:
        """A step ended well: another run of the same reproduction leaves it out."""
        write_whole(self._mark(step), json.dumps(facts))

    def _mark(self, step: str) -> Path:
        return self.folder / "done" / step.replace("/", "-")

    def run(self, *arguments: str, module: str = "qlcnet.cli", quiet: bool = False) -> tuple[int, str]:
        """Run a module of the commit's own code in the clone; exit code and what it printed (not: its progress).

        It dies with this process, however that ends, so that two never write the clone's store.
        """
        environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        environment["PYTHONPATH"] = str(self.clone / "src")
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        environment["DVC_NO_ANALYTICS"] = "true"
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment.get('PATH', '')}"
        command = [str(self.python), "-m", module, *arguments]
        with (self.folder / "output.txt").open("ab") as output:
            start = output.tell()
            process = subprocess.Popen(
                command, cwd=self.clone, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output if quiet else None, preexec_fn=_die_with_the_parent,
            )  # fmt: skip
            try:
                code = process.wait()
            except BaseException:
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
        return code, (self.folder / "output.txt").read_bytes()[start:].decode(errors="replace")

    def run_whole(self, *arguments: str) -> None:
        """The same of a command that has to succeed. Raises ReproduceError."""
        log.info("%s: qlcnet %s", self.folder.name[:12], " ".join(arguments))
        code, said = self.run(*arguments)
        if code:
            last = "; ".join(said.strip().splitlines()[-3:])
            raise ReproduceError(f"qlcnet {' '.join(arguments)} of the commit ended with exit code {code}: {last}")


def _die_with_the_parent() -> None:
    """In the child, before it runs: the kernel ends it with its parent. Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def workplace(root: Path, revision: Revision, keep: bool, study: str = "") -> Iterator[Workplace]:
    """The place of a commit: found as an interrupted run left it, or made; removed when all went well, unless `keep`.

    study: a published one, whose params.yaml is that of the clone. The patch of the revision is applied.
    Raises ReproduceError where another process reproduces the same commit.
    """
    commit, folder = revision.commit, place_of(root, revision, study)
    repository = git.repository_of(root)
    if repository is None:
        raise ReproduceError(f"{root} is in no git repository")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ReproduceError(f"another process reproduces {commit[:12]} already: wait for it") from None
    try:
        top = folder / "clone"
        if not top.is_dir():
            with whole_folder(top) as beside:
                git.clone_at(repository.top, commit, beside)
                inside = beside / root.resolve().relative_to(repository.top)
                if revision.patch and (said := git.apply_changes(inside, revision.patch)):
                    raise ReproduceError(f"the edits of run {revision.run} do not fit {commit[:12]}: {said}")
        clone = top / root.resolve().relative_to(repository.top)
        if not (clone / "params.yaml").is_file():
            raise ReproduceError(f"{commit[:12]} has no params.yaml: it is no commit of a qlcnet project")
        if study:
            shutil.copyfile(folder_of(clone, study) / "params.yaml", clone / "params.yaml")
        yield Workplace(folder, clone, _python_of(root, clone, folder))
        if not keep:
            shutil.rmtree(folder)
    finally:
        lock.release()


def place_of(root: Path, revision: Revision, study: str = "") -> Path:
    """Where a commit is reproduced: its clone has a store of its own there, as its git directory is its own."""
    patch = hashlib.sha256(revision.patch).hexdigest()[:12] if revision.patch else ""
    return Project(root).state / "reproduce" / "-".join(filter(None, (revision.commit, patch, study)))


def other_packages(root: Path, clone: Path) -> dict[str, tuple[str, str]]:
    """Packages that the commit locks in another version than today: name -> (then, today)."""
    then, today = (_pins(folder / LOCKED) for folder in (clone, root))
    if not then:
        return {}
    names = sorted(then.keys() | today.keys())
    return {
        name: (then.get(name, "none"), today.get(name, "none")) for name in names if then.get(name) != today.get(name)
    }


def _pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _python_of(root: Path, clone: Path, folder: Path) -> Path:
    """The interpreter of the commit's locked environment: this one where the lock is today's, else one that is built.

    Built by uv from its shared cache, with the hashes of the lock. Raises ReproduceError.
    """
    if not (other := other_packages(root, clone)):
        return Path(sys.executable)
    python = folder / "environment" / "bin" / "python"
    if not (folder / "environment" / "whole").is_file():
        log.info("%d packages of the commit differ from today's: building its environment", len(other))
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if uv is None:
            raise ReproduceError("uv is missing, which builds the commit's environment: `pip install uv`")
        for arguments in (
            ("venv", "--quiet", "--python", sys.executable, "--clear", str(folder / "environment")),
            ("pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(clone / LOCKED)),
        ):
            done = subprocess.run([uv, *arguments], capture_output=True, text=True, preexec_fn=_die_with_the_parent)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise ReproduceError(f"the environment of the commit cannot be built: uv {arguments[0]}: {why}")
        write_whole(folder / "environment" / "whole", "")
    return python
