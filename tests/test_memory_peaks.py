"""The highest memory of a step is what it held at a time, wherever in the step."""

from __future__ import annotations

import torch

from benchmarks.memory_peaks import cpu_seconds, peak_bytes

MIB = 2**20


def test_a_peak_is_what_is_held_at_once_and_not_what_was_allocated_in_all() -> None:
    def step() -> None:
        for _ in range(3):
            one = torch.empty(MIB, dtype=torch.uint8)
            two = torch.empty(2 * MIB, dtype=torch.uint8)
            del one, two

    assert 3 * MIB <= peak_bytes(step) < 3.1 * MIB


def test_what_was_held_before_is_not_counted() -> None:
    before = torch.ones(4 * MIB, dtype=torch.uint8)
    assert MIB <= peak_bytes(lambda: before[:MIB].add(1)) < 1.1 * MIB


def test_the_graph_of_a_backward_pass_is_seen() -> None:
    weight = torch.ones(MIB // 4, requires_grad=True)

    def step() -> None:
        (weight * 2).sigmoid().sigmoid().sum().backward()
        weight.grad = None

    # Both results of the sigmoid are kept, and the gradient on its way back.
    assert 3 * MIB <= peak_bytes(step) <= 4.1 * MIB


def test_steps_take_turns_after_a_first_one() -> None:
    order: list[str] = []
    times = cpu_seconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, turns=2, best=False)
    assert order == ["a", "b"] * 3
    assert set(times) == {"a", "b"}
