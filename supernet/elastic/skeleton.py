"""A module tree that holds other tensors: how a subnet runs inside the supernet and is cut out.

`bind` copies the tree of module objects, not their tensors, and hangs the slices in. The copy is
made for one call and thrown away, so nothing is remembered, two threads can run two architectures
of one supernet, and a checkpoint that recomputes later still finds its own slices.

A few modules keep an integer that a slice would contradict: the groups of a depth-wise
convolution, the padding of a cropped kernel, the number of heads. `make_elastic` swaps their class
once for a variant that reads the integer off a tensor's shape; a module that can be left out gets a
variant that hands its input on. `cut_out` puts timm's own classes and plain integers back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.plan import PRESENT, Plan, Reading, Slices


class Skippable:
    """Mixed into the class of a module that can be left out: without it, its first input passes on."""

    present: Tensor

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if self.present.shape[0] == 0:
            return x
        return super().forward(x, *args, **kwargs)  # type: ignore[misc]


class Variant:
    """Mixed into every swapped class; remembers nothing but which class was swapped."""

    plain: type[nn.Module]
    readings: dict[str, tuple[Reading, ...]]


def _reader(attribute: str) -> property:
    def read(self: Any) -> Any:
        stored = self.__dict__[attribute]
        for reading in self.readings[attribute]:
            owner = self
            *path, name = reading.tensor.split(".")
            for step in path:
                owner = getattr(owner, step)
            now = reading.at(getattr(owner, name).shape[reading.axis])
            stored = (
                now
                if reading.index is None
                else (*stored[: reading.index], now, *stored[reading.index + 1 :])
            )
        return stored

    return property(read)


@cache
def _variant(plain: type[nn.Module], attributes: tuple[str, ...], skippable: bool) -> type[nn.Module]:
    bases = (Variant, *((Skippable,) if skippable else ()), plain)
    body: dict[str, Any] = {name: _reader(name) for name in attributes}
    return type(f"Elastic{plain.__name__}", bases, body | {"plain": plain, "__module__": plain.__module__})


def make_elastic(largest: nn.Module, plan: Plan) -> nn.Module:
    """Swap, in place, the classes of the modules whose integers or presence follow the architecture."""
    readings: defaultdict[str, defaultdict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    for reading in plan.readings:
        readings[reading.module][reading.attribute].append(reading)
    for path in readings.keys() | plan.switches.keys():
        module = largest.get_submodule(path)
        if path in plan.switches and PRESENT not in module._buffers:
            module.register_buffer(PRESENT, torch.ones(1), persistent=False)
        attributes = tuple(sorted(readings[path]))
        module.readings = {name: tuple(readings[path][name]) for name in attributes}  # type: ignore[assignment]
        module.__class__ = _variant(type(module), attributes, path in plan.switches)  # type: ignore[arg-type]
    return largest


def bind(
    module: nn.Module,
    slices: Slices,
    *,
    without: frozenset[str] = frozenset(),
    training: bool | None = None,
    own: bool = False,
) -> nn.Module:
    """A copy of the module tree that holds the slices; everything else is shared with the original.

    Args:
        slices: what the copy holds instead of the original's tensors.
        without: names of parameters and buffers that are None in the copy.
        training: mode of the copy; None keeps the original's, module by module.
        own: whether modules without tensors are copied too, for a copy that lives longer than a call.
    """
    return _bind(module, slices.tensors | dict.fromkeys(without), "", training, own, {})


def rebind(copy: nn.Module, module: nn.Module, slices: Slices) -> None:
    """Hang other slices of the same architecture into a copy that `bind` made, in place."""
    _rebind(copy, module, slices.tensors, "", set())


def _rebind(
    copy: nn.Module, module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, done: set[int]
) -> None:
    if copy is module or id(copy) in done:
        return
    done.add(id(copy))
    parts = copy.__dict__
    parts["_parameters"] = _replaced(module._parameters, tensors, prefix)
    parts["_buffers"] = _replaced(module._buffers, tensors, prefix)
    _drop_caches(copy)
    for name, child in copy._modules.items():
        original = module._modules[name]
        if child is not None and original is not None:
            _rebind(child, original, tensors, f"{prefix}{name}.", done)


def _bind(
    module: nn.Module,
    tensors: Mapping[str, Tensor | None],
    prefix: str,
    training: bool | None,
    own: bool,
    memo: dict[int, nn.Module],
) -> nn.Module:
    if id(module) in memo:
        return memo[id(module)]
    if training is None and not own and not (module._modules or module._parameters or module._buffers):
        return module
    copy = memo[id(module)] = object.__new__(type(module))
    buffers = _replaced(module._buffers, tensors, prefix)
    gone = PRESENT in buffers and buffers[PRESENT] is not module._buffers[PRESENT]
    copy.__dict__ = module.__dict__ | {
        "_parameters": _replaced(module._parameters, tensors, prefix),
        "_buffers": buffers,
        # What a module that is left out holds will not be asked for.
        "_modules": module._modules
        if gone
        else {
            name: child and _bind(child, tensors, f"{prefix}{name}.", training, own, memo)
            for name, child in module._modules.items()
        },
    }
    if training is not None:
        copy.__dict__["training"] = training
    if own:
        copy.__dict__ |= {
            name: value.copy() for name, value in module.__dict__.items() if name.endswith("_hooks")
        }
    _drop_caches(copy)
    return copy


def _replaced(
    own: Mapping[str, Tensor | None], tensors: Mapping[str, Tensor | None], prefix: str
) -> dict[str, Tensor | None]:
    return {name: tensors.get(prefix + name, tensor) for name, tensor in own.items()}


def _drop_caches(module: nn.Module) -> None:
    """A plain dictionary that holds nothing but tensors is the copy's own and empty: they are of an architecture."""
    for name, value in module.__dict__.items():
        if type(value) is not dict or name in ("_parameters", "_buffers", "_modules"):
            continue
        if all(isinstance(entry, Tensor) for entry in value.values()):
            module.__dict__[name] = {}


