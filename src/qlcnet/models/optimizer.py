"""Adam and AdamW with one kernel call a step and next to no bookkeeping: the numbers of torch's own fused versions.

torch's `Adam.step(fused=True)` spends longer on collecting and grouping tensors than on the arithmetic for a network
with a hundred small parameters (docs/speed.md). Here the lists are collected once and all step counters are one tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], Tensor]


class QuickAdam(Adam):
    """torch.optim.Adam(fused=True) with less overhead; with `decoupled_weight_decay` it is AdamW.

    Same arguments, state and state_dict. Steps that the quick way does not cover (the first one, a parameter without
    gradient, AMSGrad, a learning rate held in a tensor, a gradient scaler) are torch's.
    """

    _lists: dict[int, Lists]  # by number of the parameter group

    def __init__(self, params: Any, lr: float = 1e-3, **options: Any) -> None:
        self._lists = {}
        super().__init__(params, lr, fused=True, **options)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._quick_step():
            self._lists = {}
            super().step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the moments are new tensors afterwards."""
        super().load_state_dict(state_dict)
        self._lists = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lists = {}

    @torch.no_grad()
    def _quick_step(self) -> bool:
        """Update everything at once; False, with nothing changed, where that cannot be done."""
        if getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None:
            return False
        work: list[tuple[dict[str, Any], Lists, list[Tensor]]] = []
        for number, group in enumerate(self.param_groups):
            lists = self._collected(number, group)
            if lists is None:
                return False
            gradients = [parameter.grad for parameter in lists[0] if parameter.grad is not None]
            if len(gradients) < len(lists[0]):
                return False
            work.append((group, lists, gradients))
        for group, (parameters, means, squares, steps, clock), gradients in work:
            clock.add_(1)
            kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            kernel(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
            )
        return True

    def _collected(self, number: int, group: dict[str, Any]) -> Lists | None:
        """Parameters, both moments, step counters, and the one tensor whose elements the counters are."""
        if group["amsgrad"] or group["differentiable"] or isinstance(group["lr"], Tensor):
            return None
        if number not in self._lists:
            parameters = list(group["params"])
            if not parameters or not all(self.state.get(parameter) for parameter in parameters):
                return None  # torch's first step creates the states
            states = [self.state[parameter] for parameter in parameters]
            kinds = {(p.device.type, p.dtype, p.layout) for p in parameters}
            if kinds - {("cpu", torch.float32, torch.strided), ("cpu", torch.float64, torch.strided)} or len(kinds) > 1:
                return None
            clock = torch.stack([state["step"] for state in states])
            for state, step in zip(states, clock, strict=True):
                state["step"] = step
            self._lists[number] = (
                parameters,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                list(clock),
                clock,
            )
        return self._lists[number]
