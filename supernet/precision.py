"""Precision as a choice: every stage of a network in float or in eight bits, beside whatever else can be chosen.

A supernet is given one more choice for each of its stages, which no slice depends on: weights, training, statistics
and costs stay what they are, and a network in float is the network it was. What becomes of the choices is for the
file to say that is made of the network (`hardware.mixed`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supernet.elastic.supernet import Supernet
from supernet.space import Architecture, Choice, Genes, SearchSpace
from supernet.stages import stages

BITS = (8, 32)
"""The values of a choice; in the largest network everything is in float."""
EIGHT, FLOAT = 0, 1
"""Their genes."""


@dataclass(frozen=True)
class Precision:
    """A supernet whose stages each have a precision.

    Args:
        net: the supernet; its space ends in one choice for each stage, ``STAGE.bits``.
        stages: their paths, in the order in which they run.
    """

    net: Supernet
    stages: tuple[str, ...]

    @classmethod
    def of(cls, net: Supernet) -> Precision:
        """The same weights with a choice for each stage.

        Raises:
            ConversionError: when the supernet was not traced, so that nobody knows its stages.
            SpaceError: when a choice is called so already.
        """
        paths = tuple(stage.path for stage in stages(net, net.space.largest()) if stage.path)
        chosen = (Choice(f"{path}.bits", BITS) for path in paths)
        space = SearchSpace((*net.space.choices, *chosen))
        return cls(net.following(replace(net.plan, space=space)), paths)

    @cached_property
    def space(self) -> SearchSpace:
        """With the choices of precision, which are the last."""
        return self.net.space

    @cached_property
    def plain_space(self) -> SearchSpace:
        """Without them."""
        return SearchSpace(self.space.choices[: -len(self.stages)])

    def eight(self, genes: Genes) -> NDArray[np.bool_]:
        """Which stages are in eight bits ``(architectures, stages)``."""
        return np.asarray(genes[:, len(self.space) - len(self.stages) :] == EIGHT)

    def is_mixed(self, genes: Genes) -> NDArray[np.bool_]:
        """Whether any stage is ``(architectures,)``."""
        return np.asarray(self.eight(genes).any(axis=1))

    def stages_in_eight(self, arch: Architecture) -> tuple[str, ...]:
        """The paths of the stages of an architecture that are in eight bits.

        Raises:
            ArchitectureError: when it is of another space.
        """
        return tuple(np.array(self.stages)[self.eight(self.space.matrix([arch]))[0]].tolist())

    def in_float(self, genes: Genes) -> Genes:
        """The same networks with every stage in float ``(architectures, choices)``."""
        found = genes.copy()
        found[:, len(self.space) - len(self.stages) :] = FLOAT
        return found

    def twin(self, arch: Architecture) -> Architecture:
        """The same network in float.

        Raises:
            ArchitectureError: when it is of another space.
        """
        (found,) = self.space.architectures(self.in_float(self.space.matrix([arch])))
        return found

    def from_plain(self, genes: Genes) -> Genes:
        """Genes of the supernet without precision ``(architectures, fewer choices)``, as networks in float."""
        return np.hstack([genes, np.full((len(genes), len(self.stages)), FLOAT, dtype=genes.dtype)])
