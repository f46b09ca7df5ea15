"""A subnet cut out of the supernet: a plain network of the original classes that owns all it holds.

The tree comes first, with copies of the slices for tensors; then everything else that its modules
keep, in which whatever is of the supernet is replaced. At the end it is made sure that nothing is
shared.
"""

from __future__ import annotations

from collections import OrderedDict
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.attention import NarrowAttention
from supernet.elastic.notes import NOTES, notes
from supernet.elastic.references import PLAINEST, REGISTERED, Replacing, plain_attributes, reached, storages
from supernet.elastic.skeleton import GIVEN, Binding, Variant
from supernet.elastic.slicing import PRESENT, Slices
from supernet.errors import ConversionError

OURS = REGISTERED | {NOTES, GIVEN}
"""Attributes that are not copied: PyTorch's own tables, which are made anew, and what the engine notes."""
OURS_OF_VARIANTS = OURS | {"size_attributes", "passes"}


def cut_out(largest: nn.Module, slices: Slices) -> nn.Module:
    """A plain module that owns copies of the slices: the original classes, no trace of the supernet.

    Raises:
        ConversionError: when something that a module keeps can not be copied, or would still be shared.
    """
    return _Cutting(largest, slices).done()


def duplicate(network: nn.Module) -> nn.Module:
    """A copy that shares nothing: as `copy.deepcopy`, but closures and hooks lead into the copy too.

    Raises:
        ConversionError: when something that a module keeps can not be copied.
    """
    copy = cut_out(network, Slices({}, frozenset()))
    notes(copy)
    return copy


class _Cutting:
    """One cut: the tree first, then what its modules keep in plain attributes."""

    def __init__(self, largest: nn.Module, slices: Slices) -> None:
        self.largest, self.slices = largest, slices
        kept = notes(largest)
        self.binding = Binding(kept, slices.tensors, None, True)
        self.binding.copied(largest, "")
        self.caches = kept.caches
        self.known: dict[int, Any] = {}
        self.waiting: list[tuple[nn.Module, nn.Module, str]] = []
        self.replaced = Replacing(self.known, module=self._unregistered, tensor=self._alone, own=True)

    def done(self) -> nn.Module:
        """The cut-out network."""
        whole = self._module(self.largest, "")
        while self.waiting:
            module, copy, prefix = self.waiting.pop(0)
            self._attributes(module, copy, prefix)
            _describe(copy)
        _check_owned(whole, self.largest)
        return whole

    def _module(self, module: nn.Module, prefix: str) -> nn.Module:
        if id(module) in self.known:
            copy: nn.Module = self.known[id(module)]
            return copy
        copy = self.known[id(module)] = object.__new__(_plain(type(module)))
        self.waiting.append((module, copy, prefix))
        children: dict[str, nn.Module | None] = {}
        for name, child in module._modules.items():
            if child is None or f"{prefix}{name}" not in self.slices.absent:
                children[name] = child and self._module(child, f"{prefix}{name}.")
                continue
            self.known[id(child)] = nn.Identity()
            if not (isinstance(module, nn.Sequential) or _only_walked(module, child)):
                children[name] = self.known[id(child)]
        if isinstance(module, nn.Sequential | nn.ModuleList):
            children = {
                str(i) if name.isdigit() else name: child for i, (name, child) in enumerate(children.items())
            }
        own = {
            "_modules": children,
            "_parameters": {
                name: value if value is None else self._tensor(value, prefix + name)
                for name, value in module._parameters.items()
                if prefix + name not in self.slices.absent
            },
            "_buffers": {
                name: value if value is None else self._tensor(value, prefix + name)
                for name, value in module._buffers.items()
                if name != PRESENT
            },
        }
        # Not through nn.Module, which would look at every attribute.
        object.__setattr__(copy, "__dict__", own)
        return copy

    def _tensor(self, whole: Tensor, name: str) -> Tensor:
        """A tensor of the cut-out network; one and the same for those that are tied."""
        if id(whole) not in self.known:
            part = self.binding.tensors.get(name)
            own = _own(whole if part is None else part, whole)
            is_parameter = isinstance(whole, nn.Parameter)
            self.known[id(whole)] = nn.Parameter(own, whole.requires_grad) if is_parameter else own
        found: Tensor = self.known[id(whole)]
        return found

    def _attributes(self, module: nn.Module, copy: nn.Module, prefix: str) -> None:
        """Everything else a module keeps."""
        bound = self.binding.memo.get(id(module))
        follow, left_out = (
            (module.size_attributes.keys(), OURS_OF_VARIANTS) if isinstance(module, Variant) else ((), OURS)
        )
        caches = self.caches.get(prefix[:-1], {})
        own = copy.__dict__
        for name, value in module.__dict__.items():
            if name in left_out:
                continue
            if name in follow:
                value = getattr(bound, name)
            elif name in caches:
                value = {key: value[key] for key in caches[name] if key in value}
            # Most of what a module keeps is plain, or a table of hooks without an entry.
            if type(value) in PLAINEST:
                own[name] = value
            elif type(value) is OrderedDict and not value:
                own[name] = OrderedDict()
            else:
                own[name] = self.replaced.attribute(prefix + name, value)
        own["_non_persistent_buffers_set"] = own["_non_persistent_buffers_set"] - {PRESENT}

    def _unregistered(self, module: nn.Module) -> nn.Module:
        return self._module(module, "?.")

    def _alone(self, tensor: Tensor) -> Tensor:
        own = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(own, tensor.requires_grad)
        return own.requires_grad_(tensor.is_leaf and tensor.requires_grad)


def _plain(cls: type[nn.Module]) -> type[nn.Module]:
    """The original of a class that was swapped; asked of the class, since a module answers slowly for what it lacks."""
    found: type[nn.Module] = getattr(cls, "plain", cls)
    return found


def _check_owned(copy: nn.Module, original: nn.Module) -> None:
    """Make sure that no tensor and no module of one network is kept by the other."""
    clean: set[int] = set()
    modules = {id(module) for module in original.modules()}
    taken = storages((*original.parameters(), *original.buffers()))
    for module in copy.modules():
        everything: list[tuple[str, list[Any]]] = [
            *((name, [t]) for name, t in (*module._parameters.items(), *module._buffers.items())),
            *((name, reached(value, clean)) for name, value in plain_attributes(module)),
        ]
        for name, held in everything:
            if not held:
                continue
            shared = storages(t for t in held if isinstance(t, Tensor)).keys() & taken.keys()
            if shared or any(id(one) in modules for one in held):
                path = next(path for path, one in copy.named_modules() if one is module)
                raise ConversionError(
                    f"{f'{path}.{name}'.lstrip('.')!r} of the cut-out network would still be that of the supernet"
                )


def _only_walked(module: nn.Module, child: nn.Module | None) -> bool:
    """Whether a block of a list is called with more than its input, which an identity would not take."""
    if not isinstance(module, nn.ModuleList) or child is None:
        return False
    plain = _plain(type(child))
    return len(signature(plain.forward).parameters) > 2


def _own(part: Tensor, whole: Tensor) -> Tensor:
    """A slice with memory of its own, laid out as the whole is."""
    if part is whole:
        return part.detach().clone()
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(whole.dim(), torch.contiguous_format)
    if whole.is_contiguous() or not whole.is_contiguous(memory_format=layout):
        layout = torch.contiguous_format
    return part.detach().clone(memory_format=layout)


def _describe(module: nn.Module) -> None:
    """Set the sizes that PyTorch's own layers keep for printing only to what they now hold."""
    if type(module) is NarrowAttention and module.fits:
        module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]
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
