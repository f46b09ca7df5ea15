"""Dictionaries that a network fills as it runs: a cache may be emptied, state may not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.cutting import duplicate
from supernet.elastic.inputs import Inputs
from supernet.elastic.notes import NOTES, filled_dictionaries
from supernet.elastic.trial import Failed, answered
from supernet.errors import ConversionError

log = logging.getLogger(__name__)

Contents = dict[str, dict[Any, Tensor]]
"""By the path of a dictionary, its entries."""


def empty_caches(network: nn.Module, inputs: Inputs) -> None:
    """Empty the dictionaries that a network fills again by itself.

    What was cached before a network is made elastic was computed from whole weights, and would be
    read by subnets that have less of them.

    Raises:
        ConversionError: when the answer depends on what earlier runs left in a dictionary.
    """
    names = _used(network, inputs)
    if not names:
        return
    for training in (False, True):
        twice = _answers(network, inputs, training, _leave)
        restored = _answers(network, inputs, training, _put)
        if twice is not None and restored is not None and not _same(twice, restored):
            raise ConversionError(
                f"the network remembers something from run to run in {', '.join(map(repr, names))}, a plain "
                f"dictionary that subnets can not share; keep it in a buffer: self.register_buffer(...)"
            )
    usual = _answers(network, inputs, False, _leave)
    for some in (names, *((name,) for name in names)):
        if not any(_dictionaries(network).values()):
            return
        emptied = _answers(network, inputs, False, lambda copy, before, some=some: _empty(copy, some))  # type: ignore[misc]
        if usual is not None and emptied is not None and _same(emptied, usual):
            _empty(network, some)
            network.__dict__.pop(NOTES, None)


def _used(network: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """The dictionaries that hold something, now or after a run."""
    found = [name for name, held in _dictionaries(network).items() if held]
    for training in (False, True) if _dictionaries(network) else ():
        copy = duplicate(network).train(training)
        with suppress(Failed):
            answered(copy, inputs)
        found += [name for name, held in _dictionaries(copy).items() if held]
    return tuple(dict.fromkeys(found))


def _leave(network: nn.Module, contents: Contents) -> None:
    """Change nothing between two runs."""


def _empty(network: nn.Module, names: Sequence[str]) -> None:
    for name, held in _dictionaries(network).items():
        if name in names:
            held.clear()


def _dictionaries(network: nn.Module) -> dict[str, dict[Any, Tensor]]:
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in network.named_modules()
        for name, value in filled_dictionaries(module)
    }


def _put(network: nn.Module, contents: Contents) -> None:
    """Give the dictionaries these entries, and no others."""
    for name, held in _dictionaries(network).items():
        held.clear()
        held.update(contents[name])


def _answers(
    network: nn.Module, inputs: Inputs, training: bool, between: Callable[[nn.Module, Contents], None]
) -> list[Tensor] | None:
    """What a copy answers to the second of two runs; None when it does not run.

    Args:
        between: gets the copy and what its dictionaries held at first.
    """
    copy = duplicate(network).train(training)
    before = {name: dict(held) for name, held in _dictionaries(copy).items()}
    said: list[Tensor] = []
    for first in (True, False):
        try:
            said = answered(copy, inputs)
        except Failed as error:
            log.debug("no answer with other entries in its dictionaries: %s", error)
            return None
        if first:
            between(copy, before)
    return said


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b))
