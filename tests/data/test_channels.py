"""The stage `quanvolve`: from data/raw to data/quanvolved, whole or not at all, one card a name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Circuit, Data, FileChannels, parse_params
from qlcnet.data import channels
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations, Made
from qlcnet.data.channels import make_channels, quanvolve
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.partfile import md5_of
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import recipe_of
from qlcnet.paths import Project
from qlcnet.quantum import storage
from tests.params import REQUIRED

CIRCUITS = {
    "ry": Circuit(),
    "bytes": Circuit(ansatz="entangled", storage="uint8", colour="channels", stride=2),
    "fresh": Circuit(shots=30, shots_drawn="fresh"),
}
N, H, W = 40, 12, 10
NOWHERE = Fetcher(Data(), Path())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    return save_images(
        tmp_path_factory.mktemp("raw") / "spots",
        rng.integers(0, 256, (N, H, W, 3), dtype=np.uint8),
        rng.integers(0, 3, N),
    )


def save_images(folder: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    """An image set of three classes, as `fetch` leaves it."""
    labels = np.zeros(len(images), np.int64) if labels is None else labels
    ImageSet(images, labels, np.full(len(images), "train"), ("a", "b", "c")).save(folder)
    return folder


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quanvolved") / "spots"
    make_channels(raw, CIRCUITS, out, NOWHERE)
    return out


def test_folder_holds_channels_cards_and_preview(made: Path) -> None:
    assert sorted(p.name for p in made.iterdir()) == sorted([*CIRCUITS, "preview.png"])
    beside = {p.name for p in made.parent.iterdir()} - {"spots"}
    assert not {name for name in beside if not name.endswith(".lock")}
    files = ["card.json", "channels.npy", "circuit.json", "circuit.qasm", "mechanism.json"]
    for name in CIRCUITS:
        assert sorted(p.name for p in (made / name).iterdir()) == files


@pytest.mark.parametrize(
    ("name", "shape", "decode", "shots", "hardware", "channels"),
    [
        ("ry", (N, H, W, 4), Decode(1.0, 0.0), None, H * W, 4),
        ("bytes", (N, H // 2, W // 2, 12), Decode(2 / 255, -1.0), None, 3 * H // 2 * W // 2, 12),
        ("fresh", (N, H, W, 15), Decode(1.0, 0.0), 30, H * W, 4),
    ],
)
def test_a_card_says_how_to_read_what_is_stored(
    raw: Path,
    made: Path,
    name: str,
    shape: tuple[int, ...],
    decode: Decode,
    shots: int | None,
    hardware: int,
    channels: int,
) -> None:
    card = ChannelCard.read(made / name)
    assert np.load(made / name / "channels.npy").shape == shape
    images, recipe = ImageSet.load(raw).digest, recipe_of(CIRCUITS[name])
    assert card == ChannelCard(
        name, "circuit", images, recipe, shape, decode, shots, card.digest, Evaluations(81, hardware)
    )
    assert card.channels == channels
    assert len(card.digest) == 64
    assert json.loads((made / name / "card.json").read_text()) == {
        "name": name, "kind": "circuit", "images": images, "recipe": recipe,
        "shape": list(shape), "shots": shots, "digest": card.digest,
        "decode": {"scale": decode.scale, "offset": decode.offset},
        "evaluations": {"executed": 81, "hardware": hardware},
    }  # fmt: skip


def test_digests_tell_contents_apart(made: Path) -> None:
    assert len({ChannelCard.read(made / name).digest for name in CIRCUITS}) == len(CIRCUITS)


def test_a_damaged_card_is_named(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spots" / "ry"
    folder.mkdir(parents=True)
    whole = (made / "ry" / "card.json").read_text()
    for broken in (whole[:50], whole.replace('"digest"', '"digset"'), "[]"):
        (folder / "card.json").write_text(broken)
        with pytest.raises(ValueError, match=r"card\.json is damaged .*: run `qlcnet quanvolve spots` again"):
            ChannelCard.read(folder)


def test_the_preview_shows_values_not_what_is_stored(made: Path) -> None:
    """Bytes decoded, and of fresh shots the expectation values that are drawn around: the same circuit as `ry`."""
    rows = [0, 3]
    exact = channels._shown(made / "ry", rows).values
    assert np.array_equal(exact, np.load(made / "ry" / "channels.npy")[rows].astype(np.float32))
    assert np.array_equal(channels._shown(made / "fresh", rows).values, exact)
    stored = np.load(made / "bytes" / "channels.npy")[rows]
    assert np.allclose(channels._shown(made / "bytes", rows).values, stored / 255 * 2 - 1.0, atol=1e-6)


def test_bytes_are_the_same_again_and_for_other_chunks(
    raw: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", H * W * 4 * 2 * 7)  # 7 images
    again = tmp_path / "spots"
    make_channels(raw, CIRCUITS, again, NOWHERE)
    make_channels(raw, CIRCUITS, again, NOWHERE)  # takes the place of what is there
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        assert (again / path.relative_to(made)).read_bytes() == path.read_bytes(), path


def test_failure_leaves_what_was_there(raw: Path, made: Path, tmp_path: Path) -> None:
    broken = save_images(tmp_path / "raw" / "spots", np.zeros((3, 1, 1, 1), np.uint8))
    before = sorted(made.rglob("*"))
    with pytest.raises(ValueError, match="at least 2 x 2"):
        make_channels(broken, CIRCUITS, made, NOWHERE)
    assert sorted(made.rglob("*")) == before
    with pytest.raises(DataError, match="run `qlcnet fetch nothing`, or `dvc repro`"):
        make_channels(tmp_path / "nothing", CIRCUITS, made, NOWHERE)


def test_no_circuits_is_an_empty_folder(raw: Path, tmp_path: Path) -> None:
    make_channels(raw, {}, tmp_path / "out", NOWHERE)
    assert list((tmp_path / "out").iterdir()) == []


# --- channels made elsewhere ----------------------------------------------------------------------------------------


def save(folder: Path, values: np.ndarray, name: str = "mine.npy") -> FileChannels:
    """A file on the search path, and the entry of params.yaml that names it."""
    folder.mkdir(exist_ok=True)
    np.save(folder / name, values)
    return FileChannels(kind="file", path=name, md5=md5_of(folder / name))


def make(raw: Path, folder: Path, section: FileChannels) -> Path:
    """The folder of the one entry `mine`; its file is looked for in `folder`/files."""
    data = Data(search_path=(str(folder / "files"),))
    make_channels(raw, {"mine": section}, folder / "out", Fetcher(data, folder))
    return folder / "out" / "mine"


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", ">f4"])
@pytest.mark.parametrize("shape", [(N, H, W, 2), (N, 5, 4)])
def test_a_file_is_stored_as_it_is(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...]
) -> None:
    values = (np.random.default_rng(1).random(shape) * 200).astype(dtype)
    section = save(tmp_path / "files", values)
    out = make(raw, tmp_path, section)
    stored = np.load(out / "channels.npy")
    assert np.array_equal(stored, values.reshape(*shape[:3], -1))
    assert stored.dtype == np.dtype(values.dtype.name)
    card = ChannelCard.read(out)
    made = Made(stored.shape, Decode(1.0, 0.0), None, card.digest, Evaluations(0, 0))
    assert card == ChannelCard("mine", "file", ImageSet.load(raw).digest, recipe_of(section), *made)
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "channels.npy", "mechanism.json"]
    assert (out.parent / "preview.png").is_file()
    assert channels._shown(out, [0, 2]).limits == (stored[[0, 2]].min(), stored[[0, 2]].max())
    monkeypatch.setattr(storage, "CHUNK_BYTES", 1000)
    assert ChannelCard.read(make(raw, tmp_path, section)) == card, "in other pieces, and in place of what was there"
    assert np.array_equal(np.load(out / "channels.npy"), stored)
    other = ChannelCard.read(make(raw, tmp_path, save(tmp_path / "files", values[::-1])))
    assert other.digest != card.digest


def spoilt(value: float) -> np.ndarray:
    values = np.zeros((N, 3, 3, 2), np.float16)
    values[17, 2, 1, 0] = value
    return values


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((N - 1, 3, 3), np.uint8), "mine.npy has 39 rows, the task 40 images; expected a row an image"),
        (np.zeros((N, 9), np.uint8), r"mine.npy has the shape \(40, 9\); expected \(images, height, width, channels\)"),
        (np.zeros((N, 3, 0), np.uint8), r"shape \(40, 3, 0\)"),
        (np.zeros((N, 3, 3)), r"holds float64; expected uint8, float16, float32: .*astype\(numpy.float32\)"),
        (np.zeros((N, 3, 3), np.int64), "holds int64"),
        (np.zeros((N, 3, 3), object), "not a whole .npy file of numbers .*Python objects"),
        (spoilt(np.nan), "holds NaN or infinite values, first in row 17"),
        (spoilt(-np.inf), "holds NaN or infinite values, first in row 17"),
    ],
)
def test_a_file_that_cannot_be_is_refused_whole(raw: Path, tmp_path: Path, values: np.ndarray, says: str) -> None:
    section = save(tmp_path / "files", values)
    with pytest.raises(DataError, match=f"^channels.mine: .*{says}"):
        make(raw, tmp_path, section)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_or_another_is_refused(raw: Path, tmp_path: Path) -> None:
    section = save(tmp_path / "files", np.zeros((N, 3, 3), np.uint8))
    with pytest.raises(DataError, match=r"channels.mine: the search path holds no usable mine.npy(.|\n)*has MD5"):
        make(raw, tmp_path, section.model_copy(update={"md5": "0" * 32}))
    with pytest.raises(DataError, match=r"channels.mine: the search path holds no usable other.npy(.|\n)*MD5"):
        make(raw, tmp_path, section.model_copy(update={"path": "other.npy"}))
    cut = (tmp_path / "files" / "mine.npy").read_bytes()[:-40]
    (tmp_path / "files" / "mine.npy").write_bytes(cut)
    with pytest.raises(DataError, match=r"channels\.mine: mine\.npy: not a whole \.npy file"):
        make(raw, tmp_path, section.model_copy(update={"md5": md5_of(tmp_path / "files" / "mine.npy")}))


def test_the_stage_makes_what_params_name(raw: Path, tmp_path: Path) -> None:
    """Beside a circuit, from the search path of params.yaml."""
    images = np.load(raw / "images.npy")
    section = save(tmp_path / "files", images)
    save_images(Project(tmp_path).raw("spots"), images)
    params = parse_params(
        {
            **REQUIRED,
            "datasets": {"spots": {"source": {"kind": "digits"}}},
            "circuits": {"ry": {}},
            "channels": {"mine": section.model_dump()},
            "models": {"m": {"inputs": ["quanv:ry", "channel:mine/2"]}},
            "backbones": {"lcnet_035": {}},
            "data": {"search_path": ["files"]},
        }
    )
    out = quanvolve("spots", params, tmp_path)
    assert out == Project(tmp_path).channels("spots")
    assert {name: ChannelCard.read(out / name).kind for name in ("ry", "mine")} == {"ry": "circuit", "mine": "file"}
    assert np.array_equal(np.load(out / "mine" / "channels.npy"), images)
