"""One fit: what it returns, that it is a pure function of its arguments, and that it looks at nothing else."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from qlcnet import machine
from qlcnet.data.batches import InputArray
from qlcnet.fit.computed_on import WeightDigests
from qlcnet.fit.fitting import fit_fold
from qlcnet.fit.fold_folder import TEST, VALIDATION
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.models.module import Classifier, DivergedError
from tests.fit.tiny_fits import CLASSES, IMAGES, SIDE, make_data, make_spec


@pytest.fixture(scope="module")
def usual() -> FitResult:
    return fit_fold(make_spec(), make_data())


def assert_same(one: FitResult, other: FitResult) -> None:
    """Byte for byte, but for the seconds."""
    assert one.history == other.history
    assert one.facts == other.facts
    for mine, theirs in ((one.predictions, other.predictions), (one.weights, other.weights)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            assert mine[name].tobytes() == theirs[name].tobytes(), name


def test_a_fit_is_the_same_after_other_draws_and_with_a_listener(usual: FitResult) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    torch.rand(5)
    epochs: list[Any] = []
    assert_same(fit_fold(make_spec(), make_data(), lambda row: epochs.append(dict(row))), usual)
    assert epochs == usual.history


def test_each_epoch_has_a_digest_of_its_weights_which_changes_no_byte(
    usual: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = usual.facts["epoch_weights"]
    assert len(digests) == len(usual.history) == 2
    expected = hashlib.sha256()
    for name, array in sorted(usual.weights.items()):
        expected.update(name.encode() + array.tobytes())
    assert digests[-1] == expected.hexdigest()[:16], "of the last epoch: the weights that the fit leaves"
    assert digests[0] != digests[1]
    other = fit_fold(make_spec(epochs=1), make_data())
    assert other.facts["epoch_weights"] == digests[:1], "no schedule: the first of two epochs is the only one of one"

    monkeypatch.setattr(WeightDigests, "on_train_epoch_end", lambda *_: None)
    without = fit_fold(make_spec(), make_data())
    assert without.facts.pop("epoch_weights") == []
    assert_same(without, replace(usual, facts={k: v for k, v in usual.facts.items() if k != "epoch_weights"}))


def test_another_seed_or_fold_is_another_fit(usual: FitResult) -> None:
    other = fit_fold(replace(make_spec(epochs=1), seed=43), make_data())
    assert any((other.weights[name] != usual.weights[name]).any() for name in usual.weights)
    assert other.predictions["index"].tolist() == usual.predictions["index"].tolist()


def hybrid(**settings: Any) -> FitSpec:
    model = {"inputs": ["image", "quanv:ry"], **settings}
    return make_spec(model, epochs=1, augmentation={"crop_padding": 1})


def test_a_replicate_meets_the_same_images_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmented alike too; only its first weights are others, and so are its predictions."""
    seen: list[bytes] = []
    usual_step = Classifier.training_step

    def training_step(module: Classifier, batch: tuple[torch.Tensor, torch.Tensor], *rest: Any) -> Any:
        seen.extend(part.cpu().contiguous().numpy().tobytes() for part in batch)
        return usual_step(module, batch, *rest)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    fits = []
    for replicate in (0, 1):
        fits.append((fit_fold(hybrid(replicate=replicate), make_data()), tuple(seen)))
        seen.clear()
    (one, images), (other, same_images) = fits
    assert len(images) == 6, "three batches"
    assert images == same_images
    assert one.predictions["probabilities"].tobytes() != other.predictions["probabilities"].tobytes()


@pytest.mark.parametrize("layers", [1, 2])
def test_quantum_and_sine_are_one_model(layers: int) -> None:
    """The A/A line: for the paper's circuit a whole fit gives equal bytes."""
    one, other = (fit_fold(hybrid(head={"kind": k, "layers": layers}), make_data()) for k in ("quantum", "sine"))
    assert one.history == other.history
    assert one.predictions["probabilities"].tobytes() == other.predictions["probabilities"].tobytes()
    assert one.facts["circuit_evaluations"] != other.facts["circuit_evaluations"], "not one kind twice"


