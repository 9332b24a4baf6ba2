"""The stage `quanvolve`: from data/raw to data/quanvolved, whole or not at all, one card a name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Circuit
from qlcnet.data import channels
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
from qlcnet.data.channels import make_channels
from qlcnet.quantum import quanvolve

CIRCUITS = {
    "ry": Circuit(),
    "bytes": Circuit(ansatz="entangled", storage="uint8", colour="channels", stride=2),
    "fresh": Circuit(shots=30, shots_drawn="fresh"),
}
N, H, W = 40, 12, 10


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "spots"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (N, H, W, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 3, N))
    return folder


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quanvolved") / "spots"
    make_channels(raw, CIRCUITS, out)
    return out


def test_folder_holds_channels_cards_and_preview(made: Path) -> None:
    assert sorted(p.name for p in made.iterdir()) == sorted([*CIRCUITS, "preview.png"])
    beside = {p.name for p in made.parent.iterdir()} - {"spots"}
    assert not {name for name in beside if not name.endswith(".lock")}
    files = ["card.json", "channels.npy", "circuit.json", "circuit.qasm"]
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
    made: Path, name: str, shape: tuple[int, ...], decode: Decode, shots: int | None, hardware: int, channels: int
) -> None:
    card = ChannelCard.read(made / name)
    assert np.load(made / name / "channels.npy").shape == shape
    assert card == ChannelCard(name, "circuit", shape, decode, shots, card.digest, Evaluations(81, hardware))
    assert card.channels == channels
    assert len(card.digest) == 64
    assert json.loads((made / name / "card.json").read_text()) == {
        "name": name, "kind": "circuit", "shape": list(shape), "shots": shots, "digest": card.digest,
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
    exact = channels._values(made / "ry", rows)
    assert np.array_equal(exact, np.load(made / "ry" / "channels.npy")[rows].astype(np.float32))
    assert np.array_equal(channels._values(made / "fresh", rows), exact)
    stored = np.load(made / "bytes" / "channels.npy")[rows]
    assert np.allclose(channels._values(made / "bytes", rows), stored / 255 * 2 - 1.0, atol=1e-6)


def test_bytes_are_the_same_again_and_for_other_chunks(
    raw: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quanvolve, "CHUNK_BYTES", H * W * 4 * 2 * 7)  # 7 images
    again = tmp_path / "spots"
    make_channels(raw, CIRCUITS, again)
    make_channels(raw, CIRCUITS, again)  # takes the place of what is there
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        assert (again / path.relative_to(made)).read_bytes() == path.read_bytes(), path


def test_failure_leaves_what_was_there(raw: Path, made: Path, tmp_path: Path) -> None:
    broken = tmp_path / "raw" / "spots"
    broken.mkdir(parents=True)
    np.save(broken / "images.npy", np.zeros((3, 1, 1, 1), np.uint8))
    before = sorted(made.rglob("*"))
    with pytest.raises(ValueError, match="at least 2 x 2"):
        make_channels(broken, CIRCUITS, made)
    assert sorted(made.rglob("*")) == before
    with pytest.raises(FileNotFoundError, match="run `qlcnet fetch nothing` first"):
        make_channels(tmp_path / "nothing", CIRCUITS, made)


def test_no_circuits_is_an_empty_folder(raw: Path, tmp_path: Path) -> None:
    make_channels(raw, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
