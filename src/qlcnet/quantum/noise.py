"""Noise channels of the params as PennyLane operations on every qubit."""

from __future__ import annotations

from qlcnet import config

NOISELESS = config.Noise()

# strength of `noise` -> PennyLane's channel, in the order in which they act
CHANNELS = {
    "depolarizing": "DepolarizingChannel",
    "amplitude_damping": "AmplitudeDamping",
    "phase_damping": "PhaseDamping",
}


def queue_noise(noise: config.Noise, qubits: int) -> None:
    """Queue the channels that are on in a PennyLane quantum function; readout flips are not among them."""
    import pennylane as qml

    for key, channel in CHANNELS.items():
        if strength := getattr(noise, key):
            for qubit in range(qubits):
                getattr(qml, channel)(strength, wires=qubit)
