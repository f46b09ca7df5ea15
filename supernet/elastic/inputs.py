"""What one call of a network is given: tensors in whatever nesting its ``forward`` takes.

Everything that runs a network (tracing, verification, costs, calibration, export, timing) holds its
inputs as one value, so that a single image, token ids beside a mask, or a dictionary of feature maps
are the same to all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_leaves, tree_map

from supernet.errors import ConversionError, did_you_mean


@dataclass(frozen=True)
class Inputs:
    """Positional and keyword arguments of one call.

    Args:
        args: tensors, or tuples, lists and dictionaries that hold some; anything else passes as it is.
        kwargs: likewise, by name.
        batch_axis: axis of the tensors along which the examples of a batch lie.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch_axis: int = 0

    @classmethod
    def of(cls, example: Tensor | Sequence[int] | Inputs, *, batch_axis: int = 0) -> Inputs:
        """Inputs of a network that takes one tensor: that tensor, or one of standard normal values.

        Args:
            example: the tensor, or its shape; inputs are handed through.

        Raises:
            ConversionError: for a shape that is none.
        """
        if isinstance(example, Inputs):
            return example
        if isinstance(example, Tensor):
            return cls((example,), batch_axis=batch_axis)
        shape = tuple(example)
        if not shape or any(type(size) is not int or size < 1 for size in shape):
            raise ConversionError(f"the example's shape was {shape}; give positive integers, batch first")
        return cls((torch.randn(shape, generator=torch.Generator().manual_seed(0)),), batch_axis=batch_axis)

    def call(self, network: Callable[..., Any]) -> Any:
        """What the network answers."""
        return network(*self.args, **self.kwargs)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the arguments."""
        return [leaf for leaf in tree_leaves((self.args, dict(self.kwargs))) if isinstance(leaf, Tensor)]

    @property
    def batch(self) -> int:
        """How many examples they hold: entries of the batch axis of the first tensor that has one.

        Raises:
            ConversionError: when there is no such tensor.
        """
        for tensor in self.tensors:
            if tensor.dim() > self.batch_axis:
                return int(tensor.shape[self.batch_axis])
        raise ConversionError(f"no input has an axis {self.batch_axis} that examples could lie along")

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same nesting with every tensor changed."""

        def each(leaf: Any) -> Any:
            """A tensor changed, anything else as it is."""
            return change(leaf) if isinstance(leaf, Tensor) else leaf

        args, kwargs = tree_map(each, (self.args, dict(self.kwargs)))
        return replace(self, args=args, kwargs=kwargs)

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> Inputs:
        """On another device; floating tensors in another type and, where they have four axes, layout."""

        def move(tensor: Tensor) -> Tensor:
            """One tensor, moved."""
            layout = memory_format if tensor.dim() == 4 else torch.preserve_format
            return tensor.to(
                device, dtype=dtype if tensor.is_floating_point() else None, memory_format=layout
            )

        return self.map(move)

    def with_batch(self, size: int) -> Inputs:
        """As many examples: the first ones, repeated where there are fewer."""
        axis, batch = self.batch_axis, self.batch
        where = torch.arange(size) % batch

        def resize(tensor: Tensor) -> Tensor:
            """One tensor with so many examples; one without an axis for them as it is."""
            if tensor.dim() <= axis or tensor.shape[axis] != batch:
                return tensor
            return tensor.index_select(axis, where.to(tensor.device))

        return self if size == batch else self.map(resize)

    def at_resolution(self, side: int) -> Inputs:
        """Zeros in which every map, a floating tensor of four or more axes, is ``side`` by ``side``."""

        def resize(tensor: Tensor) -> Tensor:
            """One map at that side; anything else as it is."""
            if tensor.dim() < 4 or not tensor.is_floating_point():
                return tensor
            return tensor.new_zeros((*tensor.shape[:-2], side, side))

        return self.map(resize)

    def zeros(self, device: torch.device | str | None = None) -> Inputs:
        """Zeros of the same shapes and types: all that costs and sizes depend on."""
        return self.map(lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device))

    def names(self, network: nn.Module | None = None) -> list[str]:
        """A name for every tensor, from the arguments of the network; ``input`` for a lone positional one."""
        if len(self.args) == 1 and not self.kwargs and isinstance(self.args[0], Tensor):
            return ["input"]
        found, _ = tree_flatten_with_path((self.args, dict(self.kwargs)))
        given = _positional(network) if network is not None else []
        names = []
        for path, leaf in found:
            if not isinstance(leaf, Tensor):
                continue
            steps = [_step(step) for step in path[1:]]
            if _step(path[0]) == "0":
                at = int(steps[0])
                steps[0] = given[at] if at < len(given) else f"input_{at}"
            names.append(".".join(steps))
        return names

    def to_json(self) -> dict[str, Any]:
        """Shapes, types and nesting as plain JSON values; `from_json` reads them back, as zeros.

        Raises:
            ConversionError: for something that JSON does not hold.
        """
        return {
            "args": [_written(value) for value in self.args],
            "kwargs": {name: _written(value) for name, value in self.kwargs.items()},
            "batch_axis": self.batch_axis,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Inputs:
        """The inputs that `to_json` wrote, zeros on the meta device: of shapes and types only."""
        return cls(
            tuple(_read(value) for value in document["args"]),
            {name: _read(value) for name, value in document["kwargs"].items()},
            document["batch_axis"],
        )

    def __str__(self) -> str:
        shapes = [f"{tuple(tensor.shape)}" for tensor in self.tensors]
        return f"of shape {shapes[0]}" if len(shapes) == 1 else f"of shapes {', '.join(shapes) or 'none'}"


def fitting(network: nn.Module, inputs: Inputs) -> Inputs:
    """The inputs themselves, when the network can be called with them.

    Raises:
        ConversionError: for arguments it does not take, and tensors on another device or of another
            floating type than its parameters.
    """
    signature = inspect.signature(network.forward)
    try:
        signature.bind(*inputs.args, **inputs.kwargs)
    except TypeError as error:
        surplus = [name for name in inputs.kwargs if name not in signature.parameters]
        hint = did_you_mean(surplus[0], signature.parameters) if surplus else f"; it takes {signature}"
        raise ConversionError(f"{type(network).__name__} is not called like that: {error}{hint}") from error
    weight = next((p for p in network.parameters() if p.is_floating_point()), None)
    if weight is None:
        return inputs
    for name, tensor in zip(inputs.names(network), inputs.tensors):
        if tensor.device != weight.device:
            raise ConversionError(
                f"the example {name!r} is on {tensor.device}, the network on {weight.device}; "
                f"bring both to one device"
            )
        if tensor.is_floating_point() and tensor.dtype != weight.dtype and _of_one_type(network):
            raise ConversionError(
                f"the example {name!r} is {tensor.dtype}, the network {weight.dtype}; "
                f"give it as {weight.dtype}"
            )
    return inputs


def _of_one_type(network: nn.Module) -> bool:
    """Whether all floating parameters share a type; networks of several convert what they are given."""
    return len({p.dtype for p in network.parameters() if p.is_floating_point()}) == 1


def _positional(network: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(network.forward).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _written(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_written(entry) for entry in value]}
    if isinstance(value, dict):
        return {"dict": {name: _written(entry) for name, entry in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConversionError(
        f"an input is a {type(value).__name__}, which cannot be written down; "
        f"use tensors, tuples, lists and dictionaries"
    )


def _read(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "tensor" in value:
        return torch.zeros(value["tensor"], dtype=getattr(torch, value["dtype"]), device="meta")
    ((kind, entries),) = value.items()
    if kind == "dict":
        return {name: _read(entry) for name, entry in entries.items()}
    return {"tuple": tuple, "list": list}[kind](_read(entry) for entry in entries)


def output_tensors(outputs: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of whatever a network answers, each with a name; ``output`` for a lone one."""
    if isinstance(outputs, Tensor):
        yield "output", outputs
        return
    for path, leaf in tree_flatten_with_path(outputs)[0]:
        if isinstance(leaf, Tensor):
            steps = [_step(step) for step in path]
            yield ".".join(f"output_{step}" if step.isdigit() else step for step in steps), leaf


def _step(entry: Any) -> str:
    """One step of a path into a nesting: a key, or a position."""
    return str(getattr(entry, "key", getattr(entry, "idx", entry)))
