"""Block by block, what was cut learns to do what the whole one does.

A cut network answers badly at first because its early stages hand on something else than its late ones learnt to read.
Each stage is therefore held to what the teacher computes there; where a residual path is narrower, to the part that is
left of it. Li et al. train blocks like this alone, each on the teacher's inputs (DNA, arXiv:1911.13053); here they
learn together, inside the whole network, beside what the lesson learns anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.layout import leading
from supernet.stages import stage_paths
from supernet.weights import head_of

LEAST_VARIANCE = 1e-6
"""A stage that hardly varies says nothing, and must not weigh more than all others."""


def healed_stages(network: nn.Module) -> list[str]:
    """Paths of the stages that are compared: all with weights, but for the head."""
    head = head_of(network)
    paths = stage_paths(network)
    return [
        path
        for path in paths
        if any(True for _ in network.get_submodule(path).parameters())
        and not any(name.startswith(f"{path}.") for name in head)
    ]


def stage_loss(pupil: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """How far the features of a pupil's stages are from those of a teacher: a scalar, the mean over the stages.

    Of each stage the mean square of the difference, as a share of the variance of the teacher's features; 0 where no
    stage can be compared. No gradient reaches the teacher.

    Args:
        pupil: features by path.
        teacher: likewise; one of other positions (another resolution) is left out, one that is wider is cut.
    """
    pairs = {
        path: (ours, _left_of(teacher[path].detach(), ours))
        for path, ours in pupil.items()
        if path in teacher
    }
    terms = [
        F.mse_loss(ours, theirs) / theirs.var().clamp_min(LEAST_VARIANCE)
        for ours, theirs in pairs.values()
        if theirs is not None
    ]
    return torch.stack(terms).mean() if terms else torch.zeros(())


def _left_of(whole: Tensor, part: Tensor) -> Tensor | None:
    """What is left of features when their channels are cut to as many as those of a part; None for other positions."""
    if whole.dim() != part.dim():
        return None
    shapes = zip(whole.shape, part.shape)
    differing = list(compress(range(whole.dim()), (ours != theirs for ours, theirs in shapes)))
    if not differing:
        return whole
    channels = {1, 3} if whole.dim() == 4 else {whole.dim() - 1}
    (axis, *others) = differing
    narrower = axis in channels and part.shape[axis] < whole.shape[axis]
    return leading(whole, axis, part.shape[axis]) if narrower and not others else None
