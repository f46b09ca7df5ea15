"""The execution modes on models of timm: what each saves, what it costs, and whether `auto` keeps to its bytes.

Part of `benchmarks.memory`, with ``--model NAME[,NAME..]``. The model is in training mode on random images; a step is
both passes, with gradients added to those that are there already, as every lesson of a sandwich but the first does, so
that the gradients themselves, which no mode changes, are not counted. ``auto`` is given shares of plain's bytes; its
plan is made first, and what is measured is a step by that plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.contract import Result
from benchmarks.memory_peaks import Step, clock_of, cpu_seconds, exact_kernels, peak_bytes
from supernet.errors import ConfigError
from supernet.memory.auto import Plan, Subject, measured as costs_of, plan
from supernet.memory.modes import Execution, install

MODES = ("fused", "checkpoint", "checkpoint_fused")
"""What is compared with plain, beside auto."""


def in_execution(model: nn.Module, execution: Execution) -> nn.Module:
    """A copy of a model that runs so."""
    network = deepcopy(model)
    install(network, {"": execution} if isinstance(execution, str) else execution)
    return network


def step_of(network: nn.Module, x: Tensor) -> Step:
    """Both passes; gradients are added up, and stay."""

    def step() -> None:
        torch.manual_seed(0)
        network(x).square().mean().backward()

    step()
    return step


def plans(model: nn.Module, x: Tensor, budgets: Mapping[str, int]) -> dict[str, Plan]:
    """What auto chooses for each number of bytes; none where it says that this is too little."""

    def step(network: nn.Module) -> None:
        step_of(network, x)

    subject = Subject(
        lambda execution: in_execution(model, execution),
        lambda network: network(x),
        step,
        x.device,
        lambda it: it,
    )
    table = costs_of(subject)
    found = {}
    for way, budget in budgets.items():
        try:
            found[way] = plan(subject, budget, table)
        except ConfigError as error:
            print(error)
    return found


def measured(
    name: str, batch: int, side: int, turns: int, shares: Sequence[float], device: str, result: Result
) -> None:
    """One model: a row for each mode and share, figures for all."""
    torch.manual_seed(0)
    model = timm.create_model(name).to(device).train()
    x = torch.randn(batch, 3, side, side, device=device)
    networks = {mode: in_execution(model, mode) for mode in ("plain", *MODES)}
    steps = {mode: step_of(network, x) for mode, network in networks.items()}
    peaks = {mode: peak_bytes(step, device, warm=False) for mode, step in steps.items()}
    budgets = {f"auto_{round(100 * share)}": int(peaks["plain"] * share) for share in shares}
    for way, found in plans(model, x, budgets).items():
        networks[way] = in_execution(model, found.execution)
        steps[way] = step_of(networks[way], x)
        peaks[way] = peak_bytes(steps[way], device, warm=False)
    used = {way: peaks[way] / budget for way, budget in budgets.items() if way in peaks}
    seconds = cpu_seconds(steps, turns, clock=clock_of(device))
    errors = gradient_errors(model, x, {way: network for way, network in networks.items() if way != "plain"})
    for way in steps:
        row = {
            "model": name,
            "way": way,
            "mb": peaks[way] / 1e6,
            "memory": peaks[way] / peaks["plain"],
            "ms": 1e3 * seconds[way],
            "time": seconds[way] / seconds["plain"],
            "of_budget": used.get(way, ""),
            "error": errors.get(way, 0.0),
            "equal": errors.get(way, 0.0) == 0,
        }
        result.rows.append(row)
        if way != "plain":
            result.figures[f"{name}.{way}.memory"] = row["memory"]
            result.figures[f"{name}.{way}.time"] = row["time"]
        if way in used:
            result.figures[f"{name}.{way}.of_budget"] = used[way]
    result.figures[f"{name}.unequal_gradients"] = sum(error != 0 for error in errors.values())
    result.figures[f"{name}.worst_gradient_error"] = max(errors.values())


def gradient_errors(model: nn.Module, x: Tensor, networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """Relative L2 distance of the gradients and buffers of each from the model's, after one step from its weights.

    It is 0 where not one bit differs, as on a CPU. Some kernels of a GPU add up in another order each time.
    """
    state = model.state_dict()
    with exact_kernels():
        expected = _learnt(deepcopy(model), state, x)
        return {
            way: float((_learnt(network, state, x) - expected).norm() / expected.norm())
            for way, network in networks.items()
        }


def _learnt(network: nn.Module, state: Mapping[str, Any], x: Tensor) -> Tensor:
    network.load_state_dict(state)
    network.zero_grad()
    step_of(network, x)
    found = [p.grad for p in network.parameters() if p.grad is not None] + list(network.buffers())
    return torch.cat([one.flatten().double() for one in found])
