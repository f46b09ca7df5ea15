"""Weights from a file: read without running anything, fitted to a network by name or by order, or refused.

A head for other classes starts fresh. A stem for another number of channels is adapted so that it answers to a
grey image as the file's stem does: to one channel by the sum over the colours, from one by sharing it out. Anything
else that does not fit is an error, and no tensor of the network has changed then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from supernet.errors import WeightsError
from supernet.options import WeightsBy

SHOWN = 4
NEIGHBOURS = 8
"""Models of a similar name that are tried when weights do not fit."""


@dataclass(frozen=True)
class Fitted:
    """Which weights a network began with; plain values, kept with the supernet.

    Args:
        file: its name, without where it lies.
        sha256: of its bytes.
        by: how its tensors were assigned: ``name`` or ``order``.
        tensors: that came from it.
        fresh: tensors of a head that was made anew.
        adapted: the weight of a stem that takes another number of channels.
    """

    file: str
    sha256: str
    by: str
    tensors: int
    fresh: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        fresh = f"; made anew: {', '.join(self.fresh)}" if self.fresh else ""
        adapted = f"; adapted to the channels: {', '.join(self.adapted)}" if self.adapted else ""
        return (
            f"{self.tensors} tensors of {self.file} by {self.by} (sha256 {self.sha256[:12]}){fresh}{adapted}"
        )


def load_weights(
    network: nn.Module,
    path: Path | str,
    *,
    by: WeightsBy = "name",
    channels: int | None = None,
    leave: Iterable[str] = (),
    model: str = "",
) -> Fitted:
    """Give a network the weights in a file.

    Args:
        network: changed in place, or not at all.
        path: a safetensors file, or what ``torch.save(network.state_dict())`` wrote; never unpickled.
        by: ``name`` wants equal names, but for a leading ``module.``; ``order`` the order of both state_dicts.
        channels: of the images, when these may be other than the file's.
        leave: tensors of the network that no file holds.
        model: name of the network, for messages and to look for others that would fit.

    Raises:
        WeightsError: for a file that is missing, damaged, no table of tensors or holds what is no number, and for
            tensors that do not fit; the message names the first of them and what would fit.
    """
    path = Path(path).expanduser()
    tensors = read_tensors(path)
    found = match(network, tensors, by, channels, leave)
    if found.faults:
        raise WeightsError(_misfit(path, network, tensors, by, channels, leave, model, found.faults))
    ours = network.state_dict()
    with torch.no_grad():
        for name, value in found.values.items():
            ours[name].copy_(value)
    return Fitted(path.name, sha256_of(path), by, len(found.values), found.fresh, found.adapted)


def clear(network: nn.Module, head: Iterable[str]) -> None:
    """A head that was made anew begins with zeros: all classes are equally likely, whatever it is shown.

    What it says at random instead tears at the weights before it: with timm's initial head an EfficientNet-Lite0
    reached 34 % in its first epoch on 5,000 CIFAR images, with zeros 57 %.

    Args:
        network: changed in place.
        head: names of tensors; a head of several layers is left as it was made, for zeros would never learn.
    """
    names = list(head)
    if len({name.rpartition(".")[0] for name in names}) == 1:
        tensors = network.state_dict()
        with torch.no_grad():
            for name in names:
                tensors[name].zero_()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file by name, on the CPU and in its order, a common ``module.`` removed.

    Raises:
        WeightsError: see `load_weights`.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}; give a .safetensors file or a state_dict (.pth, .pt)")
    found = _loaded(path)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(
            f"{path} holds no table of tensors but {_kind(found)}; "
            f"save what network.state_dict() returns, with torch.save or safetensors"
        )
    for name, value in found.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsError(f"{path} holds values that are no numbers, in {name!r}; take an earlier one")
    prefix = "module." if all(name.startswith("module.") for name in found) else ""
    return {name.removeprefix(prefix): value for name, value in found.items()}


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} can not be read as safetensors: {error}; fetch it again") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is damaged, or no such file, may raise anything
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise WeightsError(
            f"{path} can not be read as tensors alone ({reason or type(error).__name__}); nothing in it is run: "
            f"where you trust it, save its tensors as safetensors and give that file"
        ) from error


def _kind(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a table of {', '.join(map(repr, list(found)[:SHOWN])) or 'nothing'}"
    return f"a {type(found).__name__}"


@dataclass
class Match:
    """What goes where.

    Args:
        values: for the tensors of the network, by name, in its shapes.
        fresh: of a head that stays as it was made.
        adapted: of a stem.
        faults: what does not fit, in words; empty when all does.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def match(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    by: WeightsBy,
    channels: int | None = None,
    leave: Iterable[str] = (),
) -> Match:
    """Which tensor of a file is for which tensor of a network; nothing is changed.

    Args:
        network: may lie on the meta device: only its shapes are looked at.
        tensors: of the file, in its order.
        by: see `load_weights`; ``channels`` and ``leave`` likewise.
    """
    left = set(leave)
    ours = {name: value for name, value in network.state_dict().items() if name not in left}
    head, found = head_of(network), Match()
    for name, their_name in _pairs(ours, tensors, by):
        _assign(found, head, name, ours.get(name), their_name, tensors.get(their_name), channels)
    if found.fresh:  # a head is one thing: no bias of other classes beside a fresh weight
        found.fresh = [name for name in ours if name in head]
        found.values = {name: value for name, value in found.values.items() if name not in head}
    return found


