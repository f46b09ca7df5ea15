"""Where two things of a backward pass may happen at once: running a branch again, and the gradients of the one before.

PaReprop (Zhu and Mangalam, arXiv:2306.09342) has one queue of a GPU for each. Here the branches take turns between two
queues, because PyTorch computes gradients in the queue in which the branch ran. On a CPU there is one queue, and
everything happens in the order in which it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor


class Lanes:
    """One queue: nothing overlaps."""

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exception: Any) -> None:
        """Everything is done where it was begun."""

    def recomputing(self, k: int, streams: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Where branch ``k``, counted from the end, is run again."""
        return nullcontext()

    def differentiating(self, k: int, grads: Sequence[Tensor | None]) -> AbstractContextManager[None]:
        """Where the gradients of branch ``k`` are computed."""
        return nullcontext()

    def add(self, into: list[Tensor | None], place: int, part: Tensor | None) -> None:
        """Add a gradient to what others have given to the same tensor."""
        if part is not None:
            known = into[place]
            into[place] = part if known is None else known + part


class CudaLanes(Lanes):
    """Two queues of a GPU, between which the branches take turns.

    A branch waits for the one before to be run again, its gradients for those of the one before, and nothing else.
    """

    def __init__(self, device: torch.device) -> None:
        self.outer = torch.cuda.current_stream(device)
        self.queues = _queues(self.outer.device)
        self.inverted: torch.cuda.Event | None = None
        self.differentiated: torch.cuda.Event | None = None

    def __enter__(self) -> CudaLanes:
        for queue in self.queues:
            queue.wait_stream(self.outer)
        return self

    def __exit__(self, *exception: Any) -> None:
        for queue in self.queues:
            self.outer.wait_stream(queue)

    @contextmanager
    def recomputing(self, k: int, streams: Sequence[Tensor]) -> Iterator[None]:
        """In the queue of branch ``k``, once the streams before it are known."""
        queue = self.queues[k % 2]
        if self.inverted is not None:
            queue.wait_event(self.inverted)
        with torch.cuda.stream(queue):
            self._hold(streams)
            yield
        self._hold(streams)
        self.inverted = queue.record_event()

    @contextmanager
    def differentiating(self, k: int, grads: Sequence[Tensor | None]) -> Iterator[None]:
        """In the queue of branch ``k``, once the gradients after it are known."""
        queue = self.queues[k % 2]
        if self.differentiated is not None:
            queue.wait_event(self.differentiated)
        with torch.cuda.stream(queue):
            yield
        self._hold(grads)
        self.differentiated = queue.record_event()

    def add(self, into: list[Tensor | None], place: int, part: Tensor | None) -> None:
        """What was there may have been computed in the other queue, and its memory must wait for this one."""
        self._hold([into[place]])
        super().add(into, place, part)

    def _hold(self, tensors: Sequence[Tensor | None]) -> None:
        """Memory of these is given to nobody else before all queues are done with it."""
        for tensor in tensors:
            if tensor is not None:
                for queue in (*self.queues, self.outer):
                    tensor.record_stream(queue)


@cache
def _queues(device: torch.device) -> list[torch.cuda.Stream]:
    """Those of a GPU: always the same, because PyTorch keeps the memory that is free again for each of its own."""
    return [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]


def lanes(device: torch.device | None) -> Lanes:
    """Two queues on a GPU; one elsewhere, and where None is given."""
    return CudaLanes(device) if device is not None and device.type == "cuda" else Lanes()
