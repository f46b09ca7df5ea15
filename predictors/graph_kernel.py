"""Predict by how alike the graphs of two architectures are."""

from __future__ import annotations

from typing import Any

import numpy as np

from predictors.estimate import Values, predictors
from predictors.graphs import BUCKETS, ROUNDS, Graphs, chain, weisfeiler_lehman
from predictors.process import Process
from supernet.encoding import Encoding
from supernet.space import Genes, SearchSpace

DECAY = 0.1
"""How far what a node sees one edge further is trusted, over what it sees itself."""


@predictors.register("graph_kernel")
class GraphKernel(Process):
    """A Gaussian process that also counts what the graphs of two architectures have in common (Weisfeiler-Lehman).

    Counts are trusted by how much they vary, since a label that one network in fifty has says little; and less with
    every edge further that a node looks.

    Args:
        space: of the architectures.
        graphs: of genes; a chain of the groups of choices when None, `predictors.graphs.traced` of a supernet.
        options: those of `Process`.
    """

    def __init__(self, space: SearchSpace, *, graphs: Graphs | None = None, **options: Any) -> None:
        drawn, encoding = graphs or chain(space), Encoding(space)

        def features(genes: Genes) -> Values:
            """What is chosen, and what the graph looks like."""
            return np.hstack([encoding.ordinal(genes), weisfeiler_lehman(drawn(genes))])

        super().__init__(space, features=features, **options)

    @property
    def model(self) -> str:
        """What it is."""
        return "Gaussian process on a graph kernel"

    def _trust(self, columns: Values) -> Values:
        counts = columns[:, -(ROUNDS + 1) * BUCKETS :]
        spread = counts.std(axis=0).reshape(ROUNDS + 1, BUCKETS)
        usual = np.sqrt(
            (spread**2).sum(axis=1, keepdims=True) / np.maximum((spread > 0).sum(axis=1, keepdims=True), 1)
        )
        trust = spread / np.maximum(usual, 1e-9) * DECAY ** np.arange(ROUNDS + 1)[:, None]
        return np.concatenate([np.ones(columns.shape[1] - counts.shape[1]), trust.ravel()])