def test_the_predictions_are_those_of_the_validation_rows(usual: FitResult) -> None:
    data = make_data()
    predictions = usual.predictions
    assert predictions["index"].tolist() == data.folds.split(0, 0).validation.tolist()
    assert predictions["target"].tolist() == data.labels[predictions["index"]].tolist()
    assert (predictions["part"] == VALIDATION).all()
    assert predictions["probabilities"].dtype == np.float32
    assert predictions["probabilities"].shape == (len(predictions["index"]), CLASSES)
    np.testing.assert_allclose(predictions["probabilities"].sum(1), 1, rtol=1e-5)


def test_every_epoch_has_a_finite_row_of_history(usual: FitResult) -> None:
    assert [row["epoch"] for row in usual.history] == [0, 1]
    for row in usual.history:
        assert {"train_loss", "train_auc_macro", "learning_rate", "val_loss", "val_accuracy", "val_recall_2"} <= set(
            row
        )
        assert np.isfinite(row["train_loss"])
        assert np.isfinite(row["val_loss"])
    last = usual.predictions
    accuracy = (last["probabilities"].argmax(1) == last["target"]).mean()
    assert usual.history[-1]["val_accuracy"] == pytest.approx(accuracy), "the predictions are of the last weights"


def test_facts_count_images_circuits_and_channels(usual: FitResult) -> None:
    assert usual.facts["images"] == {"train": 18, "validation": 12, "test": 0}
    assert usual.facts["input_shape"] == [5, SIDE, SIDE]
    assert usual.facts["circuit_evaluations"] == {
        "executed": 81,
        "hardware_quanvolution": SIDE**2 * IMAGES,
        "hardware_head": 0,
    }
    assert usual.facts["normalisation"]["channels"] == [1, 4]


def products() -> list[str]:
    return [backend.fp32_precision for backend in (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)]


def test_bfloat16_products_are_asked_for_within_the_fit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: True)
    before, within = products(), []
    fit_fold(make_spec(precision="bf16-products"), make_data(), lambda row: within.append(products()))
    assert within == [["bf16", "bf16"]] * 2
    assert products() == before


def test_bfloat16_products_are_refused_where_they_would_be_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: False)
    with pytest.raises(ValueError, match=r"AMX.*say `precision: float32`"):
        fit_fold(make_spec(precision="bf16-products"), make_data())
    with pytest.raises(ValueError, match="`precision: bfloat16`"):
        fit_fold(make_spec(precision="bf16-products", device="cuda:0"), make_data())


@pytest.mark.skipif(not machine.multiplies_bfloat16(), reason="needs a CPU with AMX")
def test_bfloat16_products_differ_no_more_than_another_weight_seed() -> None:
    spec, data = make_spec(epochs=8), make_data()
    rounded = replace(spec, training=spec.training.model_copy(update={"precision": "bf16-products"}))
    losses = [fit_fold(one, data).history[-1]["val_loss"] for one in (spec, rounded, replace(spec, seed=43))]
    assert losses[1] != losses[0], "the factors were rounded"
    assert abs(losses[1] - losses[0]) <= abs(losses[2] - losses[0])


def test_normalisation_and_weights_know_the_training_rows_only(usual: FitResult) -> None:
    changed = make_data()
    rows = changed.folds.split(0, 0).validation
    changed.images.stored[rows] //= 2
    stored = changed.channels["ry"].stored
    stored[rows] = 3 * stored[rows] + 1
    fit = fit_fold(make_spec(), changed)
    assert fit.facts["normalisation"] == usual.facts["normalisation"]
    assert all((fit.weights[name] == usual.weights[name]).all() for name in usual.weights)
    assert (fit.predictions["probabilities"] != usual.predictions["probabilities"]).any()

    pixels = make_data().images.stored[changed.folds.split(0, 0).train].double()
    assert usual.facts["normalisation"]["mean"][0] == pytest.approx(pixels.mean().item())
    assert usual.facts["normalisation"]["sd"][0] == pytest.approx(pixels.std(correction=0).item())


