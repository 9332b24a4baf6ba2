"""Files and folders appear whole or not at all, and take the place of older ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlcnet.whole import whole_file, whole_folder, write_whole


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_it_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with whole_folder(tmp_path / "sub" / "made") as folder:
            (folder / text).touch()
    assert entries(tmp_path / "sub") == ["made"]
    assert entries(tmp_path / "sub" / "made") == ["second"]


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()

    def break_halfway() -> None:
        with whole_folder(tmp_path / "made") as folder:
            (folder / "half").touch()
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        break_halfway()
    assert entries(tmp_path) == ["made"]
    assert entries(tmp_path / "made") == ["old"]


def test_what_a_killed_run_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".made.partial").mkdir()
    (tmp_path / ".made.partial" / "half").touch()
    with whole_folder(tmp_path / "made") as folder:
        (folder / "new").touch()
    assert entries(tmp_path / "made") == ["new"]
    assert entries(tmp_path) == ["made"]


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("first\r\n", "zweite ✓"):
        write_whole(tmp_path / "sub" / "made", text)
    assert (tmp_path / "sub" / "made").read_bytes() == "zweite ✓".encode()
    assert entries(tmp_path / "sub") == ["made"]


def test_a_file_that_failed_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "made", b"old")

    def break_halfway() -> None:
        with whole_file(tmp_path / "made") as path:
            path.write_bytes(b"half")
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        break_halfway()
    assert entries(tmp_path) == ["made"]
    assert (tmp_path / "made").read_bytes() == b"old"


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "gone")
    for write in (whole_file, whole_folder):
        says = r"is a link to .*gone, which is not there: make that, or remove"
        with pytest.raises(FileExistsError, match=says), write(tmp_path / "data" / "raw" / "x"):
            pass
