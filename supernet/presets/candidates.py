"""Modules whose children are alternatives: one of them runs, or the sum of several.

They read which children are there off the children's own presence, as everything in a supernet does.
Outside a supernet all are there, so that tracing the largest network meets every candidate.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from supernet.elastic.slicing import PRESENT


class Sum(nn.Sequential):
    """The sum of the children that are there; the input when none is."""

    def forward(self, x: Tensor) -> Tensor:
        """The answers of the children that are there, added."""
        there = [child for child in self if PRESENT not in child._buffers or len(child.get_buffer(PRESENT))]
        if not there:
            return x
        out: Tensor = there[0](x)
        for child in there[1:]:
            out = out + child(x)
        return out


class OneOf(Sum):
    """Candidates of which an architecture keeps one, or none; cut out, a plain sequence of that one."""

    plain: ClassVar[type[nn.Module]] = nn.Sequential
