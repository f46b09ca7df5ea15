"""A module tree that holds other tensors: how a subnet runs inside the supernet.

`bind` copies the tree of module objects, not their tensors, and hangs the slices in. The copy is
made for one call and thrown away, so nothing is remembered, two threads can run two architectures
of one supernet, and a checkpoint that recomputes later still finds its own slices. What the network
itself wants to remember, a counter or a running mean that its code assigns, `carry_state` brings back.

A few modules keep an integer that a slice would contradict: the groups of a depth-wise
convolution, the padding of a cropped kernel, the number of heads. `make_elastic` swaps their class
once for a variant that reads the integer off a tensor's shape; a module that can be left out gets a
variant that hands its input on. `supernet.elastic.cutting` puts the original classes and plain
integers back.
"""

from __future__ import annotations

import copyreg
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from supernet.elastic.attention import NarrowAttention, narrowed
from supernet.elastic.notes import Notes, notes
from supernet.elastic.plan import Plan, SizeAttribute
from supernet.elastic.references import Replacing
from supernet.elastic.slicing import PRESENT, Slices

GIVEN = "_supernet_given"
"""Name of the attribute of a bound network that holds what its modules were given of their state."""
PLACES = "_supernet_places"
"""Name of the attribute of a bound network that says where its tensors lie."""
Place = tuple[dict[str, Any], dict[str, Any], tuple[tuple[str, str], ...]]
"""A dictionary of tensors of a copy, that of the original, and the keys with their whole names."""
HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
)
"""Names of the attributes where a module keeps the hooks of its calls."""


@dataclass
class Given:
    """The state of one module of a copy when it began to run.

    Args:
        module: of the copy.
        original: what it is a copy of.
        values: of its attributes and buffers, by name.
        own: attributes that were set on the copy between two runs, and are its own since.
    """

    module: nn.Module
    original: nn.Module
    values: dict[str, Any]
    own: frozenset[str] = frozenset()


class Skippable:
    """Mixed into the class of a module that can be left out: without it, inputs pass on.

    Its first one, or a tuple of those that ``passes`` names by position or keyword.
    """

    present: Tensor
    passes: tuple[int | str | None, ...] | None = None

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The module's answer, or what is passed on where it is left out."""
        if self.present.shape[0] == 0:
            given: dict[Any, Any] = {None: None, **kwargs, **dict(enumerate((x, *args)))}
            return x if self.passes is None else tuple(given[name] for name in self.passes)
        return super().forward(x, *args, **kwargs)  # type: ignore[misc]

    def train(self: Any, mode: bool = True) -> Any:
        """Set the mode; where the module is left out, what it holds is the shared network's and stays as it is."""
        if self.present.shape[0] == 0:
            self.training = mode
            return self
        return super().train(mode)  # type: ignore[misc]


class Variant:
    """Mixed into every swapped class; remembers nothing but which class was swapped."""

    plain: type[nn.Module]
    attributes: tuple[str, ...]
    skippable: bool
    size_attributes: dict[str, tuple[Any, tuple[SizeAttribute, ...]]]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class was made while the program ran: another process has to make it first.
        make, args, *state = cast(tuple[Any, ...], super().__reduce_ex__(protocol))
        if make is copyreg.__newobj__:  # type: ignore[attr-defined]
            make, args = _revived, (self.plain, self.attributes, self.skippable)
        return make, args, *state


def _revived(plain: type[nn.Module], attributes: tuple[str, ...], skippable: bool) -> nn.Module:
    return object.__new__(_variant(plain, attributes, skippable))  # type: ignore[arg-type]


def _reader(attribute: str) -> property:
    def read(self: Any) -> Any:
        """The integer as the slices in the module have it."""
        # Not from __dict__: the compiler of PyTorch 2.11 looks there and finds this property again.
        stored, size_attributes = self.size_attributes[attribute]
        for size_attribute in size_attributes:
            owner = self
            *path, name = size_attribute.tensor.split(".")
            for step in path:
                owner = getattr(owner, step)
            now = size_attribute.at(getattr(owner, name).shape[size_attribute.axis])
            if isinstance(self, NarrowAttention) and isinstance(now, int):
                # PyTorch compares it only to pick a faster way to the same answer: no size to watch.
                now = int(now)
            stored = (
                now
                if size_attribute.index is None
                else (*stored[: size_attribute.index], now, *stored[size_attribute.index + 1 :])
            )
        return stored

    return property(read)


@cache
def _variant(plain: type[nn.Module], attributes: tuple[str, ...], skippable: bool) -> type[nn.Module]:
    bases = (Variant, *((Skippable,) if skippable else ()), plain)
    body: dict[str, Any] = {name: _reader(name) for name in attributes}
    body |= {"plain": plain, "attributes": attributes, "skippable": skippable, "__module__": plain.__module__}
    return type(f"Elastic{plain.__name__}", bases, body)


