"""Fine-tuning of a few input channels of every layer: a light way to adapt a network that knows something.

A layer keeps, for the gradient of its weight, what it was given. Where only some of its input channels learn it keeps
those channels alone, and their gradients are what they would have been. The optimiser sees the entries that learn and
nothing else, so it remembers only these, and the others are neither decayed nor moved by momentum.

Source: Woo et al., "PaCA: Partial Connection Adaptation for Efficient Fine-Tuning", arXiv:2503.01905. There everything
but these entries is frozen, and channels are drawn from all. Here biases, norms, embeddings and the head learn as
always, which costs no activation; and one channel is drawn from each of as many equal stretches of the axis, so that a
narrow subnet, which keeps its first channels, finds its share of them there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from supernet.elastic.layout import Sizes
from supernet.elastic.plan import Plan
from supernet.elastic.skeleton import Skippable
from supernet.elastic.slicing import is_present
from supernet.elastic.subnet import Subnet
from supernet.errors import ConfigError
from supernet.options import TrainOptions
from supernet.seeds import generator
from supernet.strategies import Sorter, Strategy
from supernet.weights import head_of

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_CALLS = {kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)}
Geometry = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups of a convolution."""


@dataclass(frozen=True)
class Learning:
    """What of one weight learns.

    Args:
        axis: of the weight that the channels lie on: 1, or 0 for a convolution in groups, of which whole groups learn.
        entries: booleans along that axis, of the largest network.
    """

    axis: int
    entries: Tensor


class PartialChannels:
    """Which input channels of the layers of a network learn; the weights themselves are not touched.

    Args:
        network: the largest one. Of it the weights of linear layers and convolutions learn in part; not those of its
            head, of two layers that share one, and of kernels that matrices make of larger ones.
        share: of the input channels of a layer, at least one; 0 and 1 let everything learn.
        seed: of the draw.
        plan: says what narrower networks use of an axis.

    Raises:
        ConfigError: for a share outside 0 to 1.
    """

    def __init__(self, network: nn.Module, share: float, seed: int = 0, plan: Plan | None = None) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of partial channels is {share:g}; it can be 0 to 1")
        self.network, self.plan = network, plan
        self.layers: dict[str, Learning] = {}
        """By path of the layer."""
        self._inside: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._places: dict[str, Tensor] = {}
        if 0 < share < 1:
            for path, layer in _layers(network, plan):
                self.layers[path] = _drawn(layer, share, generator(seed, "partial channels", path))

    def __bool__(self) -> bool:
        return bool(self.layers)

    def install(self, network: nn.Module, sizes: Sizes | None = None) -> None:
        """Let the layers of a network keep nothing but the channels that learn.

        Args:
            network: the one that these channels were drawn for, or a bound copy of it; its layers change their class.
            sizes: of the dims of the plan in that copy; None for the whole network.
        """
        absent = self.plan.slicing.absent(sizes) if self.plan and sizes else frozenset[str]()
        for path, learning in self.layers.items():
            if is_present(path, absent):
                layer = network.get_submodule(path)
                if type(layer).forward in _CALLS:
                    layer.__dict__["learning"] = self._channels(path, learning, layer, sizes)
                    layer.__class__ = _partial(type(layer))  # type: ignore[arg-type]

    def install_in(self, subnet: Subnet) -> Subnet:
        """`install` in the modules of a subnet, which are its own; the same subnet."""
        self.install(subnet.network, subnet.supernet.plan.sizes(subnet.arch))
        return subnet

    @contextmanager
    def compact(self) -> Iterator[None]:
        """Meanwhile each of these parameters, and its gradient, is only what learns of it.

        Make the optimiser, restore it and let it step in here.
        """
        kept = [
            _Compact(self._weight(path), learning.axis, self._where(path))
            for path, learning in self.layers.items()
        ]
        try:
            yield
        finally:
            for each in kept:
                each.undo()

    def _weight(self, path: str) -> nn.Parameter:
        weight = self.network.get_submodule(path).weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def _where(self, path: str) -> Tensor:
        """The entries of a weight that learn, where the weight is; a GPU is waited for once."""
        device = self._weight(path).device
        if path not in self._places or self._places[path].device != device:
            self._places[path] = self.layers[path].entries.to(device).nonzero().flatten()
        return self._places[path]

    def _channels(self, path: str, learning: Learning, layer: nn.Module, sizes: Sizes | None) -> Tensor:
        """The input channels, or the groups, of a layer of some width that learn."""
        weight: Any = layer.weight
        axes = self.plan.layouts.get(f"{path}.weight", ()) if self.plan is not None else ()
        layout = axes[learning.axis] if sizes is not None and learning.axis < len(axes) else None
        key = path, tuple(sizes[dim] for dim in layout.dims) if layout and sizes else ()
        if key not in self._inside:
            entries = learning.entries.to(weight.device)
            if layout and sizes and self.plan:
                entries = layout.cut(entries, 0, sizes, self.plan.full)
            if learning.axis == 0:
                entries = entries.view(int(layer.groups), -1)[:, 0]  # type: ignore[arg-type]
            self._inside[key] = entries.nonzero().flatten()
        return self._inside[key]


