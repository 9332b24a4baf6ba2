"""A circuit of `circuits` with a `file`: from params.yaml to channels, cards and words; what is refused, and where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Circuit, Data, Noise, ParamsError, fingerprint, parse_params
from qlcnet.data.channel_card import ChannelCard
from qlcnet.data.channels import make_channels
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.partfile import md5_of
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import recipe_of
from qlcnet.quantum.circuits import build_circuit
from qlcnet.quantum.qasm import to_openqasm
from qlcnet.quantum.quanvolve import load_circuit
from qlcnet.report.circuit_section import _words
from qlcnet.report.drawings import _circuit_words
from tests.params import REQUIRED

BUILT = Circuit(encoding="rxy")
PROGRAM = to_openqasm(build_circuit(BUILT))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "spots"
    images = np.random.default_rng(0).integers(0, 256, (12, 10, 8, 3), dtype=np.uint8)
    ImageSet(images, np.zeros(12, np.int64), np.full(12, "train"), ("a", "b")).save(folder)
    return folder


def write(path: Path, text: str | bytes = PROGRAM, **keys: object) -> Circuit:
    """A program in a file, and the entry of params.yaml that names it."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Circuit.model_validate({"file": path.name, "md5": md5_of(path), **keys})


def make(raw: Path, root: Path, out: str, section: Circuit, shared: Path | None = None) -> Path:
    make_channels(raw, {"mine": section}, root / out, Fetcher(Data(), root), shared)
    return root / out / "mine"


def test_a_written_circuit_gives_the_channels_of_the_built_one(raw: Path, tmp_path: Path) -> None:
    section = write(tmp_path / "mine.qasm")
    built, own = make(raw, tmp_path, "built", BUILT), make(raw, tmp_path, "own", section)
    assert (own / "channels.npy").read_bytes() == (built / "channels.npy").read_bytes()
    assert (own / "circuit.qasm").read_text() == PROGRAM
    data = json.loads((own / "circuit.json").read_text())
    assert data["params"]["file"] == "mine.qasm"
    assert not {"encoding", "uploads", "ansatz", "layers", "rotations", "seed"} & data["params"].keys()
    images = np.load(raw / "images.npy")
    assert np.array_equal(load_circuit(own)(images), np.load(own / "channels.npy")), "from its gates, without the file"
    absolute = section.model_copy(update={"file": str(tmp_path / "mine.qasm")})
    again = make(raw, tmp_path, "again", absolute)
    for path in own.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), "and no folder of this machine"
    assert recipe_of(absolute) == recipe_of(section) == ChannelCard.read(own).recipe


def test_a_changed_file_is_refused_until_its_md5_is_declared(raw: Path, tmp_path: Path) -> None:
    section = write(tmp_path / "mine.qasm")
    changed = write(tmp_path / "mine.qasm", PROGRAM.replace("rx(t0)", "rx(-t0)"))
    with pytest.raises(DataError) as caught:
        make(raw, tmp_path, "out", section)
    assert str(caught.value).startswith("circuits.mine: the search path holds no usable mine.qasm")
    assert f"has MD5 {changed.md5}, expected {section.md5}" in str(caught.value)
    assert str(caught.value).endswith("declare its MD5 under `md5` of this circuit in params.yaml.")
    assert fingerprint(changed) != fingerprint(section)
    assert make(raw, tmp_path, "out", changed).is_dir()


HALVED = PROGRAM.replace("\nc =", "h q[0]; h q[1]; crz(t0) q[0], q[1]; h q[0];\nc =")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PROGRAM.replace("rx(t0)", "rx(sin(t0))"), "^circuits.mine: mine.qasm: line 11: 'sin' in an angle; .*: rx.sin"),
        (b"\xff\xfe\x00", "^circuits.mine: mine.qasm: is no text"),
        (PROGRAM + "//" + "x" * 1_000_000, "^circuits.mine: mine.qasm: has 1,000,.* bytes; .* at most 1,000,000"),
        (HALVED, r"^circuits.mine: mine.qasm: crx, cry, crz by t0 can bring cos\(t0/2\) .* even multiple"),
    ],
)
def test_what_is_no_circuit_is_named_with_its_place(raw: Path, tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        make(raw, tmp_path, "out", write(tmp_path / "mine.qasm", text))
    assert not (tmp_path / "out").exists()


def test_tasks_of_the_same_images_share_its_channels(raw: Path, tmp_path: Path) -> None:
    section = write(tmp_path / "mine.qasm", shots=20)
    first = make(raw, tmp_path, "first", section)
    second = make(raw, tmp_path, "second", section, first.parent)
    assert (first / "channels.npy").samefile(second / "channels.npy")
    other = write(tmp_path / "mine.qasm", PROGRAM.replace("rx(t0)", "rx(-t0)"), shots=20)
    third = make(raw, tmp_path, "third", other, first.parent)
    assert not (first / "channels.npy").samefile(third / "channels.npy")


def parse(circuit: dict[str, object]) -> Circuit:
    study = {
        **REQUIRED,
        "datasets": {"digits": {"source": {"kind": "digits"}}},
        "models": {"plain": {"inputs": ["image"], "head": "linear"}},
        "backbones": {"lcnet_050": {}},
        "circuits": {"mine": circuit},
    }
    return parse_params(study).circuits["mine"]


MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("circuit", "says"),
    [
        ({"file": "a.qasm"}, "circuits.mine: `file` needs its `md5` beside it"),
        ({"md5": MD5}, "circuits.mine: `md5` belongs to `file`, which is missing"),
        ({"file": "a.qasm", "md5": "12"}, "circuits.mine.md5: "),
        (
            {"file": "a.qasm", "md5": MD5, "seed": 42, "encoding": "ry"},
            "circuits.mine: `encoding`, `seed` beside `file`, whose gates are the circuit; remove",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_named(circuit: dict[str, object], says: str) -> None:
    with pytest.raises(ParamsError) as caught:
        parse(circuit)
    assert says in str(caught.value)


def test_params_hold_the_keys_of_one_kind_and_can_be_read_back() -> None:
    own = parse({"file": "a.qasm", "md5": MD5, "colour": "channels"})
    assert own.channels(colours=3) == 12
    assert Circuit.model_validate(own.model_dump(mode="json")) == own
    assert not {"file", "md5"} & Circuit().model_dump().keys()
    assert fingerprint(Circuit()) == "ca0e9eb0e79be7fb120569a554cffc46"


def test_the_report_names_the_program() -> None:
    own = Circuit(file="/home/me/a.qasm", md5=MD5, noise=Noise(depolarizing=0.25))
    assert _words(own) == (
        "4 qubits on 2 x 2 patches of the grey image, stride 1, padding same: the program `a.qasm` "
        f"(MD5 {MD5}) of each pixel times π, Pauli-Z of each qubit. Noise: depolarizing 0.25. "
    )
    assert _circuit_words(own) == "own circuit a.qasm, stride 1"
