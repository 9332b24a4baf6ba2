"""declarations.csv: appended to, never rewritten, and read by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlcnet.config import Evidence
from qlcnet.declarations import NOTHING, DeclarationsError, declare, digest_of, last_of

DECLARED = Evidence.model_validate({"primary": {"metric": "accuracy", "compare": [["a", "b"]]}})


def test_nothing_declared_leaves_no_row_until_something_was(tmp_path: Path) -> None:
    path = tmp_path / "declarations.csv"
    assert not declare(path, "t", Evidence(), "c", 3)
    assert path.read_text() == "task,digest,commit,time,fits\n", "the report depends on the file"
    assert declare(path, "t", DECLARED, "c", 3)
    assert declare(path, "t", Evidence(), "c", 9), "that it was taken back is a row too"
    last = last_of(path, "t")
    assert last is not None
    assert (last.digest, last.fits) == (NOTHING, 9)


def test_tasks_have_rows_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "declarations.csv"
    path.write_text("task,digest,commit,time,fits\n")
    assert declare(path, "one", DECLARED, "c", 0)
    assert declare(path, "two", DECLARED, "c", 5)
    assert not declare(path, "one", DECLARED, "d", 7)
    last = last_of(path, "two")
    assert last is not None
    assert (last.digest, last.commit, last.fits) == (digest_of(DECLARED), "c", 5)
    assert last_of(path, "three") is None


def test_a_row_that_train_did_not_write_is_named(tmp_path: Path) -> None:
    path = tmp_path / "declarations.csv"
    path.write_text("task,digest,commit,time,fits\nt,abc,c,now,many\n")
    with pytest.raises(DeclarationsError, match=r"declarations\.csv, line 2: expected task"):
        last_of(path, "t")
