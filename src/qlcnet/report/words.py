"""Params as words: protocols, inputs, settings, numbers with units."""

from __future__ import annotations

from collections.abc import Sequence

from qlcnet.config import Model, Protocol, Training


def protocol_words(protocol: Protocol) -> str:
    """For example `grouped stratified 5-fold cross-validation, 2 repeats`."""
    if protocol.kind == "official":
        words = "the set's own split: validation part is watched while training, test part is scored"
    else:
        words = f"stratified {protocol.folds}-fold cross-validation"
        words = f"grouped {words}" if protocol.grouped else words
        words += ", near-duplicates as groups," if protocol.grouped == "near-duplicates" else ""
        words += " of all images" if protocol.kind == "pooled-cv" else " of the training part, test part scored beside"
    return words + (f", {protocol.repeats} repeats" if protocol.repeats > 1 else "")


def protocol_in_brief(protocol: Protocol) -> str:
    """The same in a few words, for a drawing."""
    if protocol.kind == "official":
        words = "the set's own split"
    else:
        words = f"{protocol.folds} {'grouped' if protocol.grouped else 'stratified'} folds"
        words += ", all images" if protocol.kind == "pooled-cv" else ", training part"
    return words + (f", x {protocol.repeats}" if protocol.repeats > 1 else "")


def sizes_words(sizes: Sequence[int], unit: str) -> str:
    """`4 channels`, or `1 or 3 channels` where tasks differ."""
    distinct = sorted(set(sizes))
    return " or ".join(map(str, distinct)) + f" {unit}" + ("" if distinct == [1] else "s")


def head_words(model: Model) -> str:
    """The head in one line, with the choices that matter for its kind."""
    head = model.head
    if head.kind == "linear":
        return "linear"
    neck = f"{head.qubits} wide, {'BatchNorm and ' if head.normalise else ''}tanh"
    shots = "" if head.shots is None else f"; {head.shots:,} shots in training"
    if not head.is_quantum:
        return f"{head.kind} ({neck}{shots})"
    layers = f"{head.layers} layer" + ("s" if head.layers > 1 else "")
    noise = "" if head.noise.is_none else ", noisy"
    gates = "" if head.entangling else " without CNOTs"
    return f"{head.kind} ({neck}; {head.ansatz} ansatz{gates}, {layers}{noise}{shots})"


def training_rows(training: Training) -> list[tuple[str, str]]:
    """Settings and their values, for a table."""
    augmentation = training.augmentation
    drawn = [
        "horizontal flips" if augmentation.flip_horizontal else "",
        "vertical flips" if augmentation.flip_vertical else "",
        f"random crops after {augmentation.crop_padding} px of padding" if augmentation.crop_padding else "",
    ]
    optimizer = f"{training.optimizer}, learning rate {training.learning_rate:g}, schedule {training.schedule}"
    if training.optimizer == "sgd":
        optimizer += f", momentum {training.momentum:g}"
    if training.weight_decay:
        optimizer += f", weight decay {training.weight_decay:g}"
    return [
        ("Epochs", f"{training.epochs}, no early stopping; predictions come from the weights after the last"),
        ("Batch size", str(training.batch_size)),
        ("Optimiser", optimizer),
        ("Class weights in the loss", training.class_weights),
        ("Augmentation", ", ".join(filter(None, drawn)) or "none"),
        ("Normalisation", "each channel by mean and sd of the fold's training part"),
        ("Input size", "as stored" if training.input_size is None else f"resized to {training.input_size} px"),
    ]


def counted(number: int, noun: str) -> str:
    """`1 fit`, `12 fits`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def join_some(words: Sequence[str], most: int = 8, shown: int = 3) -> str:
    """All of at most `most` as join_words has them; of more the first: `a, b, c and 41 more`."""
    return join_words(words if len(words) <= most else [*words[:shown], f"{len(words) - shown} more"])


def big(value: int) -> str:
    """A count with a unit that keeps three digits: 1,682,343 -> 1.68 M."""
    for size, unit in ((10**12, " T"), (10**9, " G"), (10**6, " M"), (10**4, " k")):
        if value >= size:
            scaled = value / (size if unit != " k" else 1000)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:.0f}{unit}"
    return f"{value:,}"
