"""How genomes are drawn, mixed and changed: whole matrices at a time, for categories without an order."""

from __future__ import annotations

import numpy as np

from supernet.space import Genes, SearchSpace


def options_of(space: SearchSpace) -> Genes:
    """How many values each choice has ``(choices,)``."""
    return np.array([len(choice.values) for choice in space.choices], dtype=np.int64)


def sample_genes(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    """Random canonical genomes ``(count, choices)``, every gene uniform."""
    return space.canonical(rng.integers(0, options_of(space), size=(count, len(space))))


def ends(space: SearchSpace) -> Genes:
    """The smallest and the largest network ``(2, choices)``: they frame every front."""
    return space.matrix([space.smallest(), space.largest()])


def mix(parents: Genes, rng: np.random.Generator) -> Genes:
    """Two children of each pair: every gene of the first from either parent, the second has the others.

    Args:
        parents: ``(2, pairs, choices)``.
    """
    swap = rng.random(parents.shape[1:]) < 0.5
    return np.where(swap, parents[::-1], parents)


def reset(space: SearchSpace, genes: Genes, rate: float, rng: np.random.Generator) -> Genes:
    """Genomes ``(genomes, choices)`` in which each gene was, at this rate, given another of its values.

    Genes that do not matter are 0 by convention. They are drawn first, or a block that a mutation
    switches on would always begin as its smallest self.
    """
    options = options_of(space)
    genes = np.where(space.matters(genes), genes, rng.integers(0, options, size=genes.shape))
    rows, columns = np.nonzero((rng.random(genes.shape, dtype=np.float32) < rate) & (options > 1))
    shift = rng.integers(1, options[columns])
    genes[rows, columns] = (genes[rows, columns] + shift) % options[columns]
    return genes