def check_partial(options: TrainOptions, strategy: Strategy) -> None:
    """Refuse what does not go together with partial channels.

    Raises:
        ConfigError: for a strategy that puts other channels where those lie that learn, and for compiled subnets.
    """
    if options.partial_channels in (0, 1):
        return
    if isinstance(strategy, Sorter):
        raise ConfigError(
            f"the strategy {options.strategy} sorts units anew while they learn, and partial channels are learnt where "
            f"they lie; choose another strategy, or set train.partial_channels=0"
        )
    if options.execution == "compiled":
        raise ConfigError(
            "compiled subnets share graphs in which every layer keeps all it was given; choose another "
            "train.execution, or set train.partial_channels=0"
        )


def _layers(network: nn.Module, plan: Plan | None) -> Iterator[tuple[str, nn.Module]]:
    """The layers that learn in part, by path."""
    head = head_of(network)
    owners = Counter(id(p) for _, p in network.named_parameters(remove_duplicate=False))
    for path, layer in network.named_modules():
        name = f"{path}.weight"
        if not isinstance(layer, nn.Linear | Convolution) or isinstance(layer, Skippable) or name in head:
            continue
        made = plan is not None and name in plan.kernels and plan.kernels[name].transforms
        if isinstance(layer.weight, nn.Parameter) and owners[id(layer.weight)] == 1 and not made:
            yield path, layer


