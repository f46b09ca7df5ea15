"""What a step holds at most, and what each piece of a network holds, and how long it takes, in a mode.

Memory is what PyTorch's allocator hands out and takes back: on the CPU as `torch.autograd.profiler` notes it, on CUDA
as the allocator counts itself. Time is that of the processor, so that other programs weigh little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile, record_function
from torch.utils._pytree import tree_leaves, tree_map

# PyTorch's profiler writes its own steps to stderr, whatever its level, up to this; it reads that once.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@dataclass(frozen=True)
class Cost:
    """What one piece costs in a mode.

    Args:
        held: bytes that are there after its forward pass, its answer with them.
        peak: the most that is there at a time, from before its forward pass until after its backward pass.
        seconds: of the processor, for both passes.
    """

    held: int
    peak: int
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        peak = max(self.peak, self.held + other.peak)
        return Cost(self.held + other.held, peak, self.seconds + other.seconds)


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """The most that a step holds at a time above what was held when it began, in bytes."""
    if device.type == "cuda":
        return _spent_on_cuda(step, device)[1]
    with _noting_memory() as seen:
        step()
    return _most([change for _, change in _changes(seen)])[1]


def step_seconds(steps: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """How long each of some steps takes, the least of three; they take turns, so that all have the same weather."""
    turns: list[list[float]] = [[] for _ in steps]
    for _ in range(3):
        for step, times in zip(steps, turns):
            start = _clock(device)
            step()
            times.append(_clock(device) - start)
    return [min(times) for times in turns]


def costs(
    networks: Networks,
    run: Callable[[], object],
    device: torch.device,
) -> dict[str, dict[str, Cost]]:
    """What each piece costs in each mode, on the inputs that it gets in a run.

    Each piece is measured where the run gets to it, alone: only what a network needs in evaluation is there besides.

    Args:
        networks: copies of one network, by mode, with the paths of the pieces that are in it.
        run: runs the one in ``plain`` on what is learnt from.
        device: where.

    Returns:
        By path and mode, in the order in which they ran; a piece that did not run has no entry.
    """
    found: dict[str, dict[str, Cost]] = {}
    for measure in (_bytes, _seconds):
        for path, mode, cost in measure(networks, run, device):
            modes = found.setdefault(path, {})
            before = modes.get(mode)
            if measure is _bytes:
                modes[mode] = cost if before is None else before + cost
            elif before is not None:
                modes[mode] = replace(before, seconds=before.seconds + cost.seconds)
    return found


Networks = Mapping[str, tuple[nn.Module, Sequence[str]]]
Found = Iterator[tuple[str, str, Cost]]


def _bytes(
    networks: Networks,
    run: Callable[[], object],
    device: torch.device,
) -> Found:
    if device.type == "cuda":
        yield from _bytes_on_cuda(networks, run, device)
        return
    spans: list[tuple[str, str]] = []

    def measure(path: str, mode: str, passes: Passes) -> None:
        """Run both passes, under a name each."""
        number = len(spans)
        spans.append((path, mode))
        with record_function(f"forward of piece {number}"):
            passes.forward()
        with record_function(f"backward of piece {number}"):
            passes.backward()

    with _noting_memory() as seen:
        _visit(networks, run, measure)
    times = {
        event.name(): (event.start_ns(), event.start_ns() + event.duration_ns()) for event in _events(seen)
    }
    changes = _changes(seen)
    for number, (path, mode) in enumerate(spans):
        (start, middle), (_, end) = (times[f"{way} of piece {number}"] for way in ("forward", "backward"))
        held, peak = _most([change for at, change in changes if start <= at <= middle])
        _, later = _most([change for at, change in changes if middle < at <= end])
        yield path, mode, Cost(held, max(peak, held + later))


def _bytes_on_cuda(
    networks: Networks,
    run: Callable[[], object],
    device: torch.device,
) -> Found:
    found: list[tuple[str, str, Cost]] = []

    def measure(path: str, mode: str, passes: Passes) -> None:
        """Run both passes."""
        held, peak = _spent_on_cuda(passes.forward, device)
        _, later = _spent_on_cuda(passes.backward, device)
        found.append((path, mode, Cost(held, max(peak, held + later))))

    _visit(networks, run, measure)
    yield from found


def _seconds(
    networks: Networks,
    run: Callable[[], object],
    device: torch.device,
) -> Found:
    found: list[tuple[str, str, Cost]] = []

    def measure(path: str, mode: str, passes: Passes) -> None:
        """Run both passes three times; other programs disturb the fastest least."""
        times = []
        for _ in range(3):
            start = _clock(device)
            passes.forward()
            passes.backward()
            times.append(_clock(device) - start)
        found.append((path, mode, Cost(0, 0, min(times))))

    _visit(networks, run, measure)
    yield from found


class Passes:
    """Both passes of one piece on inputs of its own.

    Args:
        module: the piece.
        args: of its call.
        kwargs: likewise.
    """

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._module = module
        self._given = tree_map(_copied, (args, dict(kwargs)))
        device = next((leaf.device for leaf in tree_leaves(self._given) if isinstance(leaf, Tensor)), None)
        self._start = torch.zeros((), device=device, requires_grad=True)
        self._out: list[Tensor] = []

    def forward(self) -> None:
        """Keep what it answers, with its graph."""
        with torch.enable_grad():
            args, kwargs = tree_map(self._entering, self._given)
            out = self._module(*args, **kwargs)
        leaves = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self._out = [leaf for leaf in leaves if leaf.requires_grad]

    def backward(self) -> None:
        """Gradients for its inputs and weights, which are thrown away."""
        wanted = [self._start, *(weight for weight in self._module.parameters() if weight.requires_grad)]
        if self._out:
            # as in the network, nothing but the graph holds the answer now, and nothing holds its gradient long
            with torch.enable_grad():
                loss = torch.stack([(one * 1).sum() for one in self._out]).sum()
            self._out = []
            torch.autograd.grad(loss, wanted, allow_unused=True)

    def _entering(self, leaf: Any) -> Any:
        """An input as an inner result, which a module may write to."""
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        return _Entering.apply(leaf.detach(), self._start)


class _Entering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, start: Tensor) -> Tensor:
        """The first tensor itself, as if it came from the second."""
        ctx.mark_dirty(given)
        return given

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """No more than that there is a gradient."""
        return None, grads[0].new_zeros((), dtype=torch.float32)


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _visit(
    networks: Networks,
    run: Callable[[], object],
    measure: Callable[[str, str, Passes], None],
) -> None:
    """Run the plain network, and measure every piece in every mode when its turn comes."""

    def hook(path: str) -> Callable[..., None]:
        """Measures one piece on what it is given."""

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            """In every mode; the generators are then as they were."""
            with _unhooked(handles, module), torch.random.fork_rng():
                for mode, (network, mine) in networks.items():
                    if path in mine:
                        measure(path, mode, Passes(network.get_submodule(path), args, kwargs))

        return look

    plain, paths = networks["plain"]
    handles = {
        path: plain.get_submodule(path).register_forward_pre_hook(hook(path), with_kwargs=True)
        for path in paths
    }
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles.values():
            handle.remove()


@contextmanager
def _unhooked(handles: Mapping[str, Any], module: nn.Module) -> Iterator[None]:
    """Meanwhile the hooks of a module do not run."""
    hooks = module._forward_pre_hooks.copy()
    module._forward_pre_hooks.clear()
    try:
        yield
    finally:
        module._forward_pre_hooks.update(hooks)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _spent_on_cuda(step: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Bytes that are there after a step, and the most that were at a time, above what was there before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    kept = step()
    torch.cuda.synchronize(device)
    found = torch.cuda.memory_allocated(device) - before, torch.cuda.max_memory_allocated(device) - before
    del kept
    return found


def _noting_memory() -> profile:
    """What `torch.profiler.profile` is made of; that one warns of its cycles in PyTorch 2.11, and here is only one."""
    return profile(profile_memory=True, use_kineto=True)


def _events(seen: profile) -> Any:
    assert seen.kineto_results is not None  # it has ended
    return seen.kineto_results.events()


def _changes(seen: profile) -> list[tuple[int, int]]:
    """When memory was taken (bytes) or given back (negative), in order."""
    moves = ((event.start_ns(), event.nbytes()) for event in _events(seen) if event.name() == "[memory]")
    return sorted(moves, key=lambda move: move[0])


def _most(changes: Sequence[int]) -> tuple[int, int]:
    """Bytes held in the end, and the most at a time."""
    held = most = 0
    for change in changes:
        held += change
        most = max(most, held)
    return held, most
