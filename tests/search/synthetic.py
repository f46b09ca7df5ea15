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


BLOCKS = [f"stages.{stage}.{block}" for stage in range(STAGES) for block in range(3)]
STAGE = np.repeat(np.arange(STAGES), 3)


def _blocks(genes: Genes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel and expansion of every block ``(networks, 12)``, 0 where it is left out."""
    live = SPACE.matters(genes)
    columns = [[SPACE.index(f"{block}.{kind}") for block in BLOCKS] for kind in ("kernel", "expand")]
    kernel = np.take([3.0, 5.0, 7.0], genes[:, columns[0]]) * live[:, columns[0]]
    return kernel, np.take([2.0, 3.0, 4.0, 6.0], genes[:, columns[1]]) * live[:, columns[1]]


def params(genes: Genes) -> NDArray[np.float64]:
    """Growing with the stage."""
    kernel, expand = _blocks(genes)
    total: NDArray[np.float64] = (expand * (2.0**STAGE * 100 + kernel**2)).sum(axis=1)
    return total


def latency_ms(genes: Genes) -> NDArray[np.float64]:
    """Dear kernels early, where images are large."""
    kernel, expand = _blocks(genes)
    total: NDArray[np.float64] = (expand * kernel * (5 - STAGE) / 100).sum(axis=1)
    return total


def accuracy(genes: Genes) -> NDArray[np.float64]:
    """Large kernels pay late, expansion pays early, and both less and less."""
    kernel, expand = _blocks(genes)
    gain = np.log1p(expand / (1 + STAGE)) + 0.1 * STAGE * np.log(np.maximum(kernel, 1.0))
    total: NDArray[np.float64] = 100 - 60 * np.exp(-gain.sum(axis=1) / 10)
    return total


def objectives(latency_limit: float | None = None, params_limit: float | None = None) -> list[Objective]:
    """The three of the quickstart."""
    return [
        Objective("accuracy", "%", "max", accuracy),
        Objective("latency", "ms", "min", latency_ms, limit=latency_limit, source="exact"),
        Objective("params", "", "min", params, limit=params_limit, source="exact"),
    ]
