"""Gradients of slices, added up where they lie in those of the whole tensors.

Autograd makes the gradient of a slice as large as the whole: for every axis that is cut it fills a tensor with zeros
and copies, and then it adds all of that up. Here the slices of a lesson are leaves of their own, taken again by the
next lesson of the same width, and what they were given is added to the part of the whole's gradient that it belongs to.
The sums are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from supernet.elastic.slicing import Slices, Views
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture


class SliceGradients:
    """The slices of one supernet for somebody who calls ``backward()`` and then `add_up`.

    What only autograd knows of the way from a whole tensor to its slice (its hooks, ``torch.autograd.grad``) is not
    there; slices that are no views lie on that way, as ever.

    Args:
        supernet: whose.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._views: Views = {}

    def slices(self, arch: Architecture) -> Slices:
        """What one architecture uses of each tensor, to be learnt from by one lesson at a time.

        Raises:
            ArchitectureError: when it is of another space.
        """
        slices = self.supernet.plan.slices(self.supernet.largest, arch, self._views, leaves=True)
        for part in slices.tensors.values():
            part.grad = None  # of a lesson that ended halfway
        return slices

    @torch.no_grad()
    def add_up(self, arch: Architecture) -> None:
        """Add what the slices of an architecture were given to the gradients of the whole tensors."""
        plan, largest = self.supernet.plan, self.supernet.largest
        recipe = plan.recipe(arch)
        sums: list[Tensor] = []
        given: list[Tensor] = []
        for _, steps in recipe.steps:
            for step in steps:
                whole, _, part = self._views.get(step, (None, 0, None))
                if whole is None or part is None or part.grad is None:
                    continue
                if whole.grad is None:
                    whole.grad = torch.zeros_like(whole)
                sums.append(plan.slicing.cut(whole.grad, step, recipe.sizes, largest, {}))
                given.append(part.grad)
                part.grad = None
        if sums:
            torch._foreach_add_(sums, given)
