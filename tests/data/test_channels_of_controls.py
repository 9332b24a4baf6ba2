"""Channels that stand for a circuit's: one card format, the circuit's shapes, shared between tasks as others are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qlcnet.config import Channels, Circuit, ConvChannels, Data, FourierRandomChannels, NoiseChannels, parse_params
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
from qlcnet.data.channel_order import Order
from qlcnet.data.channels import make_channels, recipe_of_channels, would_be_made
from qlcnet.data.channels_of_controls import noise_of
from qlcnet.data.imageset import ImageSet
from qlcnet.data.search_path import Fetcher
from qlcnet.grid.grid import expected_grid
from qlcnet.quantum import storage
from qlcnet.quantum.classical_twins import PatchChannels, cosine_filters, random_filters, random_polynomial
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import prepare
from tests.params import REQUIRED

N, H, W = 30, 12, 10
NOWHERE = Fetcher(Data(), Path())
CIRCUITS = {
    "grey": Circuit(),
    "colours": Circuit(ansatz="entangled", colour="channels", stride=2, padding=1),
    "fresh": Circuit(shots=30, shots_drawn="fresh"),  # stores 15 words; a network reads 4 channels
}
KINDS: dict[str, dict[str, Any]] = {
    "conv": {"kind": "conv"},
    "cosine": {"kind": "conv", "filters": "cosine"},
    "fourier": {"kind": "fourier-random"},
    "noise": {"kind": "noise"},
}
OF_KIND = {"conv": ConvChannels, "fourier-random": FourierRandomChannels, "noise": NoiseChannels}
FILES = {"conv": ["function.json"], "fourier-random": ["function.json"], "noise": []}


def control(kind: str, of: str = "grey", **keys: Any) -> Channels:
    table = {**KINDS[kind], "of": of, **keys}
    return OF_KIND[table["kind"]](**table)


def with_controls(of: str) -> dict[str, Circuit | Channels]:
    return {of: CIRCUITS[of], **{kind: control(kind, of) for kind in KINDS}}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("raw") / "spots"
    images = rng.integers(0, 256, (N, H, W, 3), dtype=np.uint8)
    ImageSet(images, np.zeros(N, np.int64), np.full(N, "train"), ("a", "b")).save(folder)  # one image in a preview
    return folder


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each circuit, with its channels and those of all its controls."""
    out = tmp_path_factory.mktemp("quanvolved")
    for of in CIRCUITS:
        make_channels(raw, with_controls(of), out / of, NOWHERE)
    return out


def stored(folder: Path) -> NDArray[Any]:
    return np.load(folder / "channels.npy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", CIRCUITS)
