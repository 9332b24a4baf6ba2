"""summary.json: the names of the design, numbers equal to scikit-learn's, stable text."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from qlcnet.evidence.intervals import intervals_of
from qlcnet.evidence.limits import Limits
from qlcnet.evidence.metrics import METRICS
from qlcnet.evidence.summary import Estimate
from qlcnet.report.predictions import read_oof
from qlcnet.report.study import StudyError, read_study
from qlcnet.report.summary import class_labels, metrics_json, model_entry, summarise, summary_json
from tests.report.fold_folders import SMALL, make_params, make_study

SOURCE = {"kind": "npz", "path": "spots.npz", "md5": "0" * 32}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three protocols, their params and summary.json."""
    root = tmp_path_factory.mktemp("study")
    datasets = {
        "pooled": {"source": SOURCE, "protocol": {"kind": "pooled-cv", "folds": 3, "repeats": 2, "grouped": True}},
        "beside": {"source": SOURCE, "protocol": {"kind": "train-cv", "folds": 2}},
        "own": {"source": SOURCE, "protocol": {"kind": "official"}},
    }
    params = make_study(root, make_params(datasets=datasets, backbones={"lcnet_050": {}}))
    study = read_study(params, root)
    return root, params, json.loads(summary_json(study, summarise(study)))


def test_holds_the_names_of_the_design(made):
    _, _, summary = made
    entry = summary["tasks"]["pooled"]["lcnet_050"]["hybrid"]
    assert {"n", "recall_per_class", "parameters", "multiply_adds", "circuit_evaluations", *METRICS} <= set(entry)
    for metric in METRICS:
        assert set(entry[metric]) == {"oof", "fold_mean", "fold_sd", "ci_low", "ci_high", "ci_method"}
        shown = entry[metric]["fold_mean" if metric == "auc_macro" else "oof"]
        assert entry[metric]["ci_low"] <= shown <= entry[metric]["ci_high"]
    assert summary["tuple"]["torch"] == "2.15.0"
    assert summary["statistics"]["fold_sd_ddof"] == 1
    assert "torch" in summary["versions"]


def test_numbers_equal_scikit_learn(made):
    root, _, summary = made
    table = read_oof(root / "results/folds/pooled/lcnet_050/classical", "pooled-cv")
    entry = summary["tasks"]["pooled"]["lcnet_050"]["classical"]
    repeats = [table.of_repeat(r) for r in (0, 1)]
    accuracy = np.mean([reference.accuracy_score(t.target, t.probabilities.argmax(1)) for t in repeats])
    area = np.mean(
        [reference.roc_auc_score(np.eye(4)[t.target], t.probabilities.astype(float), average="macro") for t in repeats]
    )
    assert entry["n"] == 120
    assert entry["accuracy"]["oof"] == round(accuracy, 6)
    assert entry["auc_macro"]["oof"] == round(area, 6)
    of_fits = [
        reference.accuracy_score(t.target, t.probabilities.argmax(1)) for t in (table.of_fit(*s) for s in table.splits)
    ]
    assert entry["accuracy"]["fold_mean"] == round(np.mean(of_fits), 6)
    assert entry["accuracy"]["fold_sd"] == round(np.std(of_fits, ddof=1), 6)
    recall = np.mean(
        [reference.recall_score(t.target, t.probabilities.argmax(1), average=None) for t in repeats], axis=0
    )
    found = [entry["recall_per_class"][name] for name in table.class_names]
    assert found == pytest.approx(recall.tolist(), abs=1e-6)


def test_the_test_part_is_scored_beside_with_train_cv_only(made):
    _, _, summary = made
    beside, pooled, own = (summary["tasks"][task]["lcnet_050"]["hybrid"] for task in ("beside", "pooled", "own"))
    assert (beside["n"], beside["test_n"]) == (90, 30)
    assert set(beside["test_accuracy"]) == {"fold_mean", "fold_sd", "ci_low", "ci_high", "ci_method"}
    assert not [name for entry in (pooled, own) for name in entry if name.startswith("test_")]
    assert own["n"] == 30
    assert own["accuracy"]["fold_sd"] is None  # one fit