def _pairs(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], by: WeightsBy) -> list[tuple[str, str]]:
    """Names of tensors that belong together; an empty one where there is no partner.

    Counters (``num_batches_tracked``) need none: older files lack them, and no answer depends on them.
    """
    if by == "name":
        shared = [(name, name) for name in ours if name in theirs]
        alone = [(name, "") for name in _uncounted(ours) if name not in theirs]
        return shared + alone + [("", name) for name in _uncounted(theirs) if name not in ours]
    return list(zip_longest(_uncounted(ours), _uncounted(theirs), fillvalue=""))


def _uncounted(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of all but the counters, in their order."""
    return [name for name, value in tensors.items() if value.dim() or value.is_floating_point()]


def _assign(
    found: Match,
    head: frozenset[str],
    name: str,
    our: Tensor | None,
    their_name: str,
    their: Tensor | None,
    channels: int | None,
) -> None:
    """Note what becomes of one tensor of the network, or of one that has no place in it."""
    if our is None:
        found.faults.append(f"{their_name!r} {_shape(their)} of the file has no place")
    elif their is not None and our.shape == their.shape:
        found.values[name] = their
    elif name in head and (their is None or our.shape[1:] == their.shape[1:]):
        found.fresh.append(name)
    elif their is None:
        found.faults.append(f"{name!r} {_shape(our)} is not in the file")
    elif _is_stem(our, their, channels):
        takes = our.shape[1]
        found.values[name] = their.sum(1, keepdim=True) if takes == 1 else their.expand_as(our) / takes
        found.adapted.append(name)
    else:
        theirs = "" if their_name == name else f" {their_name!r}"
        found.faults.append(f"{name!r} is {_shape(our)} and the file's{theirs} {_shape(their)}")


def _is_stem(our: Tensor, their: Tensor, channels: int | None) -> bool:
    """Whether a convolution takes the images, grey in the one and in colour in the other."""
    if our.dim() != 4 or their.dim() != 4 or our.shape[1] != channels:
        return False
    without = our.shape[0] == their.shape[0] and our.shape[2:] == their.shape[2:]
    return without and 1 in (our.shape[1], their.shape[1])


def _shape(tensor: Tensor | None) -> str:
    return str(() if tensor is None else tuple(tensor.shape))


def head_of(network: nn.Module) -> frozenset[str]:
    """Names of the tensors that turn features into scores: of timm's classifier, else of the last layer."""
    get = getattr(network, "get_classifier", None)
    if get is None:
        owner = next(reversed(network.state_dict()), "").rpartition(".")[0]
        heads: tuple[Any, ...] = (network.get_submodule(owner),)
    else:
        given = get()
        heads = tuple(given) if isinstance(given, tuple | list) else (given,)
    return frozenset(
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        if any(module is head for head in heads)
        for name in module.state_dict()
    )


def _misfit(
    path: Path,
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    by: WeightsBy,
    channels: int | None,
    leave: Iterable[str],
    model: str,
    faults: list[str],
) -> str:
    """What does not fit, and what would."""
    first = "; ".join(faults[:SHOWN])
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    other: WeightsBy = "order" if by == "name" else "name"
    if not match(network, tensors, other, channels, leave).faults:
        advice = f"by {other} all of it fits: supernet.weights_by={other}"
    else:
        near = _neighbours(model, tensors, channels)
        advice = f"it fits {', '.join(near)}" if near else f"no model of a name like {model!r} takes it"
    return (
        f"the {len(tensors)} tensors of {path} do not fit {model or type(network).__name__} by {by}: "
        f"{first}{more}; {advice}"
    )


def _neighbours(model: str, tensors: Mapping[str, Tensor], channels: int | None) -> list[str]:
    """The timm models of a similar name that take the tensors, with how when that is not by name."""
    import timm

    found = []
    for name in get_close_matches(model, timm.list_models(), n=NEIGHBOURS):
        with torch.device("meta"):
            network = timm.create_model(name, in_chans=channels or 3)
        ways: tuple[WeightsBy, ...] = ("name", "order")
        fits = [way for way in ways if not match(network, tensors, way, channels).faults]
        if fits:
            found.append(name if fits[0] == "name" else f"{name} (supernet.weights_by=order)")
    return found


def sha256_of(path: Path) -> str:
    """Of the bytes of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
