"""Files and options of `qlcnet compare`: what is read, what is refused."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import pytest

from qlcnet.compare import CompareError, add_arguments, parse_margins, read_pair, read_text
from qlcnet.evidence.metrics import METRICS

TABLE = "id,target,lesion,p_0,p_1\na,0,x,0.5,0.5\nb,1,y,0.25,0.75\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "A.csv").write_text(TABLE, encoding="utf-8-sig")
    (tmp_path / "B.csv.gz").write_bytes(
        gzip.compress(TABLE.replace(",lesion", "").replace(",x", "").replace(",y", "").encode())
    )
    return tmp_path / "A.csv", tmp_path / "B.csv.gz"


def test_plain_and_compressed_files_are_paired(files: tuple[Path, Path]) -> None:
    both = read_pair(*files, group_by="lesion")
    assert both.ids.tolist() == ["a", "b"]
    assert both.groups is not None
    assert both.groups.tolist() == ["x", "y"], "known of one table"
    assert read_pair(*reversed(files)).groups is None
    with pytest.raises(CompareError, match="--group-by patient: neither"):
        read_pair(*files, group_by="patient")


def test_files_that_cannot_be_read_are_named(tmp_path: Path, files: tuple[Path, Path]) -> None:
    (tmp_path / "latin.csv").write_bytes("id,target\nä,1\n".encode("latin-1"))
    (tmp_path / "cut.gz").write_bytes(files[1].read_bytes()[:-9])
    for name, says in (
        ("nothing.csv", "is not there"),
        ("", "is a folder"),
        ("latin.csv", "UTF-8"),
        ("cut.gz", "copy it"),
    ):
        with pytest.raises(CompareError, match=says):
            read_text(tmp_path / name)


def test_margins() -> None:
    assert parse_margins(["accuracy=0.01", " auc_macro = .005"], METRICS) == {"accuracy": 0.01, "auc_macro": 0.005}
    assert parse_margins([], METRICS) == {}
    for text, says in (
        ("accuracy", "METRIC=SIZE"), ("acuracy=0.01", "no metric 'acuracy'; there are acc"), ("accuracy=x", "no size"),
        ("accuracy=1", "no size"), ("accuracy=0", "no size"), ("accuracy=nan", "no size"),
    ):  # fmt: skip
        with pytest.raises(CompareError, match=says):
            parse_margins([text], METRICS)
    with pytest.raises(CompareError, match="already"):
        parse_margins(["accuracy=0.1", "accuracy=0.2"], METRICS)


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(
        ["a.csv", "b.csv", "--group-by", "lesion", "--margin", "accuracy=0.01", "--margin", "loss=0.1"]
    )
    assert (options.a, options.b, options.group_by) == (Path("a.csv"), Path("b.csv"), "lesion")
    assert options.margin == ["accuracy=0.01", "loss=0.1"]
    assert parser.parse_args(["a.csv", "b.csv"]).margin == []
