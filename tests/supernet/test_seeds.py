"""Generators follow their seed and what they are for, in every process."""

from __future__ import annotations

import torch

from supernet.seeds import derive, generator, rng


def test_a_seed_is_the_same_in_every_process() -> None:
    assert derive(0, "order", 3) == 8307221573466005009


def test_purposes_and_numbers_are_kept_apart() -> None:
    seeds = {derive(0), derive(1), derive(0, "a"), derive(0, "a", 1), derive(0, "a1"), derive(0, "a", "1")}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)


def test_generators_repeat_themselves() -> None:
    assert rng(0, "x").random() == rng(0, "x").random() != rng(0, "y").random()
    first, again = (torch.rand(3, generator=generator(0, "x")) for _ in range(2))
    assert torch.equal(first, again)
