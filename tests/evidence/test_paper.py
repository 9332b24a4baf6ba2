"""The paper's figures: every number stands in its text, contradictions are kept apart, and comparisons by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import qlcnet.evidence
from qlcnet.config import Task
from qlcnet.evidence.paper import Cell, Level, level_margin, paper_set, side_by_side, stated_figures
from qlcnet.evidence.statistics import Interval

NAN = math.nan
# typed from the text once more, by section: mean and sd of the classical network, then of the hybrid
TEXT = {
    ("cifar10", "lcnet_050", "accuracy"): ((0.7103, 0.0151), (0.7178, 0.0074)),  # 6.1 par 1
    ("cifar10", "lcnet_075", "accuracy"): ((0.7490, 0.0216), (0.7592, 0.0063)),
    ("cifar10", "lcnet_075", "auc_micro"): ((NAN, 0.0060), (NAN, 0.0017)),  # 5.1 par 3
    ("dermamnist", "lcnet_050", "accuracy"): ((0.5457, 0.0231), (0.6125, 0.0116)),  # 6.2 par 1
    ("dermamnist", "lcnet_075", "accuracy"): ((0.5720, 0.0295), (0.6377, 0.0270)),
    ("dermamnist", "lcnet_100", "accuracy"): ((0.5764, NAN), (0.6121, NAN)),  # 5.2 par 1
    ("dermamnist", "lcnet_050", "auc_macro"): ((0.8310, NAN), (0.8647, NAN)),  # 5.2 par 2
    ("dermamnist", "lcnet_050", "auc_micro"): ((0.8919, NAN), (0.9080, NAN)),
    ("dermamnist", "lcnet_075", "auc_macro"): ((0.8391, NAN), (0.8778, NAN)),
    ("dermamnist", "lcnet_075", "auc_micro"): ((0.9028, NAN), (0.9207, NAN)),
}


def ours(classical: Level, hybrid: Level, key: tuple[str, str, str]) -> dict[Cell, Level]:
    return {Cell(*key, "classical"): classical, Cell(*key, "hybrid"): hybrid}


def test_stated_levels_are_those_of_the_text() -> None:
    levels = [f for f in stated_figures() if f.quantity == "level" and f.precision == "stated"]
    found = {(f.data_set, *f.backbones, f.metric, f.model): (f.value, f.sd) for f in levels}
    models = ("classical", "hybrid")
    wanted = {(*key, m): pair for key, both in TEXT.items() for m, pair in zip(models, both, strict=True)}
    assert found.keys() == wanted.keys()
    assert len(levels) == len(found)
    for key, pair in wanted.items():
        assert found[key] == pytest.approx(pair, nan_ok=True), key


def test_what_the_text_says_of_differences_agrees_with_its_means() -> None:
    """Where it gives both; the largest gain of AUC only holds for the macro average, which the note says."""
    said = {(f.data_set, *f.backbones, f.metric): f for f in stated_figures() if f.quantity == "difference"}
    both = {key: hybrid[0] - classical[0] for key, (classical, hybrid) in TEXT.items() if key in said}
    assert len(both) == 5
    for key, difference in both.items():
        value, low, high = said[key].value, said[key].low, said[key].high
        assert math.isnan(difference) or difference == pytest.approx(value, abs=6e-4) or low < difference < high, key


def test_every_figure_says_where_and_none_twice() -> None:
    figures = stated_figures()
    assert all(f.where for f in figures)
    keys = [(f.data_set, f.backbones, f.model, f.metric, f.quantity, f.value) for f in figures]
    assert len({str(key) for key in keys}) == len(keys)
    assert [f.value for f in figures if f.metric == "folds"] == [5, 6], "it contradicts itself"
    unnamed = [f for f in figures if f.quantity == "level" and not f.data_set]
    assert [(f.low, f.precision) for f in unnamed] == [(0.95, "bound")]


def test_the_head_of_the_file_has_citation_and_licence() -> None:
    text = (Path(qlcnet.evidence.__file__).parent / "paper_figures.csv").read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert "Computation 2025, 13(12), 278" in head
    assert "CC BY 4.0" in head


def test_level_margin() -> None:
    """t(0.975, 4) = 2.776445, sqrt(1/5 + 1/4) = 0.670820: their product is 1.862496."""
    assert level_margin(0.03, Level(0.7, 0.04)) == pytest.approx(1.862496 * 0.05, rel=1e-6)
    assert level_margin(NAN, Level(0.7, 0.04)) == pytest.approx(1.862496 * 0.04 * math.sqrt(2), rel=1e-6)
    assert level_margin(0.03, Level(0.7, NAN)) == pytest.approx(1.862496 * 0.03 * math.sqrt(2), rel=1e-6)
    repeated = 2.776445 * math.sqrt(0.0009 * 0.45 + 0.0016 * (1 / 15 + 0.25))
    assert level_margin(0.03, Level(0.7, 0.04, fits=15)) == pytest.approx(repeated, rel=1e-6)
    assert math.isnan(level_margin(NAN, Level(0.7, NAN)))
    assert math.isnan(level_margin(0.03, Level(0.7, 0.04, fits=3, folds=1))), "repeats of one split"


def test_level_and_difference_are_told_apart() -> None:
    key = ("dermamnist", "lcnet_050", "accuracy")
    (row,) = side_by_side(ours(Level(0.680, 0.01), Level(0.690, 0.01), key), {key: Interval(-0.02, 0.04)})
    assert dict(row.level) == {"classical": "higher", "hybrid": "higher"}
    assert row.difference == "same sign"
    assert row.our_difference == pytest.approx(0.01)
    assert row.stated_difference is not None
    assert row.stated_difference.value == pytest.approx(0.0668)
    assert row.within is False
    (row,) = side_by_side(ours(Level(0.55, 0.02), Level(0.40, 0.02), key), {key: Interval(-0.3, 0.1)})
    assert dict(row.level) == {"classical": "as stated", "hybrid": "lower"}
    assert (row.difference, row.within) == ("opposite sign", True)
    (row,) = side_by_side(ours(Level(0.55, NAN), Level(0.60, NAN), ("dermamnist", "lcnet_100", "accuracy")))
    assert dict(row.level) == {"classical": "spread unknown", "hybrid": "spread unknown"}
    assert row.within is None


def test_a_difference_without_means_is_compared_by_its_bounds() -> None:
    key = ("cifar10", "lcnet_100", "auc_macro")
    (row,) = side_by_side(ours(Level(0.91, 0.01), Level(0.90, 0.01), key), {key: Interval(-0.03, -0.007)})
    assert row.stated_difference is not None
    assert (row.stated_difference.low, row.stated_difference.high) == (-0.006, 0.0)
    assert (row.difference, row.within) == ("same sign", False)
    assert set(row.level.values()) == {"not stated"}
    key = ("dermamnist", "lcnet_200", "auc_micro")
    (row,) = side_by_side(ours(Level(0.91, 0.01), Level(0.93, 0.01), key), {key: Interval(-0.01, 0.05)})
    assert (row.difference, row.within) == ("opposite sign", True)


def test_only_what_the_paper_speaks_of_is_compared() -> None:
    assert not side_by_side(ours(Level(0.9, 0.1), Level(0.9, 0.1), ("cifar10", "lcnet_200", "accuracy")))
    assert not side_by_side(ours(Level(0.9, 0.1), Level(0.9, 0.1), ("dermamnist", "lcnet_050", "loss")))
    assert not side_by_side({Cell("dermamnist", "lcnet_050", "accuracy", "quanv"): Level(0.9, 0.1)})
    (row,) = side_by_side({Cell("dermamnist", "lcnet_050", "accuracy", "hybrid"): Level(0.61, 0.01)})
    assert row.level["classical"] == row.difference == "not stated"
    assert row.level["hybrid"] == "as stated"


@pytest.mark.parametrize(
    ("section", "name", "says"),
    [
        ({"source": {"kind": "cifar10"}}, "cifar10", []),
        ({"source": {"kind": "medmnist", "name": "dermamnist"}}, "dermamnist", []),
        ({"source": {"kind": "medmnist", "name": "dermamnist", "size": 64}}, "dermamnist", ["64 px"]),
        ({"source": {"kind": "medmnist", "name": "breastmnist"}}, None, []),
        ({"source": {"kind": "digits"}}, None, []),
        ({"source": {"kind": "npz", "path": "a.npz", "md5": "0" * 32}}, None, []),
        (
            {
                "source": {"kind": "npz", "path": "a.npz", "md5": "0" * 32, "classes_of": "dermamnist"},
                "protocol": {"grouped": True, "folds": 3},
                "images_per_class": 100,
            },
            "dermamnist",
            ["rebuilt from HAM10000: not the same file", "subset of at most 100", "3 folds", "grouped folds"],
        ),
        ({"source": {"kind": "cifar10"}, "protocol": {"kind": "official"}}, "cifar10", ["own split"]),
    ],
)
def test_which_task_is_which_data_set(section: dict[str, Any], name: str | None, says: list[str]) -> None:
    found = paper_set(TypeAdapter(Task).validate_python(section))
    assert (found.name if found else None) == name
    if found:
        assert len(found.differs) == len(says)
        assert all(text in line for text, line in zip(says, found.differs, strict=True))