def test_groups_are_the_unit_where_folds_are_grouped(made):
    root, _, summary = made
    assert summary["data"]["pooled"]["unit"] == "groups"
    assert summary["data"]["beside"]["unit"] == "images"
    table = read_oof(root / "results/folds/pooled/lcnet_050/classical", "pooled-cv")
    repeats = [table.of_repeat(r) for r in (0, 1)]
    groups = np.load(root / "data/raw/pooled/groups.npy")
    found = intervals_of(
        [(t.target, t.probabilities) for t in repeats], [t.fold for t in repeats], groups[repeats[0].index]
    )
    interval = found["accuracy"]
    assert isinstance(interval, Limits)
    entry = summary["tasks"]["pooled"]["lcnet_050"]["classical"]["accuracy"]
    assert (entry["ci_low"], entry["ci_high"]) == (round(interval.low, 6), round(interval.high, 6))


def test_circuits_are_counted_once_for_channels_and_in_every_fit_for_heads(made):
    _, _, summary = made
    models = summary["tasks"]["beside"]["lcnet_050"]
    assert models["classical"]["circuit_evaluations"] == {
        "executed": 0, "hardware_quanvolution": 0, "hardware_head": 0, "hardware": 0,
    }  # fmt: skip
    evaluations = models["hybrid"]["circuit_evaluations"]
    assert evaluations["executed"] == 81
    assert evaluations["hardware_quanvolution"] == 784 * 120
    assert evaluations["hardware_head"] == 2 * 17 * 45 * 4  # fits x runs a sample x training part x epochs
    assert evaluations["hardware"] == evaluations["hardware_quanvolution"] + evaluations["hardware_head"]


def test_text_is_sorted_and_stable(made):
    root, params, summary = made
    study = read_study(params, root)
    text = summary_json(study, summarise(study))
    assert text == json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert "NaN" not in text


def test_metrics_are_the_out_of_fold_values_that_the_summary_has(made):
    root, params, summary = made
    found = json.loads(metrics_json(summarise(read_study(params, root))))
    assert list(found) == ["beside", "own", "pooled"]
    for task, models in ((task, backbones["lcnet_050"]) for task, backbones in found.items()):
        assert list(models) == ["classical", "hybrid"]
        for model, values in models.items():
            entry = summary["tasks"][task]["lcnet_050"][model]
            assert values.keys() == set(METRICS)
            for metric, value in values.items():
                assert value == pytest.approx(entry[metric]["oof"], abs=0.5001e-4)
                assert value == round(value, 4)


def test_an_undefined_metric_is_left_out_of_the_metrics(made):
    root, params, _ = made
    summaries = summarise(read_study(params, root))
    one = summaries["own"]["lcnet_050", "hybrid"]
    undefined = {**one.oof.metrics, "auc_macro": Estimate(math.nan, math.nan, math.nan)}
    without = replace(one, oof=replace(one.oof, metrics=undefined))
    assert model_entry(without)["auc_macro"] == dict.fromkeys(
        ("oof", "fold_mean", "fold_sd", "ci_low", "ci_high", "ci_method")
    )
    values = json.loads(metrics_json({"own": {("lcnet_050", "hybrid"): without}}))["own"]["lcnet_050"]["hybrid"]
    assert values.keys() == set(METRICS) - {"auc_macro"}


def test_majority_accuracy_is_of_the_scored_images(made):
    root, _, summary = made
    labels = np.load(root / "data/raw/own/labels.npy")[3::4]
    assert summary["data"]["own"]["majority_accuracy"] == round(np.bincount(labels).max() / len(labels), 6)


def test_class_names_that_stand_twice_stay_apart():
    assert class_labels(("cat", "dog", "cat")) == ["cat (0)", "dog", "cat (2)"]


def test_other_settings_than_the_fits_are_an_error(made):
    root, params, _ = made
    changed = make_params(
        datasets={name: task.model_dump(exclude_unset=True) for name, task in params.datasets.items()},
        backbones={"lcnet_050": {}},
        training={**SMALL["training"], "learning_rate": 0.5},
    )
    with pytest.raises(
        StudyError, match=r"pooled/lcnet_050/classical/repeat-0/fold-0 was made with other settings \(training\)"
    ):
        read_study(changed, root)
