"""QuickAdam gives the numbers of torch.optim.Adam and AdamW, through every way a training loop uses an optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from qlcnet.models.optimizer import QuickAdam


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def backward(model: nn.Module, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    model.zero_grad()
    model(torch.randn(6, 5, generator=generator)).square().sum().backward()


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


def assert_close(a: nn.Module, b: nn.Module) -> None:
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-6}, {"weight_decay": 0.1}, {"maximize": True, "amsgrad": True}],
)
def test_steps_are_those_of_adam(options: dict[str, Any]) -> None:
    quick, fused, plain = network(), network(), network()
    optimizers = [
        QuickAdam(quick.parameters(), **options),
        Adam(fused.parameters(), fused=True, **options),
        Adam(plain.parameters(), fused=False, **options),
    ]
    for number in range(10):
        for model, optimizer in zip((quick, fused, plain), optimizers, strict=True):
            backward(model, number)
            optimizer.step()
    assert_equal(quick, fused)
    assert_close(quick, plain)


def test_decoupled_weight_decay_is_adamw() -> None:
    quick, plain = network(), network()
    optimizers = [
        QuickAdam(quick.parameters(), weight_decay=0.3, decoupled_weight_decay=True),
        AdamW(plain.parameters(), weight_decay=0.3, fused=True),
    ]
    for number in range(5):
        for model, optimizer in zip((quick, plain), optimizers, strict=True):
            backward(model, number)
            optimizer.step()
    assert_equal(quick, plain)


def test_schedules_groups_closures_and_missing_gradients() -> None:
    models = network(), network()
    optimizers = []
    for model, kind in zip(models, (QuickAdam, lambda groups: Adam(groups, fused=True)), strict=True):
        optimizers.append(kind([{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.1}]))
    schedules = [torch.optim.lr_scheduler.OneCycleLR(o, [0.01, 0.1], total_steps=12) for o in optimizers]
    for number in range(10):
        for model, optimizer, schedule in zip(models, optimizers, schedules, strict=True):

            def closure(model: nn.Module = model, number: int = number) -> float:
                backward(model, number)
                if number in (0, 4, 5):
                    model[2].bias.grad = None
                return 1.5

            assert optimizer.step(closure) == 1.5
            schedule.step()
    assert_equal(*models)


def test_a_parameter_added_or_frozen_later_is_noticed() -> None:
    models = network(), network()
    optimizers = [QuickAdam(models[0][0].parameters()), Adam(models[1][0].parameters(), fused=True)]
    for number in range(9):
        for model, optimizer in zip(models, optimizers, strict=True):
            if number == 3:
                optimizer.add_param_group({"params": model[2].parameters()})
            if number == 6:
                model[0].bias.requires_grad = False
            backward(model, number)
            optimizer.step()
    assert_equal(*models)


def test_state_is_exchanged_with_adam_both_ways() -> None:
    quick, plain = network(), network()
    of_quick, of_plain = QuickAdam(quick.parameters()), Adam(plain.parameters(), fused=True)
    for number in range(3):
        backward(quick, number)
        of_quick.step()
    plain.load_state_dict(quick.state_dict())
    of_plain.load_state_dict(copy.deepcopy(of_quick.state_dict()))
    assert {float(state["step"]) for state in of_plain.state.values()} == {3.0}
    for number in range(3, 6):
        for model, optimizer in ((quick, of_quick), (plain, of_plain)):
            backward(model, number)
            optimizer.step()
    assert_equal(quick, plain)
    of_quick.load_state_dict(copy.deepcopy(of_plain.state_dict()))
    for model, optimizer in ((quick, of_quick), (plain, of_plain)):
        backward(model, 6)
        optimizer.step()
    assert_equal(quick, plain)


def test_the_quick_way_is_taken_from_the_second_step() -> None:
    model = network()
    optimizer = QuickAdam(model.parameters())
    for number, quick in enumerate((False, True, True)):
        backward(model, number)
        assert optimizer._quick_step() is quick
        if not quick:
            optimizer.step()