def make_elastic(largest: nn.Module, plan: Plan) -> nn.Module:
    """Swap, in place, the classes of the modules whose integers or presence follow the architecture."""
    notes(largest)
    size_attributes: defaultdict[str, defaultdict[str, list[SizeAttribute]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for size_attribute in plan.size_attributes:
        size_attributes[size_attribute.module][size_attribute.attribute].append(size_attribute)
    for path in size_attributes.keys() | plan.switches.keys():
        module = largest.get_submodule(path)
        if path in plan.switches and PRESENT not in module._buffers:
            module.register_buffer(PRESENT, torch.ones(1), persistent=False)
        if plan.passes.get(path) is not None:
            module.passes = plan.passes[path]  # type: ignore[assignment]
        attributes = tuple(sorted(size_attributes[path]))
        module.size_attributes = {  # type: ignore[assignment]
            name: (module.__dict__[name], tuple(size_attributes[path][name])) for name in attributes
        }
        plain = narrowed(type(module))
        module.__class__ = _variant(plain, attributes, path in plan.switches)  # type: ignore[arg-type]
    return largest


def bind(
    module: nn.Module,
    slices: Slices,
    *,
    without: frozenset[str] = frozenset(),
    training: bool | None = None,
    own: bool = False,
    brief: bool = False,
) -> nn.Module:
    """A copy of the module tree that holds the slices; everything else is shared with the original.

    Args:
        slices: what the copy holds instead of the original's tensors.
        without: names of parameters and buffers that are None in the copy.
        training: mode of the copy; None keeps the original's, module by module.
        own: whether modules without tensors are copied too, for a copy that lives longer than a call.
        brief: whether modules that hold no slice are shared as well, for a copy that is only called, and once.
    """
    binding = Binding(notes(module), slices.tensors, training, own)
    binding.tensors |= dict.fromkeys(without)
    if brief and binding.kept.is_plain:
        binding.share()
    copy = binding.copied(module, "")
    binding.settle(copy, module)
    return copy


def rebind(copy: nn.Module, module: nn.Module, slices: Slices) -> None:
    """Hang other slices of the same architecture into a copy that `bind` made, in place.

    Args:
        copy: made with ``own``.
        module: what it is a copy of.
        slices: what it is to hold.
    """
    binding = Binding(notes(module), slices.tensors, None, True)
    binding.memo, places = copy.__dict__.get(PLACES) or _places(copy, module)
    tensors = binding.tensors
    for ours, theirs, names in places:
        for key, name in names:
            ours[key] = tensors.get(name, theirs[key])
    binding.settle(copy, module, again=True)


def _places(copy: nn.Module, module: nn.Module) -> tuple[dict[int, nn.Module], list[Place]]:
    """Where the tensors of a copy lie beside those of the original, found once."""
    memo: dict[int, nn.Module] = {}
    places: list[Place] = []

    def walk(copy: nn.Module, module: nn.Module, prefix: str) -> None:
        """One module, and those below it."""
        if copy is module or id(module) in memo:
            return
        memo[id(module)] = copy
        for ours, theirs in ((copy._parameters, module._parameters), (copy._buffers, module._buffers)):
            if ours:
                places.append((ours, theirs, tuple((key, prefix + key) for key in ours)))
        for name, child in copy._modules.items():
            if child is not None and (original := module._modules[name]) is not None:
                walk(child, original, f"{prefix}{name}.")

    walk(copy, module, "")
    found = copy.__dict__[PLACES] = memo, places
    return found


def carry_state(copy: nn.Module, put: Callable[[str, Tensor, Tensor], Tensor]) -> None:
    """Assign in the original what the methods of a bound copy assigned to attributes and buffers.

    Args:
        copy: what `bind` made, after it ran.
        put: gets the name of a buffer that was cut, the whole one and the new value of the slice, and
            returns the new whole.
    """
    for path, given in copy.__dict__.get(GIVEN, {}).items():
        module, original = given.module, given.original
        for name, old in given.values.items():
            kept = module._buffers if name in module._buffers else module.__dict__
            new = kept.get(name, old)
            if new is old:
                continue
            given.values[name] = new
            if name in given.own:
                continue
            if kept is not module._buffers:
                original.__dict__[name] = new
                continue
            whole = original._buffers[name]
            whole_is_used = old is None or old is whole
            original._buffers[name] = new if whole_is_used else put(f"{path}.{name}".lstrip("."), whole, new)


class Binding:
    """One walk that makes, or fills anew, a copy of a module tree.

    Args:
        kept: of the tree.
        tensors: what the copy holds under some names.
        training: mode of the copy; None for the original's.
        own: whether every module is copied.
    """

    def __init__(
        self, kept: Notes, tensors: Mapping[str, Tensor | None], training: bool | None, own: bool
    ) -> None:
        self.kept, self.training, self.own = kept, training, own
        tied = {name: tensors[first] for name, first in kept.ties.items() if first in tensors}
        self.tensors: dict[str, Tensor | None] = {**tensors, **tied}
        self.memo: dict[int, nn.Module] = {}
        self.touched: set[str] | None = None
        """Prefixes of the modules that have to be copied; None for all."""

    def share(self) -> None:
        """Leave modules as they are in which nothing is another one."""
        kept = (*self.kept.links, *self.kept.state, *self.kept.caches)
        self.touched = {""}
        for name in (*self.tensors, *(f"{path}." for path in kept)):
            while (at := name.rfind(".")) >= 0 and name[: at + 1] not in self.touched:
                self.touched.add(name[: at + 1])
                name = name[:at]

    def copied(self, module: nn.Module, prefix: str) -> nn.Module:
        """A copy of a module and of those below it."""
        if id(module) in self.memo:
            return self.memo[id(module)]
        if self.touched is not None and prefix not in self.touched:
            return module
        plain = self.training is None and not self.own and prefix[:-1] not in self.kept.links
        if plain and not (module._modules or module._parameters or module._buffers):
            return module
        copy = self.memo[id(module)] = object.__new__(type(module))
        buffers = self._replaced(module._buffers, prefix)
        gone = PRESENT in buffers and buffers[PRESENT] is not module._buffers[PRESENT]
        own = module.__dict__ | {
            "_parameters": self._replaced(module._parameters, prefix),
            "_buffers": buffers,
            # What a module that is left out holds will not be asked for.
            "_modules": module._modules
            if gone
            else {
                name: child and self.copied(child, f"{prefix}{name}.")
                for name, child in module._modules.items()
            },
        }
        if self.training is not None:
            own["training"] = self.training
        # Some networks register hooks as they run: on the copy, which is thrown away with them.
        for name in HOOKS:
            if (hooks := own.get(name)) is not None:
                own[name] = hooks.copy() if hooks else type(hooks)()
        # Not through nn.Module, which would look at every attribute.
        object.__setattr__(copy, "__dict__", own)
        return copy

    def settle(self, copy: nn.Module, module: nn.Module, again: bool = False) -> None:
        """Links lead into the copy, caches are as they were from the start, state is the original's.

        Args:
            again: whether the copy was made before; hooks, and what was set on it since, stay.
        """
        for path, attributes in self.kept.caches.items():
            if one := self._copy_of(module, path):
                given = module.get_submodule(path).__dict__
                for name, keys in attributes.items():
                    one.__dict__[name] = {key: given[name][key] for key in keys if key in given[name]}
        if self.kept.links:
            self._link(module, again)
        if self.kept.state:
            copy.__dict__[GIVEN] = self._state(module, copy.__dict__[GIVEN] if again else {})

    def _replaced(self, own: Mapping[str, Tensor | None], prefix: str) -> dict[str, Tensor | None]:
        return {name: self.tensors.get(prefix + name, tensor) for name, tensor in own.items()}

    def _copy_of(self, module: nn.Module, path: str) -> nn.Module | None:
        """The copy of the module at a path; None when it is shared, or inside one that is left out."""
        return self.memo.get(id(module.get_submodule(path)))

    def _link(self, module: nn.Module, again: bool) -> None:
        known: dict[int, Any] = dict(self.memo)
        for named in (module.named_parameters, module.named_buffers):
            known |= {
                id(tensor): self.tensors[name]
                for name, tensor in named(remove_duplicate=False)
                if name in self.tensors
            }
        replaced = Replacing(known, module=self._unregistered, tensor=lambda tensor: tensor, own=False)
        for path, attributes in self.kept.links.items():
            if one := self._copy_of(module, path):
                original = module.get_submodule(path).__dict__
                for name in attributes:
                    if not (again and name.endswith("_hooks")):
                        one.__dict__[name] = replaced.attribute(f"{path}.{name}".lstrip("."), original[name])

    def _unregistered(self, module: nn.Module) -> nn.Module:
        """A copy of a module that is only kept in a plain attribute, and holds some of the tree itself."""
        return Binding(Notes({}, {}, {}, {}), {}, self.training, self.own).copied(module, "")

    def _state(self, module: nn.Module, before: dict[str, Given]) -> dict[str, Given]:
        """What the modules hold of their state, with those they are copies of, by path."""
        out: dict[str, Given] = {}
        for path, names in self.kept.state.items():
            if not (one := self._copy_of(module, path)):
                continue
            given = out[path] = Given(one, module.get_submodule(path), {})
            held, links = given.original.__dict__, self.kept.links.get(path, ())
            if path in before:
                old = before[path].values
                given.own = before[path].own | {n for n in old if one.__dict__.get(n, old[n]) is not old[n]}
            for name in names:
                if name in one._buffers:
                    given.values[name] = one._buffers[name]
                elif name in held and name not in links:
                    if name not in given.own:
                        one.__dict__[name] = held[name]
                    given.values[name] = one.__dict__[name]
        return out
