"""Important channels first, as Once-for-all sorts them between the phases of its training.

What a narrower subnet keeps is a prefix; sorting decides what stands in front. The largest network is
the same function before and after.
"""

from __future__ import annotations

import torch
from torch import Tensor

from supernet.elastic.reorder import descending, permute
from supernet.elastic.supernet import Supernet


@torch.no_grad()
def sort_hidden(supernet: Supernet, phase: int) -> None:
    """Sort the hidden channels of every block by the L1 norm of the weights that read them.

    Channels move only inside the segments that the widths trained so far cut a block into: in phase 0
    only the largest was, so all may move; in phase 1 the second largest as well, and so on. The
    bottleneck of a squeeze is always sorted as a whole. (Cai et al., arXiv:1908.09791; phases as in
    the authors' code, which sorts once before each phase of elastic width.)

    Args:
        supernet: of inverted residuals whose hidden widths are dims of kind ``hidden``.
        phase: how many widths below the largest have been trained.
    """
    plan = supernet.plan
    for name, dim in plan.dims.items():
        if dim.kind not in ("hidden", "squeeze"):
            continue
        # A width that follows a stage's as well is taken where that is largest.
        own = dim.table.reshape(-1, dim.table.shape[-1])[-1] if dim.by else dim.table
        widths = sorted({int(size) for size in own.flat}, reverse=True)
        borders = [] if dim.kind == "squeeze" else widths[1 : phase + 1]
        importance = _importance(supernet, name)
        permute(supernet, name, descending(importance, [0, *sorted(borders), dim.full]))


def _importance(supernet: Supernet, dim: str) -> Tensor:
    """Sum of the absolute weights of the layers that read each unit: those with it on their second axis.

    A hidden width is read by its projection, not by the squeeze beside it.
    """
    norms = [
        supernet.largest.get_parameter(name).abs().transpose(0, 1).flatten(1).sum(1)
        for name, axes in supernet.plan.layouts.items()
        if len(axes) > 1 and axes[1] == ((dim,),) and not name.endswith("conv_reduce.weight")
    ]
    return torch.stack(norms).sum(0)
