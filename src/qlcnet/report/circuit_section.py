"""Section of circuits: what each really computes, from which pixels, and what noise and storage do to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from qlcnet.config import QUBITS, Circuit, Head, Noise
from qlcnet.report.content import Block, Cell, Code, Context, Details, Heading, Note, Picture, Table, Text, count
from qlcnet.report.mechanism_section import mechanism
from qlcnet.report.study import TaskResults
from qlcnet.report.words import counted, join_words

PIXELS = ("top left", "top right", "bottom left", "bottom right")
MOST_OPEN = 4  # circuits and channels that stand open one below the other; more of them are folded away
Found = dict[str, Any]  # circuit.json, written by quantum.quanvolve


def circuits(context: Context) -> list[Block]:
    """Circuits: of channels, by the circuit.json of each task, and of heads, by their params. Then other channels."""
    blocks: list[Block] = []
    tasks = list(context.study.tasks.values())
    parts: list[tuple[str, list[Block]]] = []
    for name in dict.fromkeys(name for task in tasks for name in task.circuits):
        parts.append((f"Circuit {name}", _circuit(context, name, [task for task in tasks if name in task.circuits])))
    for name in dict.fromkeys(name for task in tasks for name in task.cards if name in context.study.params.channels):
        parts.append((f"Channels {name}", _other(context, name, [task for task in tasks if name in task.cards])))
    for title, part in parts:
        blocks += [Heading(title), *part] if len(parts) <= MOST_OPEN else [Details(title, part, is_open=False)]
    for task in tasks:
        if context.study.params.report.pictures and task.preview is not None and task.cards:
            caption = f"{task.name}: images and the channels that were made of them."
            blocks.append(Picture(f"{task.name}-quanvolution", task.preview, caption))
    return [*blocks, *mechanism(context.study), *_heads(context)]


def _circuit(context: Context, name: str, tasks: list[TaskResults]) -> list[Block]:
    found: Found = tasks[0].circuits[name]  # gates and formulas are the same for all tasks
    params = Circuit.model_validate(found["params"])
    return [
        Text(f"{_words(params)} PennyLane {found['versions']['pennylane']}. {_readers(context, name)}"),
        Code(found["drawing"]),
        *(Note(f"{name}: {text}", "warning") for text in found["warnings"]),
        _channels(name, found),
        _stored(name, tasks),
    ]


def _readers(context: Context, name: str) -> str:
    models = context.study.params.models.items()
    return f"Read by {join_words([f'`{model}`' for model, params in models if name in params.stored])}."


def _other(context: Context, name: str, tasks: list[TaskResults]) -> list[Block]:
    """Channels that no circuit made."""
    section = context.study.params.channels[name]
    rows: list[list[Cell | str]] = [
        [task.name, " x ".join(map(str, task.cards[name].shape[1:])), task.cards[name].digest] for task in tasks
    ]
    caption = f"{name}: its channels as stored, height x width x channels."
    return [
        Text(f"{ORIGIN_WORDS[section.kind](section)} {_readers(context, name)}"),
        *_functions(name, tasks[0].functions.get(name, {})),
        Table(["Task", "Channels", "SHA-256"], rows, caption, sortable=False),
    ]


def _functions(name: str, found: Found) -> list[Block]:
    """What each channel of a control computes, by its function.json."""
    if "weights" in found:
        rows: list[list[Cell | str]] = [
            [str(channel), *(Cell(f"{weight:+.4f}", weight) for weight in weights)]
            for channel, weights in enumerate(found["weights"])
        ]
        return [Table(["Channel", *PIXELS], rows, f"{name}: weights of the pixels, from 0 to 1.", sortable=False)]
    formulas: list[list[Cell | str]] = [
        [str(channel), Cell(formula, is_code=True)] for channel, formula in enumerate(found.get("formulas", []))
    ]
    caption = f"{name}: each channel as a function of a patch's pixels t0 to t3, times π."
    return [Table(["Channel", "Value"], formulas, caption, sortable=False)] if formulas else []


# kind of an entry of `channels` -> where its values are from
ORIGIN_WORDS: dict[str, Callable[[Any], str]] = {
    "file": lambda section: (
        f"Made elsewhere: `{PurePath(section.path).name}` (MD5 {section.md5}), read as it is, for every image."
    ),
    "conv": lambda section: (
        f"Control of circuit `{section.of}`: fixed linear 2 x 2 filters on the same patches, "
        + ("the 2 x 2 cosine transform." if section.filters == "cosine" else f"random (seed {section.seed}).")
    ),
    "fourier-random": lambda section: (
        f"Control of circuit `{section.of}`: random polynomials of its degree, with as many terms and the same norm "
        f"channel by channel (seed {section.seed})."
    ),
    "noise": lambda section: (
        f"Control of circuit `{section.of}`: uniform noise, as many channels, drawn once for each image (seed "
        f"{section.seed})."
    ),
}


def _channels(name: str, found: Found) -> Table:
    noise = found["affine"]
    rows: list[list[Cell | str]] = []
    for qubit, (formula, pixels) in enumerate(zip(found["formulas"], found["dependence"], strict=True)):
        depends = join_words([PIXELS[p] for p in pixels]) if pixels else "none: constant"
        row: list[Cell | str] = [str(qubit), Cell(depends, patch=tuple(pixels)), Cell(formula, is_code=True)]
        rows.append([*row, _affine_words(noise[qubit])] if noise else row)
    caption = (
        f"{name}: each channel as an exact function of a 2 x 2 patch; t0 to t3 are its pixels (0 top left, 1 top "
        "right, 2 bottom left, 3 bottom right), from 0 to 1, times π. Gates and all digits: circuit.json and "
        "circuit.qasm beside the channels."
    )
    headers = ["Channel", "Depends on", "Value", *(["Noise turns z into"] if noise else [])]
    return Table(headers, rows, caption, sortable=False)


def _affine_words(affine: dict[str, float] | None) -> str:
    if affine is None:
        return "another function"
    return f"{affine['scale']:.4g} z" + (f" {affine['offset']:+.2g}" if abs(affine["offset"]) > 1e-12 else "")


def _stored(name: str, tasks: list[TaskResults]) -> Table:
    rows: list[list[Cell | str]] = [
        [
            task.name,
            str(task.circuits[name]["params"]["storage"]),
            f"{task.circuits[name]['storage_error']:.1e}",
            " x ".join(map(str, task.cards[name].shape[1:])),
            count(task.cards[name].evaluations.hardware),
            count(task.cards[name].evaluations.executed),
        ]
        for task in tasks
    ]
    headers = ["Task", "Stored as", "Largest error of storage", "Channels", "Patches an image", "Circuits evaluated"]
    caption = (
        f"{name}: its channels as stored, height x width x channels. The circuit is evaluated on a grid of angles, "
        "once for any number of images."
    )
    return Table(headers, rows, caption, sortable=False)


def _words(circuit: Circuit) -> str:
    """The circuit's params as sentences."""
    padding = circuit.padding if isinstance(circuit.padding, str) else f"{circuit.padding} px"
    on = "the grey image" if circuit.colour == "grey" else "each colour channel"
    words = f"{QUBITS} qubits on 2 x 2 patches of {on}, stride {circuit.stride}, padding {padding}: "
    words += f"{_gate_words(circuit)}, Pauli-Z of each qubit. "
    if not circuit.noise.is_none:
        words += f"Noise: {noise_words(circuit.noise)}. "
    if circuit.shots is not None:
        drawn = "drawn once and stored" if circuit.shots_drawn == "stored" else "drawn again each epoch"
        words += f"{circuit.shots:,} shots, {drawn} (seed {circuit.shots_seed}). "
    if circuit.device_shots is not None:
        words += f"Its polynomial was sampled on {circuit.device} with {circuit.device_shots:,} shots a grid point. "
    return words + ENGINE_WORDS[circuit.engine].format(device=circuit.device)


