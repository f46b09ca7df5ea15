"""A made-up device: what its latencies are is known exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supernet.encoding import Encoding
from supernet.space import Choice, Genes, SearchSpace

SPACE = SearchSpace(
    tuple(Choice(f"stages.{s}.depth", (2, 3)) for s in range(3))
    + tuple(
        Choice(f"stages.{s}.{b}.{kind}", values, (f"stages.{s}.depth", (3,)) if b == 2 else None)
        for s in range(3)
        for b in range(3)
        for kind, values in (("kernel", (3, 5, 7)), ("width", (16, 32, 48)))
    )
)


def macs(genes: Genes) -> NDArray[np.float64]:
    """Exact, as far as this space has networks at all."""
    encoding = Encoding(SPACE)
    names = [f"sum(stages.{s}.kernel*width)" for s in range(3)]
    return 1e6 * (
        1 + encoding.ordinal(genes)[:, [encoding.ordinal_names.index(name) for name in names]].sum(1)
    )


def latency_ms(genes: Genes, noise: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """A part that follows the MACs, a part for each block, and a stage that is slower than it should be."""
    encoding = Encoding(SPACE)
    values = encoding.ordinal(genes)
    late = values[:, encoding.ordinal_names.index("sum(stages.2.kernel)")]
    blocks = values[:, [encoding.ordinal_names.index(f"stages.{s}.depth") for s in range(3)]].sum(1)
    disturbed = np.exp(noise * np.random.default_rng(seed).standard_normal(len(genes)))
    return (macs(genes) / 1e6 + 0.8 * late**1.5 + 0.5 * blocks) * disturbed


def sampled(count: int, seed: int = 0) -> Genes:
    """Distinct genomes, canonical."""
    last = np.array([len(choice.values) for choice in SPACE.choices])
    rng = np.random.default_rng(seed)
    genes = SPACE.canonical(rng.integers(0, last, (4 * count, len(last))))
    return rng.permutation(np.unique(genes, axis=0))[:count]