def cut_out(largest: nn.Module, slices: Slices) -> nn.Module:
    """A plain module that owns copies of the slices: the original classes, no trace of the supernet."""
    return _cut_out(largest, slices, "", {})


def _cut_out(module: nn.Module, slices: Slices, prefix: str, memo: dict[int, nn.Module]) -> nn.Module:
    if id(module) in memo:
        return memo[id(module)]
    plain = getattr(module, "plain", type(module))
    copy: nn.Module = object.__new__(plain)
    memo[id(module)] = copy
    state: dict[str, Any] = {
        name: value.copy() if isinstance(value, dict | set | list) else value
        for name, value in module.__dict__.items()
    }
    children: dict[str, nn.Module | None] = {}
    for name, child in module._modules.items():
        if f"{prefix}{name}" not in slices.absent:
            children[name] = child and _cut_out(child, slices, f"{prefix}{name}.", memo)
        elif not (isinstance(module, nn.Sequential) or _only_walked(module, child)):
            children[name] = nn.Identity()
    if isinstance(module, nn.Sequential | nn.ModuleList):
        children = {
            str(i) if name.isdigit() else name: child for i, (name, child) in enumerate(children.items())
        }
    state["_modules"] = children
    state["_parameters"] = {
        name: value
        if value is None
        else nn.Parameter(_own(slices.tensors.get(prefix + name, value)), value.requires_grad)
        for name, value in module._parameters.items()
        if prefix + name not in slices.absent
    }
    state["_buffers"] = {
        name: value if value is None else _own(slices.tensors.get(prefix + name, value))
        for name, value in module._buffers.items()
        if name != PRESENT
    }
    state["_non_persistent_buffers_set"] = state["_non_persistent_buffers_set"] - {PRESENT}
    copy.__dict__ = state
    if isinstance(module, Variant):
        bound = _bind(module, slices.tensors, prefix, None, False, {})
        for attribute in module.readings:
            copy.__dict__[attribute] = getattr(bound, attribute)
        del copy.__dict__["readings"]
    _drop_caches(copy)
    _describe(copy)
    return copy


def _only_walked(module: nn.Module, child: nn.Module | None) -> bool:
    """Whether a block of a list is called with more than its input, which an identity would not take."""
    if not isinstance(module, nn.ModuleList) or child is None:
        return False
    plain = getattr(child, "plain", type(child))
    return len(signature(plain.forward).parameters) > 2


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _describe(module: nn.Module) -> None:
    """Set the sizes that PyTorch's own layers keep for printing only to what they now hold."""
    weight = module._parameters.get("weight")
    if weight is None:
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd) and not module.transposed:
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
        module.kernel_size = tuple(weight.shape[2:])
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = weight.shape[0]
