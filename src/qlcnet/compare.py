"""Prediction tables of anybody's, read from two files and paired; and the options with which they are named."""

from __future__ import annotations

import argparse
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlcnet.evidence.prediction_pair import PairedTables

LARGEST = 2 << 30  # bytes of text; a million images of ten classes in five repeats are 0.6 GB
GZIP = b"\x1f\x8b"


class CompareError(ValueError):
    """Files or options cannot be used; the message names them and a remedy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qlcnet compare`: a, b, group_by, margin (see parse_margins)."""
    parser.add_argument("a", type=Path, metavar="A.csv", help="id, target, p_0, p_1 …; repeat and fold if there are")
    parser.add_argument("b", type=Path, metavar="B.csv", help="the same images, predicted by another classifier")
    parser.add_argument("--group-by", metavar="COLUMN", help="column of what shares images: patient, lesion")
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="METRIC=SIZE",
        help="differences smaller than this do not matter, for example accuracy=0.01; may be repeated",
    )


def parse_margins(texts: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    """`["accuracy=0.01"]` as margins by metric. Raises CompareError."""
    found: dict[str, float] = {}
    for text in texts:
        metric, equals, size = text.partition("=")
        metric = metric.strip()
        if not equals:
            raise CompareError(f"--margin {text}: expected METRIC=SIZE, for example accuracy=0.01")
        if metric not in metrics:
            raise CompareError(f"--margin {text}: no metric {metric!r}; there are {', '.join(metrics)}")
        if metric in found:
            raise CompareError(f"--margin {text}: {metric} has a margin already; give it once")
        try:
            found[metric] = float(size)
        except ValueError:
            found[metric] = math.nan
        if not 0 < found[metric] < 1:
            raise CompareError(f"--margin {text}: {size!r} is no size between 0 and 1; 0.01 is one percentage point")
    return found


def read_pair(a: Path, b: Path, group_by: str | None = None) -> PairedTables:
    """Both tables, paired; `group_by` has to be a column of one of them at least.

    Raises CompareError or PredictionTableError.
    """
    from qlcnet.evidence.prediction_pair import pair
    from qlcnet.evidence.prediction_table import header_of, parse_table

    texts = {path: read_text(path) for path in (a, b)}
    knows = [path for path in texts if group_by in header_of(texts[path])]
    if group_by is not None and not knows:
        raise CompareError(f"--group-by {group_by}: neither {a} nor {b} has this column")
    tables = [parse_table(texts[path], str(path), group_by if path in knows else None) for path in (a, b)]
    return pair(tables[0], tables[1])


def read_text(path: Path) -> str:
    """The text of a CSV in UTF-8, with or without byte order mark, also compressed with gzip. Raises CompareError."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no file" if path.exists() else "not there"
            raise CompareError(f"{path} is {what}; give a CSV with the columns id, target, p_0 …")
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
        with gzip.open(path) if compressed else path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise CompareError(f"{path} has more than {LARGEST / 1e9:.0f} GB of text; leave out what is not compared")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CompareError(f"{path}: no text in UTF-8 (byte {error.start:,}); export it as CSV in UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CompareError(f"{path} cannot be read ({error}); write or copy it again") from None
