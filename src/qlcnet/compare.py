"""Prediction tables of anybody's, read from two files and paired; and the options with which they are named."""

from __future__ import annotations

import argparse
import gzip
import math
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlcnet.evidence.prediction_pair import PairedTables

METRICS = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro")  # those of families.METRICS_WITH_MARGIN
# of the verdict, so that a script can ask; 2: refused
EXIT_CODES = {"better": 0, "worse": 3, "equivalent": 4, "undecided": 5, "too few": 6}
REFUSED = 2
ALPHA = 0.05
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
        "--metric", choices=METRICS, default=METRICS[0], help=f"whose verdict the exit code is (default {METRICS[0]})"
    )
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


def compare_files(a: Path, b: Path, group_by: str | None, margins: Sequence[str], metric: str) -> tuple[str, int]:
    """What may be said of two files, as text, and the exit code. Raises CompareError or PredictionTableError."""
    from qlcnet.config.evidence import Margin
    from qlcnet.evidence.comparison import differences, fold_scores, paired_t
    from qlcnet.evidence.families import Contrast, Line
    from qlcnet.evidence.limits import TooFew
    from qlcnet.evidence.networks import compare_networks
    from qlcnet.evidence.sentences import WORDS, p_text, sentence, signed
    from qlcnet.evidence.verdict_on_images import word_of
    from qlcnet.evidence.verdicts import judge

    margin = Margin(**parse_margins(margins, METRICS))
    pair = read_pair(a, b, group_by)
    names = (f"A ({a.name})", f"B ({b.name})")
    tables, groups = pair.as_tables(*names)
    lines = [
        f"{len(set(pair.ids.tolist())):,} images, {pair.a.shape[1]} classes"
        + (f", {len(set(pair.groups.tolist())):,} groups" if pair.groups is not None else "")
    ]
    words: dict[str, str] = {}
    if pair.splits:
        scores = [fold_scores(table, 1) for table in tables]
        lines += ["", "This way of training (fits paired by repeat and fold):"]
        for name in METRICS:
            test = paired_t(differences(scores[0], scores[1], name), scores[0])
            (verdict,) = judge([test], margin.size_in(name), ALPHA)
            contrast = Contrast("", *names, name, "one width", ("",))
            text = sentence(Line(contrast, verdict)).partition(", , ")[2]
            lines.append(f"  {text[0].upper()}{text[1:]}")
            words[name] = verdict.word
    else:
        lines += ["", "No column `fold`: nothing can be said of training again, only of these predictions."]
    lines += ["", "These networks (paired by image):"]
    for name in METRICS:
        at = partial(compare_networks, tables[0], tables[1], name, groups)
        found, word = at(0.95), word_of(at, margin.size_in(name), ALPHA)
        words.setdefault(name, word)
        title = WORDS[name][0].upper() + WORDS[name][1:]
        if isinstance(found, TooFew):
            lines.append(f"  {title}: too few: {found.reason}.")
            continue
        p = "" if found.p is None else f", p = {p_text(found.p)}"
        interval = f"{signed(found.interval.low)} to {signed(found.interval.high)}"
        lines.append(
            f"  {title}: A is {word}: {signed(found.difference)} (95 % interval {interval}){p}, margin "
            f"{margin.size_in(name):g}."
            if word not in ("undecided", "equivalent")
            else f"  {title}: {word}: {signed(found.difference)} (95 % interval {interval}){p}, margin "
            f"{margin.size_in(name):g}."
        )
    code = next(code for start, code in EXIT_CODES.items() if words[metric].startswith(start))
    return "\n".join(lines), code


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