def test_a_control_has_the_card_and_the_shape_of_its_circuit(raw: Path, made: Path, of: str, kind: str) -> None:
    section, folder = control(kind, of), made / of / kind
    card, of_circuit = ChannelCard.read(folder), ChannelCard.read(made / of / of)
    assert card.shape == stored(folder).shape
    assert card.shape[:3] == of_circuit.shape[:3]
    assert card.shape[3] == card.channels == of_circuit.channels == CIRCUITS[of].channels(3)
    assert (card.name, card.kind, card.images) == (kind, section.kind, ImageSet.load(raw).digest)
    assert (card.shots, card.evaluations) == (None, Evaluations(0, 0)), "no circuit runs"
    cards = [json.loads((made / of / name / "card.json").read_text()) for name in (kind, of)]
    assert cards[0].keys() == cards[1].keys()
    files = ["card.json", "channels.npy", *FILES[section.kind], "mechanism.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    expected = Decode(2 / 255, -1.0) if section.kind == "noise" else Decode(1.0, 0.0)
    assert (card.decode, stored(folder).dtype) == (expected, "uint8" if section.kind == "noise" else "float16")
    assert (made / of / "preview.png").is_file()


@pytest.mark.parametrize("of", CIRCUITS)
def test_what_is_stored_is_the_function_of_the_images(raw: Path, made: Path, of: str) -> None:
    """And function.json holds the function: whoever reads it can compute the channels again."""
    circuit, images = CIRCUITS[of], ImageSet.load(raw).images
    polynomial = random_polynomial(prepare(circuit).channels_polynomial, 42)
    functions = {"conv": random_filters(42), "cosine": cosine_filters(), "fourier": polynomial}
    for kind, function in functions.items():
        laid = PatchChannels(function, circuit.colour, circuit.stride, circuit.padding)  # type: ignore[arg-type]
        assert np.array_equal(stored(made / of / kind), laid(images))
        known = json.loads((made / of / kind / "function.json").read_text())
        if kind == "fourier":
            assert np.array_equal(TrigPolynomial.from_data(known["polynomial"]).coefficients, polynomial.coefficients)
            assert known["formulas"] == [polynomial.formula(q) for q in range(4)]
        else:
            assert known == {"weights": function.weights.tolist()}  # type: ignore[union-attr]


def test_bytes_are_the_same_again_and_for_other_chunks(
    raw: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", H * W * 4 * 7)  # of float16 3 images, of bytes 7
    make_channels(raw, with_controls("grey"), tmp_path / "again", NOWHERE)
    for path in sorted(p for p in (made / "grey").rglob("*") if p.is_file()):
        assert (tmp_path / "again" / path.relative_to(made / "grey")).read_bytes() == path.read_bytes(), path


# --- noise ----------------------------------------------------------------------------------------------------------


def test_noise_is_uniform() -> None:
    """By mean, variance and a chi-square over its 256 values, of a fixed draw."""
    values = noise_of(42, 0, 500, (10, 10, 4)).ravel()
    counts = np.bincount(values, minlength=256)
    assert 0.001 < stats.chisquare(counts).pvalue < 0.999
    spread = np.sqrt((256**2 - 1) / 12)
    assert values.mean() == pytest.approx(127.5, abs=4 * spread / np.sqrt(len(values)))
    assert values.std() == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("shape", [(12, 10, 4), (6, 5, 12), (3, 3, 1), (1, 1, 1)])
def test_noise_is_the_same_however_a_set_is_cut(shape: tuple[int, ...]) -> None:
    whole = noise_of(7, 0, 20, shape)
    assert whole.shape == (20, *shape)
    for first, count in ((0, 3), (3, 1), (4, 16), (19, 1)):
        assert np.array_equal(noise_of(7, first, count, shape), whole[first : first + count])
    if whole[0].size > 1:
        assert not np.array_equal(whole, noise_of(8, 0, 20, shape))
        assert len({image.tobytes() for image in whole}) == 20, "each image has its own"


def test_noise_is_the_same_for_ever() -> None:
    assert noise_of(7, 0, 2, (2, 1, 2)).reshape(2, -1).tolist() == [[164, 251, 233, 41], [230, 232, 206, 126]]


def test_noise_knows_nothing_of_the_images(raw: Path, made: Path, tmp_path: Path) -> None:
    images = ImageSet.load(raw)
    pixels = images.images.astype(float).mean(3).ravel()
    for channel in stored(made / "grey" / "noise").reshape(-1, 4).T:
        assert abs(np.corrcoef(pixels, channel)[0, 1]) < 4 / np.sqrt(len(pixels))
    other = ImageSet(255 - images.images, images.labels, images.parts, images.class_names)
    other.save(tmp_path / "other")
    make_channels(tmp_path / "other", with_controls("grey"), tmp_path / "out", NOWHERE)
    same = [np.array_equal(stored(tmp_path / "out" / k), stored(made / "grey" / k)) for k in ("noise", "conv")]
    assert same == [True, False], "of other images: the same noise, other filtered channels"


# --- recipes and sharing --------------------------------------------------------------------------------------------


def order_of(raw: Path, section: Channels, circuit: Circuit, name: str = "mine") -> Order:
    return Order(name, section, ImageSet.load(raw).images, NOWHERE, circuit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_changes_with_the_circuit_and_not_with_its_name(raw: Path, kind: str) -> None:
    usual = recipe_of_channels(order_of(raw, control(kind), Circuit()))
    assert recipe_of_channels(order_of(raw, control(kind, "renamed"), Circuit())) == usual
    assert recipe_of_channels(order_of(raw, control(kind), Circuit(seed=43))) != usual
    assert recipe_of_channels(order_of(raw, control(kind), Circuit(stride=2))) != usual
    if kind != "cosine":
        assert recipe_of_channels(order_of(raw, control(kind, seed=1), Circuit())) != usual
    assert len({recipe_of_channels(order_of(raw, control(one), Circuit())) for one in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_is_shared_where_it_is_what_would_be_made(raw: Path, made: Path, tmp_path: Path, kind: str) -> None:
    folder, digest = made / "grey" / kind, ImageSet.load(raw).digest
    order = order_of(raw, control(kind), CIRCUITS["grey"], kind)
    assert would_be_made(folder, order, digest)
    assert not would_be_made(folder, order, "0" * 64)
    assert not would_be_made(folder, order._replace(circuit=Circuit(seed=43)), digest)
    assert not would_be_made(folder, order._replace(name="other"), digest)
    others = [one for one in KINDS if one != kind]
    assert not any(would_be_made(folder, order._replace(section=control(one)), digest) for one in others)
    if kind == "noise":
        return
    # what former code made: whole, with its own digest, but not what is computed today
    changed = tmp_path / kind
    changed.mkdir()
    values = stored(folder)
    values[0, 0, 0, 0] += 0.5
    np.save(changed / "channels.npy", values)
    replace(ChannelCard.read(folder), digest=storage.digest_array(values)).write(changed)
    (changed / "function.json").write_bytes((folder / "function.json").read_bytes())
    assert not would_be_made(changed, order, digest)
    values[0, 0, 0, 0] = stored(folder)[0, 0, 0, 0]
    np.save(changed / "channels.npy", values)
    replace(ChannelCard.read(folder), digest=storage.digest_array(values)).write(changed)
    assert would_be_made(changed, order, digest)
    (changed / "function.json").unlink()
    assert not would_be_made(changed, order, digest)


def test_controls_of_another_task_are_linked(raw: Path, made: Path, tmp_path: Path) -> None:
    sections = {**with_controls("grey"), "noise": control("noise", seed=1)}
    make_channels(raw, sections, tmp_path / "again", NOWHERE, shared=made / "grey")
    for name in sections:
        one, other = (folder / name / "channels.npy" for folder in (tmp_path / "again", made / "grey"))
        assert one.samefile(other) == (name != "noise"), name


def test_the_forecast_counts_the_channels_before_anything_is_fetched() -> None:
    channels = {kind: {**table, "of": "ry"} for kind, table in KINDS.items()}
    params = {
        **REQUIRED,
        "datasets": {"derma": {"source": {"kind": "medmnist", "name": "dermamnist", "size": 28}}},
        "circuits": {"ry": {"colour": "channels"}},
        "channels": channels,
        "models": {name: {"inputs": ["image", f"channel:{name}"]} for name in channels},
        "backbones": {"lcnet_035": {}},
    }
    grid = expected_grid(parse_params(params), "derma")
    assert grid is not None
    assert grid.stored == {"ry": 12, **dict.fromkeys(KINDS, 12)}
    assert {grid.kind(spec).channels for spec in grid.specs} == {(3, 12)}