def _gate_words(circuit: Circuit) -> str:
    """Encoding and ansatz, or the program that stands for them."""
    if circuit.file is not None:
        return f"the program `{PurePath(circuit.file).name}` (MD5 {circuit.md5}) of each pixel times π"
    layers = counted(circuit.layers, "layer")
    ansatz = {
        "none": "no ansatz",
        "random": f"random ansatz of {layers} with {circuit.rotations} rotations each (seed {circuit.seed})",
        "entangled": f"strongly entangling ansatz of {layers} (seed {circuit.seed})",
    }[circuit.ansatz]
    uploads = f", entered {circuit.uploads} times" if circuit.uploads > 1 else ""
    return f"{circuit.encoding.upper()} encoding of each pixel times π{uploads}, {ansatz}"


ENGINE_WORDS = {
    "exact": "",
    "torch": "Engine: the polynomial in torch. ",
    "pennylane": "Engine: PennyLane on {device}. ",
}


def noise_words(noise: Noise) -> str:
    """Strengths of the channels that are on."""
    return ", ".join(
        f"{name.replace('_', ' ')} {strength:g}" for name, strength in noise.model_dump().items() if strength
    )


def _heads(context: Context) -> list[Block]:
    heads = {name: model.head for name, model in context.study.params.models.items() if model.head.is_quantum}
    if not heads:
        return []
    blocks: list[Block] = [Heading("Trained circuits of the heads")]
    blocks += [Text(f"**{name}**: {_head_words(head)}") for name, head in heads.items()]
    if any(head.ansatz == "ry" for head in heads.values()):
        twins = [f"`{name}`" for name, model in context.study.params.models.items() if model.head.kind == "sine"]
        blocks.append(
            Note(
                "The paper's quantum head equals a sine with a phase, exactly: Hadamard, RY(πx), trained RY(w) and "
                "Pauli-Z give −sin(πx + w) on each qubit, and no gate links the qubits. A head `sine` computes the "
                "same function without a circuit"
                + (f"; {join_words(twins)} has it." if twins else "; this study holds no model with it.")
            )
        )
    if any(not head.noise.is_none for head in heads.values()):
        blocks.append(
            Note(
                "Noise after the ansatz scales and shifts each expectation value of a head: its last Linear absorbs it."
            )
        )
    return blocks


def _head_words(head: Head) -> str:
    ansatz = {
        "ry": "one trained RY a qubit" + (f", {head.layers} times, which add up to one" if head.layers > 1 else ""),
        "random": f"random ansatz of {counted(head.layers, 'layer')} with {head.rotations} trained rotations each, "
        f"gates by seed {head.seed}",
        "entangled": f"{counted(head.layers, 'strongly entangling layer')} with three trained rotations a qubit",
    }[head.ansatz]
    noise = "" if head.noise.is_none else f" Noise: {noise_words(head.noise)}."
    gates = "" if head.entangling else ", without its CNOTs"
    fixed = "" if head.kind == "quantum" else " Its angles stay as they were drawn."
    shots = "" if head.shots is None else f" In training means of {head.shots:,} shots."
    return f"{head.qubits} qubits, Hadamard, RY(πx), {ansatz}{gates}, Pauli-Z of each qubit.{fixed}{shots}{noise}"
