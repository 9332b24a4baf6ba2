"""Sentences for a paper's methods, from params.yaml, the images and the fits: nothing in them is typed twice."""

from __future__ import annotations

from collections.abc import Iterator

from qlcnet.config import Circuit, Model, Params
from qlcnet.evidence.sentences import WORDS
from qlcnet.report.study import Study, TaskResults
from qlcnet.report.summary import class_labels, versions
from qlcnet.report.words import counted, join_words, protocol_words, training_rows

ENCODINGS = {
    "ry": "a rotation RY(πx)", "rx": "a rotation RX(πx)", "rxy": "rotations RX(πx) and RY(πx)",
    "ryx": "rotations RY(πx) and RX(πx)",
}  # fmt: skip
SOFTWARE = ("torch", "timm", "pennylane", "pytorch-lightning", "numpy", "scikit-learn")


def methods(study: Study) -> dict[str, str]:
    """A paragraph by heading: data, folds, networks, circuits, training, statistics, software."""
    found = {
        "Data": " ".join(data_sentences(study)),
        "Folds": " ".join(fold_sentences(study)),
        "Networks": " ".join(network_sentences(study)),
        "Circuits": " ".join(circuit_sentences(study.params)),
        "Training": " ".join(training_sentences(study.params)),
        "Statistics": statistics_sentence(study.params),
        "Software and machine": software_sentence(study),
    }
    return {heading: text for heading, text in found.items() if text}


def data_sentences(study: Study) -> Iterator[str]:
    """What each image set is, how many images of each class, and the digest that names it."""
    for task in study.tasks.values():
        images, about = task.images, task.images.about
        names = class_labels(images.class_names)
        counts = [f"{name} {number:,}" for name, number in zip(names, task.class_counts.tolist(), strict=True)]
        size = "x".join(str(side) for side in images.images.shape[1:3])
        colour = "grey" if images.images.shape[3] == 1 else "colour"
        drawn = f", a random subset of {len(images):,}" if len(task.used) < len(images) else ""
        licence = about.get("licence") or "not stated"
        yield (
            f"{about.get('title') or task.name} (licence: {licence}) has {len(task.used):,} {colour} images{drawn} of "
            f"{size} pixels in {len(names)} classes ({', '.join(counts)}; SHA-256 of images and labels "
            f"{images.digest[:16]})."
        )


def fold_sentences(study: Study) -> Iterator[str]:
    """How images became folds, what stays together, and what a prediction is."""
    tasks = list(study.tasks.values())
    for task in tasks:
        words = protocol_words(task.task.protocol)
        start = f"{task.name}: {words}" if len(tasks) > 1 else words[:1].upper() + words[1:]
        yield f"{start}; {disjoint_words(task)}."
    yield (
        f"Every fit had random streams of its own, derived from the seed {study.params.seed}; all models share the "
        "folds. Each image was scored by networks that were not trained on it."
    )


def disjoint_words(task: TaskResults) -> str:
    """The level at which training and scored part are disjoint."""
    if task.images.groups is None:
        return "parts are disjoint by image, no groups (patients, lesions) being known"
    groups = len(set(task.images.groups[task.used].tolist()))
    if task.is_grouped:
        return f"parts are disjoint by group ({groups:,} groups)"
    return f"parts are disjoint by image, but not by group ({groups:,} groups)"


def network_sentences(study: Study) -> Iterator[str]:
    """Backbones with their parameters, and what each model adds."""
    sizes: dict[str, set[int]] = {}
    for fitted in study:
        sizes.setdefault(fitted.backbone, set()).add(int(fitted.config["parameters"]))
    backbones = [f"{name} ({' or '.join(f'{n:,}' for n in sorted(of))} parameters)" for name, of in sizes.items()]
    pretrained = [name for name, one in study.params.backbones.items() if one.pretrained]
    start = f"pretrained weights for {join_words(pretrained)}" if pretrained else "random weights"
    yield f"Backbones were {join_words(backbones)}, starting from {start}."
    for name, model in study.params.models.items():
        yield f"Model {name}: {_inputs(model)}, {_head(model)}."


def circuit_sentences(params: Params) -> Iterator[str]:
    """Each circuit that some model reads, and each quantum head."""
    used = dict.fromkeys(name for model in params.models.values() for name in model.circuits)
    for name in used:
        yield f"Circuit {name}: {circuit_words(params.circuits[name])}."


