"""What a branch depends on beside its inputs: autocast and the states of PyTorch's generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

Autocast = tuple[tuple[str, bool, torch.dtype], ...]
"""Per kind of device: its name, whether autocast is on, and for which type."""


def autocast_now(device: torch.device) -> Autocast:
    """The state of autocast for a device, and for the CPU."""
    return tuple(
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in dict.fromkeys((device.type, "cpu"))
        if torch.amp.is_autocast_available(kind)
    )


@contextmanager
def autocast_as(state: Autocast) -> Iterator[None]:
    """Autocast as it was.

    Nothing is remembered of weights that were cast: a cast that was made where no gradient was recorded would
    otherwise be taken again where one is, and the weight would silently learn nothing.
    """
    with ExitStack() as stack:
        for kind, enabled, dtype in state:
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False))
        yield


def generator_states(device: torch.device) -> tuple[Tensor, ...]:
    """The states of the generators that a branch on a device draws from."""
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    return (torch.get_rng_state(),)


@contextmanager
def generators_at(states: tuple[Tensor, ...] | None, device: torch.device) -> Iterator[None]:
    """Draw from these states on, and afterwards go on as if nothing had been drawn; None changes nothing."""
    if states is None:
        yield
        return
    before = generator_states(device)
    _set(states, device)
    try:
        yield
    finally:
        _set(before, device)


def drew(before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> bool:
    """Whether something was drawn between two moments."""
    return not all(torch.equal(one, other) for one, other in zip(before, after))


def _set(states: tuple[Tensor, ...], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
