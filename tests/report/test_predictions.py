"""The out-of-fold table holds every image exactly once a repeat, or says which it does not."""

import csv
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qlcnet.evidence.oof import OOFError
from qlcnet.fit.fold_folder import PREDICTIONS
from qlcnet.report.predictions import fold_folders, read_oof, read_test, write_oof
from tests.report.fold_folders import make_params, make_study

SOURCE = {"kind": "npz", "path": "spots.npz", "md5": "0" * 32}


@pytest.fixture
def study(tmp_path):
    """One model on one backbone: pooled with 2 repeats, train-cv and official."""
    protocols = {
        "pooled": {"kind": "pooled-cv", "folds": 3, "repeats": 2},
        "beside": {"kind": "train-cv", "folds": 2},
        "own": {"kind": "official"},
    }
    make_study(
        tmp_path,
        make_params(
            datasets={name: {"source": SOURCE, "protocol": protocol} for name, protocol in protocols.items()},
            models={"classical": {"inputs": ["image"]}},
            backbones={"lcnet_050": {}},
            circuits={},
        ),
    )
    return {name: tmp_path / "results/folds" / name / "lcnet_050/classical" for name in protocols}


def change(folder, **columns):
    """Replace columns of a fold's predictions."""
    save_file({**load_file(folder / PREDICTIONS), **columns}, folder / PREDICTIONS)


def test_every_image_once_a_repeat(study):
    table = read_oof(study["pooled"], "pooled-cv")
    assert (table.task, table.backbone, table.model) == ("pooled", "lcnet_050", "classical")
    assert table.repeats == [0, 1]
    assert table.splits == [(r, f) for r in range(2) for f in range(3)]
    for repeat in table.repeats:
        np.testing.assert_array_equal(table.of_repeat(repeat).index, np.arange(120))
    np.testing.assert_array_equal(table.of_repeat(0).target, table.of_repeat(1).target)
    assert sum(len(table.of_fit(r, f)) for r, f in table.splits) == len(table) == 240


def test_rows_belong_to_the_fold_that_predicted_them(study):
    table = read_oof(study["pooled"], "pooled-cv")
    stored = load_file(study["pooled"] / "repeat-1/fold-2" / PREDICTIONS)
    rows = table.of_fit(1, 2)
    np.testing.assert_array_equal(rows.index, np.sort(stored["index"]))
    np.testing.assert_array_equal(rows.probabilities, stored["probabilities"][np.argsort(stored["index"])])


def test_train_cv_scores_folds_and_the_test_part_beside(study):
    table, test = read_oof(study["beside"], "train-cv"), read_test(study["beside"], "train-cv")
    assert len(table) == 90
    assert len(test) == 2 * 30
    assert not set(table.index) & set(test.index)
    np.testing.assert_array_equal(test.of_fit(0, 0).index, test.of_fit(0, 1).index)


def test_official_scores_its_test_part_alone(study):
    table = read_oof(study["own"], "official")
    np.testing.assert_array_equal(table.index, np.arange(3, 120, 4))  # the test part of the synthetic set


def test_no_test_part_gives_an_empty_table(study):
    assert len(read_test(study["pooled"], "pooled-cv")) == 0


def test_test_rows_stand_beside_the_folds_with_train_cv_only(study):
    assert (
        len(read_test(study["own"], "train-cv")) == 30
    )  # the official split has a test part: it is scored, not beside
    assert len(read_test(study["own"], "official")) == 0


def test_a_missing_image_is_named(study):
    folder = study["pooled"] / "repeat-1/fold-0"
    stored = load_file(folder / PREDICTIONS)
    gone = int(stored["index"].min())
    change(folder, **{name: column[stored["index"] != gone] for name, column in stored.items()})
    message = rf"pooled/lcnet_050/classical, repeat 1: missing images: 1 \(rows {gone}\); run `qlcnet train pooled`"
    with pytest.raises(OOFError, match=message):
        read_oof(study["pooled"], "pooled-cv")


def test_a_missing_fold_is_noticed_with_the_expected_images_alone(study):
    shutil.rmtree(study["beside"] / "repeat-0/fold-1")
    assert len(read_oof(study["beside"], "train-cv")) == 45  # nothing to compare with
    with pytest.raises(OOFError, match="missing images: 45"):
        read_oof(study["beside"], "train-cv", np.unique([i for i in range(120) if i % 4 != 3]))


def test_an_image_in_two_folds_is_an_error(study):
    stored = load_file(study["pooled"] / "repeat-0/fold-1" / PREDICTIONS)
    other = load_file(study["pooled"] / "repeat-0/fold-0" / PREDICTIONS)["index"][0]
    index = stored["index"].copy()
    index[0] = other
    change(study["pooled"] / "repeat-0/fold-1", index=index)
    expected = np.setdiff1d(np.arange(120), stored["index"][:1])
    with pytest.raises(OOFError, match=rf"images that are there more than once: 1 \(rows {other}\)"):
        read_oof(study["pooled"], "pooled-cv", expected)


def test_an_image_of_another_task_is_an_error(study):
    with pytest.raises(OOFError, match=r"images that are not of this task: 1 \(rows 119\)"):
        read_oof(study["pooled"], "pooled-cv", np.arange(119))


def test_targets_that_change_between_repeats_are_an_error(study):
    folder = study["pooled"] / "repeat-1/fold-0"
    change(folder, target=(load_file(folder / PREDICTIONS)["target"] + 1) % 4)
    with pytest.raises(OOFError, match="repeat 1: targets differ from those of repeat 0"):
        read_oof(study["pooled"], "pooled-cv")


def test_a_prediction_that_is_not_finite_is_named(study):
    folder = study["pooled"] / "repeat-0/fold-2"
    probabilities = load_file(folder / PREDICTIONS)["probabilities"].copy()
    probabilities[3] = np.nan
    change(folder, probabilities=probabilities)
    with pytest.raises(OOFError, match=r"repeat 0, fold 2: 1 of \d+ predictions are not finite"):
        read_oof(study["pooled"], "pooled-cv")


def test_no_folds_say_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="qlcnet train"):
        read_oof(tmp_path, "pooled-cv")
    assert fold_folders(tmp_path) == {}


def test_csv_gives_every_float_back(study, tmp_path):
    table = read_oof(study["own"], "official")
    write_oof(table, tmp_path / "oof.csv")
    with (tmp_path / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "task",
        "model",
        "backbone",
        "repeat",
        "fold",
        "index",
        "target",
        "p_0",
        "p_1",
        "p_2",
        "p_3",
    ]
    read = np.array([[row[f"p_{k}"] for k in range(4)] for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(read, table.probabilities)
