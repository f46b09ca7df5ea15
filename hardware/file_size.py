"""How many bytes the file of a network takes where every stage has a precision: weights counted, the rest learned.

A weight is one byte in eight bits and four in float. What else is in a file (nodes, names, scales, biases) goes with
how many operators and channels a stage has, with its precision and with where that changes, by a rule that some files
tell. In a tiny network it is most of the file: there eight bits make the file larger. From 16 files of 14 to 43 KB, the
sizes of others were told within 0.9 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from supernet.elastic.costs import tally
from supernet.precision import Precision
from supernet.space import Genes

Bytes = NDArray[np.float64]


class FileSizes:
    """Sizes of files, learned from some.

    Args:
        precision: of which networks.
        genes: of some of them ``(files, choices)``.
        sizes: of their files, in bytes ``(files,)``.
    """

    def __init__(self, precision: Precision, genes: Genes, sizes: Sequence[int]) -> None:
        self._precision = precision
        plan, named = precision.net.plan, list(precision.net.largest.named_parameters())
        parts = [[pair for pair in named if pair[0].startswith(f"{path}.")] for path in precision.stages]
        self._weights = [tally(plan, [pair for pair in part if _is_weight(*pair)]) for part in parts]
        self._others = [tally(plan, [pair for pair in part if not _is_weight(*pair)]) for part in parts]
        weights, rest = self._columns(genes)
        left = np.asarray(sizes, dtype=np.float64) - weights
        self._scale = np.maximum(np.abs(rest).max(axis=0), 1.0)
        self._rule: Bytes = np.linalg.lstsq(rest / self._scale, left, rcond=1e-9)[0]

    def __call__(self, genes: Genes) -> Bytes:
        """Bytes of the files of canonical genes ``(architectures,)``."""
        weights, rest = self._columns(genes)
        return np.asarray(weights + rest / self._scale @ self._rule)

    def _columns(self, genes: Genes) -> tuple[Bytes, Bytes]:
        """Bytes of the weights ``(architectures,)``, and what the rest goes with ``(architectures, columns)``."""
        eight = self._precision.eight(genes)
        entries = np.stack([count(genes) for count, _ in self._weights], axis=1)
        operators = np.stack([there(genes) for _, there in self._weights], axis=1)
        channels = np.stack([count(genes) for count, _ in self._others], axis=1)
        turns = eight[:, 1:] != eight[:, :-1]
        whole = (np.ones(len(genes)), channels.sum(axis=1), (channels * eight).sum(axis=1))
        return (
            np.where(eight, entries, 4 * entries).sum(axis=1).astype(np.float64),
            np.hstack([np.stack(whole, axis=1), turns, operators, operators * eight]),
        )


def _is_weight(name: str, tensor: Tensor) -> bool:
    """Whether it is of an operator that multiplies."""
    return name.endswith("weight") and tensor.dim() > 1
