"""How long fits take and how much room they need, before they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qlcnet.study.spec import FitSpec

if TYPE_CHECKING:
    from qlcnet.study.fit import FitData


def relative_costs(specs: Sequence[FitSpec], data: FitData) -> list[float]:
    """Multiply-adds of the whole training of each fit. Networks are built without memory, once a kind."""
    import torch

    from qlcnet.data.batches import batch_sizes
    from qlcnet.models.cost import multiply_adds
    from qlcnet.models.network import InputChannels, build_network

    operations: dict[tuple[str, str], int] = {}
    costs = []
    for spec in specs:
        key = (spec.backbone_name, spec.model_name)
        if key not in operations:
            inputs = [data.input(text) for text in spec.model.inputs]
            channels = [InputChannels(array.name, array.channels) for array in inputs]
            side = spec.training.input_size
            height, width = (side, side) if side else inputs[0].stored.shape[1:3]
            with torch.random.fork_rng(devices=[]):
                backbone = spec.backbone.model_copy(update={"pretrained": False})
                network = build_network(spec.model, spec.backbone_name, backbone, channels, len(data.class_names))
            operations[key] = multiply_adds(network, (sum(c.channels for c in channels), int(height), int(width)))
        rows = len(data.folds.split(spec.repeat, spec.fold).train)
        steps = len(batch_sizes(rows, spec.training.batch_size)) * spec.training.epochs
        costs.append(float(operations[key]) * spec.training.batch_size * steps)
    return costs
