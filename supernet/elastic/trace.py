"""The traced network: its calls, with every size in terms of dims."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.elastic.plan import Extent


@dataclass(frozen=True)
class Op:
    """One call of the traced graph.

    Args:
        name: the aten op, e.g. ``conv2d``, ``linear``, ``matmul``, ``scaled_dot_product_attention``.
        module: path of the innermost module that made the call; "" for the network itself.
        inputs: positions of the ops whose results it reads.
        tensors: names of the parameters and buffers it reads.
        shape: one extent per axis of its result, batch included; a constant is ``((n,),)``.
        macs: products of extents whose sum is its multiply-adds; empty when it has none.
    """

    name: str
    module: str
    inputs: tuple[int, ...]
    tensors: tuple[str, ...]
    shape: tuple[Extent, ...]
    macs: tuple[tuple[Extent, ...], ...] = ()
