"""Says, layer by layer, which sizes drive a largest network: a plan written by hand.

A preset knows its network, so it states what `supernet.elasticise` would have to discover: one line
per layer, with the dims that its axes are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from operator import eq

import numpy as np
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout, Factor, Kernel
from supernet.elastic.plan import Dim, Plan, SizeAttribute
from supernet.errors import ConversionError
from supernet.space import SearchSpace, Value

Axis = str | Sequence[Sequence[Factor]] | None
"""A dim by name, the runs of an `AxisLayout`, or None for an axis that is always whole."""


class PlanBuilder:
    """Collects the dims, layouts, kernels, switches and size_attributes of one network.

    Args:
        largest: the network the plan is for.
        space: the choices that set the dims.
    """

    def __init__(self, largest: nn.Module, space: SearchSpace) -> None:
        self.largest = largest
        self.space = space
        self.dims: dict[str, Dim] = {}
        self.layouts: dict[str, tuple[AxisLayout | None, ...]] = {}
        self.kernels: dict[str, Kernel] = {}
        self.switches: dict[str, str] = {}
        self.size_attributes: list[SizeAttribute] = []

    def plan(self) -> Plan:
        """The plan of everything stated so far."""
        return Plan(
            self.space, self.dims, self.layouts, self.kernels, self.switches, tuple(self.size_attributes)
        )

    def dim(
        self, name: str, by: Sequence[str], size: Callable[..., int], kind: str, full: int | None = None
    ) -> str:
        """A dim, by its name.

        Args:
            by: the choices that set it.
            size: its size from one value of each of them.
            full: what the stored tensors hold; None when that is the largest size.

        Raises:
            ConversionError: when a size is more than they hold, or nothing.
        """
        values: list[tuple[Value, ...]] = [self.space[choice].values for choice in by]
        table = np.array([size(*combination) for combination in product(*values)], dtype=np.int64)
        full = int(table.max()) if full is None else full
        if table.max() > full or (table.min() < 1 and kind != "present"):
            raise ConversionError(
                f"{name!r} would be {table.min()} to {table.max()} by {', '.join(by)}; the network holds 1 to {full}"
            )
        self.dims[name] = Dim(name, full, tuple(by), table.reshape([len(v) for v in values]), kind)
        return name

    def switch(self, path: str, name: str, by: Sequence[str], present: Callable[..., bool]) -> None:
        """A module that is there for some values of some choices; without it its input passes on."""
        self.switches[path] = self.dim(name, by, lambda *values: int(present(*values)), "present", full=1)

    def one_of(self, path: str, choice: str, values: Sequence[Value]) -> None:
        """A `OneOf` whose candidate ``i`` is there for ``values[i]``."""
        for i, own in enumerate(values):
            self.switch(f"{path}.{i}", f"{path}.{i}.present", [choice], partial(eq, own))

    def tensor(self, name: str, *axes: Axis) -> None:
        """A parameter or buffer, axis by axis."""
        layouts = tuple(
            None if axis is None else AxisLayout([(axis,)] if isinstance(axis, str) else axis)
            for axis in axes
        )
        if any(layouts):
            self.layouts[name] = layouts

    def layer(self, path: str, out: Axis, into: Axis = None) -> None:
        """A linear layer or ungrouped convolution: weight ``(out, into, ...)`` and bias ``(out,)``."""
        self.tensor(f"{path}.weight", out, into)
        if self.largest.get_submodule(path).bias is not None:
            self.tensor(f"{path}.bias", out)

    def norm(self, path: str, width: Axis) -> None:
        """A batch or layer norm: affine parameters and statistics, as far as it has them."""
        module = self.largest.get_submodule(path)
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(getattr(module, name, None), Tensor):
                self.tensor(f"{path}.{name}", width)
        if isinstance(module, nn.LayerNorm):
            full = module.normalized_shape[0]
            self.size_attributes.append(
                SizeAttribute(path, "normalized_shape", 0, "weight", 0, full, full, 1, 1)
            )

    def depthwise(
        self, path: str, width: Axis, kernel: str | None = None, transforms: Sequence[tuple[int, str]] = ()
    ) -> None:
        """A depth-wise convolution.

        Args:
            kernel: the dim of its kernel size.
            transforms: ``(size, matrix parameter of the convolution)`` from large to small.
        """
        conv = self.largest.get_submodule(path)
        assert isinstance(conv, nn.Conv2d | nn.Conv3d)
        if width is not None:
            full = conv.out_channels
            self.tensor(f"{path}.weight", width)
            self.size_attributes.append(SizeAttribute(path, "groups", None, "weight", 0, full, full, 1, 1))
        if kernel is not None:
            full = conv.kernel_size[0]
            names = tuple((size, f"{path}.{matrix}") for size, matrix in transforms)
            self.kernels[f"{path}.weight"] = Kernel(kernel, names)
            for i in range(len(conv.kernel_size)):
                self.size_attributes.append(
                    SizeAttribute(path, "padding", i, "weight", 2 + i, full, full // 2, 1, 2)
                )

    def inverted_residual(
        self,
        path: str,
        hidden: str,
        kernel: str,
        transforms: Sequence[tuple[int, str]] = (),
        width: Axis = None,
    ) -> None:
        """The convolutions and norms around the hidden width of a timm ``InvertedResidual``.

        Args:
            width: of what goes in and comes out, where that is elastic too.
        """
        self.layer(f"{path}.conv_pw", hidden, width)
        self.norm(f"{path}.bn1", hidden)
        self.depthwise(f"{path}.conv_dw", hidden, kernel, transforms)
        self.norm(f"{path}.bn2", hidden)
        self.layer(f"{path}.conv_pwl", width, hidden)
        if width is not None:
            self.norm(f"{path}.bn3", width)

    def attention(self, path: str, width: Axis, heads: str) -> None:
        """A timm ``Attention`` (queries, keys and values in blocks) whose number of heads follows a dim."""
        module = self.largest.get_submodule(path)
        count, inner = self.dims[heads].full, self.largest.get_parameter(f"{path}.proj.weight").shape[1]
        head_dim = inner // count
        self.layer(f"{path}.qkv", ((3, heads, head_dim),), width)
        self.layer(f"{path}.proj", width, ((heads, head_dim),))
        for name, value, share in (("num_heads", count, 3 * head_dim), ("attn_dim", inner, 3)):
            assert getattr(module, name) == value
            self.size_attributes.append(
                SizeAttribute(path, name, None, "qkv.weight", 0, 3 * inner, value, 1, share)
            )

    def squeeze(self, path: str, width: str, ratio: Callable[[int], int]) -> None:
        """A timm squeeze-and-excitation whose bottleneck follows the width it gates.

        Raises:
            ConversionError: when the ratio does not give the stored bottleneck at the full width.
        """
        outer = self.dims[width]
        stored = self.largest.get_parameter(f"{path}.conv_reduce.weight").shape[0]
        if ratio(outer.full) != stored:
            raise ConversionError(
                f"the bottleneck of {path!r} holds {stored} channels; the ratio gives {ratio(outer.full)} "
                f"for its full width of {outer.full}"
            )
        table = np.vectorize(ratio, otypes=[np.int64])(outer.table)
        inner = f"{width}.squeeze"
        self.dims[inner] = Dim(inner, ratio(outer.full), outer.by, table, "squeeze")
        self.layer(f"{path}.conv_reduce", inner, width)
        self.layer(f"{path}.conv_expand", width, inner)