def test_the_test_part_of_the_official_split_is_scored_and_never_seen() -> None:
    data, spec = make_data("official"), make_spec({"inputs": ["image"]}, epochs=1)
    fit = fit_fold(spec, data)
    split = data.folds.split(0, 0)
    part = fit.predictions["part"]
    assert fit.predictions["index"][part == VALIDATION].tolist() == split.validation.tolist() == list(range(18, 24))
    assert fit.predictions["index"][part == TEST].tolist() == split.test.tolist() == list(range(24, 30))
    assert fit.facts["images"] == {"train": 18, "validation": 6, "test": 6}

    data.labels[split.test] = (data.labels[split.test] + 1) % CLASSES
    relabelled = fit_fold(spec, data)
    assert relabelled.history == fit.history
    assert (relabelled.predictions["probabilities"] == fit.predictions["probabilities"]).all()
    assert (relabelled.predictions["target"] != fit.predictions["target"])[part == TEST].all()


def test_class_weights_weigh_the_loss_by_the_training_rows() -> None:
    data = make_data()  # its training part has classes of equal size: each weighs 1
    validation = data.folds.split(0, 0).validation
    data.labels[validation] = 0
    model = {"inputs": ["image"]}

    def largest_change() -> float:
        plain, balanced = (
            fit_fold(make_spec(model, epochs=1, class_weights=how), data).weights for how in ("none", "balanced")
        )
        return max(float(np.abs(plain[name] - balanced[name]).max()) for name in plain)

    assert largest_change() < 1e-5
    data.labels[data.folds.split(0, 0).train[::3]] = 1
    assert largest_change() > 1e-3


@pytest.mark.parametrize(
    ("model", "colour", "channels"),
    [
        ({"inputs": ["image", "quanv:ry"], "fusion": "separate"}, False, [1, 4]),
        ({"inputs": ["grey"]}, True, [1]),
        ({"inputs": ["image", "quanv:ry/0"], "head": "sine"}, True, [3, 1]),
        ({"inputs": ["quanv:ry/3"], "head": "quantum"}, False, [1]),
        ({"inputs": ["image", "channel:mine", "channel:mine/1"]}, False, [1, 2, 1]),
    ],
)
def test_inputs_fusions_and_heads(model: dict[str, Any], colour: bool, channels: list[int]) -> None:
    data = make_data(colour=colour)
    fit = fit_fold(make_spec(model, epochs=1), data)
    assert fit.facts["normalisation"]["channels"] == channels
    assert fit.facts["input_shape"] == [sum(channels), SIDE, SIDE]
    assert np.isfinite(fit.predictions["probabilities"]).all()
    separate = model.get("fusion") == "separate"
    assert any(name.startswith("backbones.1.") for name in fit.weights) is separate


def test_a_channel_reads_that_channel_alone() -> None:
    def predicted(**changes: float) -> bytes:
        data = make_data()
        stored = data.channels["ry"].stored.clone()
        for name, value in changes.items():
            stored[..., int(name[-1])] *= torch.linspace(1, value, SIDE).to(stored.dtype)
        data.channels["ry"] = InputArray("ry", stored)
        return fit_fold(make_spec({"inputs": ["quanv:ry/1"]}, epochs=1), data).predictions["probabilities"].tobytes()

    assert predicted() == predicted(channel_0=5.0, channel_2=5.0)
    assert predicted() != predicted(channel_1=5.0)


def test_an_exception_of_the_listener_ends_the_fit() -> None:
    class StopError(Exception):
        pass

    def stop(row: Any) -> None:
        raise StopError(row["epoch"])

    with pytest.raises(StopError, match="0"):
        fit_fold(make_spec({"inputs": ["image"]}), make_data(), stop)


@pytest.mark.parametrize(
    ("training", "where"),
    [
        ({"learning_rate": 1e30, "epochs": 3}, r"diverged in epoch [12], (batch \d|in validation): .*learning_rate"),
        ({"learning_rate": 1e38, "epochs": 1, "batch_size": 18}, "diverged in epoch 1, in validation"),
    ],
)
def test_a_fit_that_diverges_is_an_error_with_its_epoch(training: dict[str, Any], where: str) -> None:
    with pytest.raises(DivergedError, match=where) as raised:
        fit_fold(make_spec({"inputs": ["image"]}, **training), make_data())
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value), "from a worker process"


def test_images_that_are_all_the_same_are_no_numbers_to_learn_from_but_numbers() -> None:
    data = make_data()
    data.images.stored.fill_(7)
    fit = fit_fold(make_spec({"inputs": ["image"]}), data)
    assert np.isfinite(fit.predictions["probabilities"]).all()
