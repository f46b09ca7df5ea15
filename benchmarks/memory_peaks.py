"""What one training step needs: its highest memory above what was held before, and its time on the processor.

Memory is what PyTorch's allocator hands out and takes back, as `torch.profiler` notes it; on CUDA the allocator
counts itself. What libraries allocate past it (oneDNN's scratchpads) is not seen. Time is that of the process (on CUDA
that of a clock, as the process only waits there), of steps that take turns, so that what else the machine does weighs
on all of them alike.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.backends import cudnn

from supernet.memory.measuring import peak_bytes as measured_peak

Step = Callable[[], object]
Clock = Callable[[], float]


def clock_of(device: torch.device | str) -> Clock:
    """What the time of a step on a device is read from; of a GPU after all that it was given is done."""
    if torch.device(device).type != "cuda":
        return time.process_time

    def clock() -> float:
        """In seconds."""
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


@contextmanager
def exact_kernels() -> Iterator[None]:
    """Meanwhile the kernels of a GPU answer alike every time where they can, and reckon in all of float32."""
    before = torch.are_deterministic_algorithms_enabled()
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def peak_bytes(step: Step, device: torch.device | str = "cpu", *, warm: bool = True) -> int:
    """The most that a step holds at a time, above what was held when it began, in bytes.

    Frees of what was allocated before it began are not seen on the CPU: let it clear its gradients at its end.

    Args:
        step: runs once, after a first time that is not measured.
        device: whose memory.
        warm: whether there is that first time, for what is only allocated once.
    """
    if warm:
        step()
    gc.collect()
    return measured_peak(step, torch.device(device))


def cpu_seconds(
    steps: Mapping[str, Step], turns: int, best: bool = True, clock: Clock = time.process_time
) -> dict[str, float]:
    """Processor time of each step, in seconds, by name; they run in turn, after one turn that is not timed.

    Args:
        steps: by name.
        turns: how many times each is timed.
        best: the least of the turns, which other programs disturb least; or else the median.
        clock: what is read before and after, see `clock_of`.
    """
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if turn:
                spent[name].append(clock() - start)
    return {name: (min if best else statistics.median)(times) for name, times in spent.items()}
