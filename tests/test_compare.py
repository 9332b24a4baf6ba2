"""Files and options of `qlcnet compare`: what is read, what is refused."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import pytest

from qlcnet.cli import main
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


def write_table(path: Path, skill: float, seed: int, folds: int = 5, repeats: int = 1, images: int = 300) -> Path:
    """Predictions of two classes: right more often with more skill; columns repeat and fold unless folds is 0."""
    rng, lines = np.random.default_rng(seed), []
    for repeat in range(repeats):
        for i in range(images):
            target = i % 2
            p = 1 / (1 + np.exp(-(skill * (2 * target - 1) + rng.normal())))
            place = f"{repeat},{(i // 2) % folds}," if folds else ""
            lines.append(f"im{i},{i // 3},{place}{target},{1 - p:.6f},{p:.6f}")
    header = "id,patient," + ("repeat,fold," if folds else "") + "target,p_0,p_1"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("skills", "folds", "code", "words"),
    [
        ((2.0, 0.5), 5, 0, "is better than"),
        ((0.5, 2.0), 5, 3, "is worse than"),
        ((1.0, 1.0), 5, 5, "undecided"),
        ((2.0, 0.5), 0, 0, "No column `fold`"),
        ((0.5, 2.0), 0, 3, "A is worse"),
    ],
)
def test_the_exit_code_is_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], skills: tuple[float, float], folds: int, code: int, words: str
) -> None:
    a, b = (write_table(tmp_path / f"{n}.csv", skill, n, folds) for n, skill in enumerate(skills))
    assert main(["compare", str(a), str(b), "--group-by", "patient"]) == code
    said = capsys.readouterr().out
    assert words in said
    assert "300 images, 2 classes, 100 groups" in said


def test_a_margin_changes_the_verdict_and_what_cannot_be_paired_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (write_table(tmp_path / f"{n}.csv", 1.0, n, 5, images=3000) for n in (1, 2))
    assert main(["compare", str(a), str(b), "--margin", "accuracy=0.2"]) == 4
    assert "differ by less than the margin" in capsys.readouterr().out
    other = write_table(tmp_path / "other.csv", 1.0, 3, 4, images=3000)
    assert main(["compare", str(a), str(other)]) == 2
    assert "another fold" in capsys.readouterr().err