def _drawn(layer: nn.Module, share: float, chance: torch.Generator) -> Learning:
    """One channel of each of as many equal stretches of the axis."""
    weight: Any = layer.weight
    groups = int(getattr(layer, "groups", 1))
    axis, count = (0, groups) if groups > 1 else (1, weight.shape[1])
    stretches = ceil(share * count)
    starts = torch.arange(stretches + 1) * count // stretches
    offsets = torch.rand(stretches, generator=chance) * starts.diff()
    entries = torch.zeros(count, dtype=torch.bool)
    entries[starts[:-1] + offsets.long()] = True
    return Learning(axis, entries.repeat_interleave(weight.shape[axis] // count))


class _Compact:
    """One parameter that is, for a while, only what learns of it."""

    def __init__(self, parameter: nn.Parameter, axis: int, index: Tensor) -> None:
        self.parameter, self.axis, self.index = parameter, axis, index
        self.whole, self.gradient = parameter.data, parameter.grad
        parameter.grad = None
        parameter.data = self.whole.index_select(self.axis, self.index)
        if self.gradient is not None:
            parameter.grad = self.gradient.index_select(self.axis, self.index)

    @torch.no_grad()
    def undo(self) -> None:
        """The whole parameter again, with what became of those entries; the gradient of all others is zero."""
        parameter = self.parameter
        self.whole.index_copy_(self.axis, self.index, parameter.data)
        gradient, parameter.grad = parameter.grad, None
        parameter.data = self.whole
        if self.gradient is not None and gradient is not None:
            parameter.grad = self.gradient.zero_().index_copy_(self.axis, self.index, gradient)


class Partial:
    """Mixed into the class of a layer that keeps nothing but the channels that learn."""

    learning: Tensor

    def forward(self: Any, x: Tensor) -> Tensor:
        """What the layer answers."""
        conv = isinstance(self, Convolution)
        usual = conv and (
            self.padding_mode != "zeros" or isinstance(self.padding, str) or x.dim() != self.weight.dim()
        )
        if usual or not (torch.is_grad_enabled() and self.weight.requires_grad):
            answer: Tensor = super().forward(x)  # type: ignore[misc]
            return answer
        geometry = (list(self.stride), list(self.padding), list(self.dilation), self.groups) if conv else None
        given: tuple[Tensor | None, ...] = (x, self.weight, self.bias)
        if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
            dtype = torch.get_autocast_dtype(x.device.type)
            given = tuple(tensor if tensor is None else tensor.to(dtype) for tensor in given)
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = _Product.apply(*given, self.learning, geometry)
        return found


@cache
def _partial(kind: type[nn.Module]) -> type[nn.Module]:
    return kind if issubclass(kind, Partial) else type(f"Partial{kind.__name__}", (Partial, kind), {})


class _Product(torch.autograd.Function):
    """A linear layer or a convolution whose weight learns in some input channels or groups."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, learning: Tensor, geometry: Geometry | None
    ) -> Tensor:
        """What it answers; of ``x`` it keeps the channels ``learning``."""
        ctx.geometry, ctx.shape = geometry, x.shape
        if geometry is None:
            ctx.save_for_backward(x.index_select(-1, learning), weight, learning)
            return F.linear(x, weight, bias)
        ctx.save_for_backward(_groups(x, 1, learning, geometry[3]), weight, learning)
        stride, padding, dilation, groups = geometry
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Exact, for the channels that learn; zero for the others."""
        kept, weight, learning = ctx.saved_tensors
        x_needs, weight_needs, bias_needs, *_ = ctx.needs_input_grad
        dx = dw = db = None
        found = _Linear(gradient, weight) if ctx.geometry is None else _Conv(gradient, weight, ctx.geometry)
        if x_needs:
            dx = found.inputs(ctx.shape)
        if weight_needs:
            dw = torch.zeros_like(weight)
            if len(learning):
                found.put(dw, kept, learning)
        if bias_needs:
            db = gradient.sum(
                [axis for axis in range(gradient.dim()) if axis != found.channel_axis % gradient.dim()]
            )
        return dx, dw, db, None, None


@dataclass(frozen=True)
class _Linear:
    """The gradients of a linear layer."""

    gradient: Tensor
    weight: Tensor
    channel_axis = -1

    def inputs(self, shape: torch.Size) -> Tensor:
        """That of what it was given."""
        return (self.gradient @ self.weight).view(shape)

    def put(self, dw: Tensor, kept: Tensor, learning: Tensor) -> None:
        """Put that of the columns that learn where they lie."""
        rows = self.gradient.reshape(-1, self.gradient.shape[-1])
        dw.index_copy_(1, learning, rows.t() @ kept.reshape(-1, kept.shape[-1]))


@dataclass(frozen=True)
class _Conv:
    """The gradients of a convolution."""

    gradient: Tensor
    weight: Tensor
    geometry: Geometry
    channel_axis = 1

    def inputs(self, shape: torch.Size) -> Tensor:
        """That of what it was given, whose values do not matter."""
        x = self.gradient.new_empty(1).expand(shape)
        return self._backward(self.gradient, x, self.weight, self.geometry[3], 0)

    def put(self, dw: Tensor, kept: Tensor, learning: Tensor) -> None:
        """Put that of the channels or groups that learn where they lie."""
        groups = self.geometry[3]
        if groups == 1:
            part = self.weight.index_select(1, learning)
            dw.index_copy_(1, learning, self._backward(self.gradient, kept, part, 1, 1))
            return
        gradient, part = (
            _groups(self.gradient, 1, learning, groups),
            _groups(self.weight, 0, learning, groups),
        )
        found = self._backward(gradient, kept, part, len(learning), 1)
        rows = dw.shape[0] // groups, *dw.shape[1:]
        dw.view(groups, *rows).index_copy_(0, learning, found.reshape(len(learning), *rows))

    def _backward(self, gradient: Tensor, x: Tensor, weight: Tensor, groups: int, which: int) -> Tensor:
        stride, padding, dilation, _ = self.geometry
        mask = [which == 0, which == 1, False]
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, stride, padding, dilation, False, [0] * len(stride), groups, mask
        )
        return found[which]


def _groups(tensor: Tensor, axis: int, which: Tensor, groups: int) -> Tensor:
    """The entries of some of the equal groups that an axis is made of; of one group, the entries themselves."""
    if groups == 1:
        return tensor.index_select(axis, which)
    before, after = tensor.shape[:axis], tensor.shape[axis + 1 :]
    split = tensor.reshape(*before, groups, tensor.shape[axis] // groups, *after)
    return split.index_select(axis, which).flatten(axis, axis + 1)
