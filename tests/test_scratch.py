"""Temporary folders: in use they stay, of dead processes they go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qlcnet.scratch import OWNER, own, scratch_folder, sweep


def test_a_scratch_folder_is_new_empty_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "tmp") as first, scratch_folder(tmp_path / "tmp") as second:
        assert first != second
        assert [path.name for path in first.iterdir()] == [OWNER]
        (first / "a").mkdir()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), scratch_folder(tmp_path):
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_leaves_its_folder_to_the_next_one_and_a_living_one_does_not(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom qlcnet.scratch import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    print(folder.name, flush=True)\n    sys.stdin.read()\n    os._exit(9)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = process.stdout.readline().strip()
        with scratch_folder(tmp_path) as own_folder:
            assert {path.name for path in tmp_path.iterdir()} == {theirs, own_folder.name}
        process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [theirs]
    with scratch_folder(tmp_path) as own_folder:
        assert list(tmp_path.iterdir()) == [own_folder]


def test_what_nobody_owned_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    (tmp_path / "dead").mkdir()
    own(tmp_path / "dead").release()
    sweep(tmp_path.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
