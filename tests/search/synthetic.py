"""A made-up space with a known trade-off, which needs neither torch nor a device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.objective import Objective
from supernet.space import Choice, Genes, SearchSpace

STAGES = 4


def space() -> SearchSpace:
    """Four stages of depth 1 to 3 with a kernel and an expansion per block, about 10^13 networks."""
    choices: list[Choice] = []
    for stage in range(STAGES):
        choices.append(Choice(f"stages.{stage}.depth", (1, 2, 3)))
        for block in range(3):
            live = tuple(range(block + 1, 4))
            needs = (f"stages.{stage}.depth", live) if block else None
            choices.append(Choice(f"stages.{stage}.{block}.kernel", (3, 5, 7), needs))
            choices.append(Choice(f"stages.{stage}.{block}.expand", (2, 3, 4, 6), needs))
    return SearchSpace(tuple(choices))


SPACE = space()


def _blocks(genes: list[int]) -> list[tuple[int, int, int, int]]:
    values = SPACE.decode(SPACE.architecture(genes))
    return [
        (
            stage,
            block,
            int(values[f"stages.{stage}.{block}.kernel"]),
            int(values[f"stages.{stage}.{block}.expand"]),
        )
        for stage in range(STAGES)
        for block in range(int(values[f"stages.{stage}.depth"]))
    ]


def params(genes: Genes) -> NDArray[np.float64]:
    """Growing with the stage."""
    return np.array(
        [sum(e * (2**s * 100 + k * k) for s, _, k, e in _blocks(a)) for a in genes.tolist()], dtype=np.float64
    )


def latency_ms(genes: Genes) -> NDArray[np.float64]:
    """Dear kernels early, where images are large."""
    return np.array([sum(e * k * (5 - s) / 100 for s, _, k, e in _blocks(a)) for a in genes.tolist()])


def accuracy(genes: Genes) -> NDArray[np.float64]:
    """Large kernels pay late, expansion pays early, and both less and less."""
    gains = [
        sum(np.log1p(e / (1 + s)) + 0.1 * s * np.log(k) for s, _, k, e in _blocks(a)) for a in genes.tolist()
    ]
    return np.array([100 - 60 * np.exp(-gain / 10) for gain in gains])


def objectives(latency_limit: float | None = None, params_limit: float | None = None) -> list[Objective]:
    """The three of the quickstart."""
    return [
        Objective("accuracy", "%", "max", accuracy),
        Objective("latency", "ms", "min", latency_ms, limit=latency_limit, cheap=True),
        Objective("params", "", "min", params, limit=params_limit, cheap=True),
    ]