def circuit_words(circuit: Circuit) -> str:
    """A quanvolution in one sentence, without full stop."""
    if circuit.file is not None:
        gates = f"the OpenQASM program {circuit.file} (MD5 {circuit.md5})"
    else:
        depth = counted(circuit.layers, "layer")
        rotations = f"with {counted(circuit.rotations, 'rotation')} each"
        ansatz = {
            "none": "no further gates",
            "random": f"a random ansatz of {depth} {rotations} (seed {circuit.seed})",
            "entangled": f"an entangling ansatz of {depth} (seed {circuit.seed})",
        }[circuit.ansatz]
        times = f", entered {circuit.uploads} times" if circuit.uploads > 1 else ""
        gates = f"{ENCODINGS[circuit.encoding]} of each pixel x{times}, then {ansatz}"
    seen = "of the grey image" if circuit.colour == "grey" else "of each colour channel"
    exact = "exact expectation values" if circuit.shots is None else f"expectation values of {circuit.shots:,} shots"
    noise = "" if circuit.noise.is_none else ", with simulated noise"
    return (
        f"four qubits on 2x2 patches {seen}, stride {circuit.stride}, {gates}; {exact} of Pauli-Z on each qubit are "
        f"the channels{noise}, simulated on classical hardware"
    )


def training_sentences(params: Params) -> Iterator[str]:
    """How fits were trained, and what single models have otherwise."""
    usual = training_rows(params.training)
    words = "; ".join(f"{title.lower()}: {value}" for title, value in usual)
    yield words[:1].upper() + words[1:] + "."
    for name in params.models:
        own = [
            f"{title.lower()} {value}"
            for (title, value), (_, other) in zip(training_rows(params.training_of(name)), usual, strict=True)
            if value != other
        ]
        if own:
            yield f"Model {name} has otherwise: {'; '.join(own)}."


def statistics_sentence(params: Params) -> str:
    """How metrics and intervals were made."""
    return (
        "Metrics are of out-of-fold predictions; macro averages leave out a class that is absent. Means and standard "
        "deviations (ddof 1) are over fits. 95 % intervals of a model's metrics are "
        "closed forms: modified Wilson limits for shares (Brown, Cai and DasGupta 2001) with effective members where "
        "images come in groups, MOVER for their means (Zou and Donner 2008), influence values on a logit or log scale "
        f"for the rest. Models are compared by fits paired by repeat and fold with the corrected resampled t test "
        f"(Nadeau and Bengio 2003), declared comparisons adjusted by Holm at {params.evidence.alpha:g}; differences "
        f"smaller than the margin ({_margins(params)}) are held not to matter (two one-sided tests)."
    )


def _margins(params: Params) -> str:
    return ", ".join(f"{value:g} in {WORDS.get(name, name)}" for name, value in params.evidence.margin)


def software_sentence(study: Study) -> str:
    """Versions that the fits ran with (else those installed here), threads, device and kinds of machine."""
    installed = versions()
    recorded = study.tuples[0] if study.tuples else {}
    known = {**installed, **{name: str(version) for name, version in recorded.items()}}
    known = {**installed, **{name: str(version) for name, version in recorded.items()}}
    packages = [f"{name} {known[name]}" for name in SOFTWARE if name in known]
    devices = sorted({str(one.get("device", "cpu")) for one in study.tuples})
    machines = sorted({f"{one.get('vendor', 'unknown')}, {one.get('torch', 'unknown')}" for one in study.machines})
    on = f" ({join_words(machines)})" if machines else ""
    return (
        f"Fits ran with Python {installed['python']}, {join_words(packages)} on {join_words(devices or ['cpu'])}{on}. "
        "Every circuit was simulated."
    )


def _inputs(model: Model) -> str:
    kinds = {"image": "the image", "grey": "the grey image", "quanv": "channels of circuit", "channel": "channels"}
    inputs = [kinds[one.kind] + (f" {str(one).split(':')[1]}" if one.is_stored else "") for one in model.inputs]
    how = "" if len(inputs) == 1 else ", stacked" if model.fusion == "stacked" else ", each with a backbone of its own"
    return join_words(inputs) + how


def _head(model: Model) -> str:
    head = model.head
    if head.kind == "linear":
        return "linear head"
    neck = f"a neck of {head.qubits} ({'BatchNorm without affine, ' if head.normalise else ''}tanh)"
    shots = "" if head.shots is None else f", means of {counted(head.shots, 'shot')} in training"
    if not head.is_quantum:
        return f"{head.kind} head behind {neck}{shots}"
    depth = counted(head.layers, "layer")
    noise = "" if head.noise.is_none else ", with simulated noise"
    gates = "" if head.entangling else " without gates on two qubits"
    trained = "quantum head" if head.kind == "quantum" else "quantum head of fixed angles"
    return f"{trained} behind {neck}: {head.ansatz} ansatz{gates} of {depth}{noise}, Pauli-Z of each qubit{shots}"
