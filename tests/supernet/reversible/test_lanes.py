"""What two queues of a GPU are told, looked at without one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.reversible import inverting, lanes
from supernet.reversible.lanes import CudaLanes
from tests.supernet.reversible.branches import stage_of, step, streams, worst


class Queue:
    """A queue that does everything at once."""

    made = 0
    device = torch.device("cpu")

    def __init__(self, device: object = None) -> None:
        Queue.made += 1

    def wait_stream(self, other: object) -> None:
        """Nothing is left to wait for."""

    def wait_event(self, event: object) -> None:
        """Likewise."""

    def record_event(self) -> object:
        """Some event."""
        return object()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Any]]:
    """Queues of no GPU; which tensor was to be kept for which of them."""
    found: list[tuple[Tensor, Any]] = []
    outer = Queue()
    Queue.made = 0
    lanes._queues.cache_clear()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: outer)
    monkeypatch.setattr(torch.cuda, "Stream", Queue)
    monkeypatch.setattr(torch.cuda, "stream", lambda queue: nullcontext())
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, queue: found.append((tensor, queue)))
    monkeypatch.setattr(inverting, "lanes", lambda device: CudaLanes(device) if device else lanes.Lanes())
    return found


def test_overlapped_branches_learn_what_they_learn_one_by_one(held: list[tuple[Tensor, Any]]) -> None:
    stage = stage_of(3, overlap=True)
    plain, free = (step(stage, streams(), free=free) for free in (False, True))
    assert worst(plain, free) < 1e-12 and held
    step(stage, streams(), free=True)
    assert Queue.made == 2, (
        "free memory belongs to the queue it was taken in: new ones would begin without any"
    )
    lanes._queues.cache_clear()


def test_a_gradient_that_is_added_to_waits_for_both_queues(held: list[tuple[Tensor, Any]]) -> None:
    side = CudaLanes(torch.device("cpu"))
    before = torch.ones(2)
    sums: list[Tensor | None] = [before, torch.ones(2)]
    side.add(sums, 0, torch.ones(2))
    side.add(sums, 1, None)
    assert [(tensor is before, queue) for tensor, queue in held] == [
        (True, queue) for queue in (*side.queues, side.outer)
    ]
    assert sums[0] is not None and torch.equal(sums[0], before + 1)
    lanes._queues.cache_clear()
