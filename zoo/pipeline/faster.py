"""Whether eight bits made a network faster: as measured, beside the same network in float, and never as predicted.

What is called faster is so by more than both measurements are unsure. A network that is not, or that nobody has
compared yet, is beyond a limit that every front of such a device has; its twin in float is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hardware.measurement import Measurement
from search.archive import stored
from search.objective import Objective, Values
from supernet.precision import Precision
from supernet.space import Genes
from zoo.pipeline.mixed import MixedWorkspace
from zoo.pipeline.profiling import Profiled

NOT_FASTER = "not_faster"
"""What the objective is called; with the name of the device behind it, where it has one."""


@dataclass(frozen=True)
class Compared:
    """One network on one device, in eight bits and in float.

    Args:
        mixed: its latency with stages in eight bits.
        twin: that of the same network in float.
    """

    mixed: Measurement
    twin: Measurement

    @property
    def faster(self) -> bool:
        """Whether eight bits are faster, by more than both are unsure."""
        return self.mixed.median_ms * (1 + self.mixed.ci) < self.twin.median_ms * (1 - self.twin.ci)


def compared(precision: Precision, known: Profiled) -> Iterator[Compared]:
    """Every network that was measured on a device as an exported file, in eight bits and in float."""
    found = list(known.verified.values())
    if not found:
        return
    genes = np.array([m.genes for m in found], dtype=np.int64)
    by_key = dict(zip(stored(genes), found))
    twins = stored(precision.in_float(genes))
    for mixed, key, is_mixed in zip(found, twins, precision.is_mixed(genes).tolist()):
        if is_mixed and key in by_key:
            yield Compared(mixed, by_key[key])


def faster_than_float(
    workspace: MixedWorkspace, known: Sequence[Profiled], candidates: bool
) -> Iterator[Objective]:
    """For each device the limit that keeps eight bits off its front where they are not faster.

    Args:
        candidates: let those pass that nobody has compared.
    """
    return (_limit(workspace.precision, device, candidates) for device in known)


def _limit(precision: Precision, known: Profiled, candidates: bool) -> Objective:
    results = {stored(np.array([c.mixed.genes]))[0]: c.faster for c in compared(precision, known)}

    def not_faster(genes: Genes) -> Values:
        """1 where stages are in eight bits and that is not known to be faster ``(architectures,)``, else 0."""
        if candidates and all(results.values()):
            return np.zeros(len(genes))
        rows = zip(precision.is_mixed(genes).tolist(), stored(genes))
        return np.array([mixed and not results.get(key, candidates) for mixed, key in rows], dtype=np.float64)

    name = f"{NOT_FASTER}_{known.name}" if known.name else NOT_FASTER
    return Objective(name, "", "min", not_faster, limit=0, source="exact", front=known.name, optimise=False)
