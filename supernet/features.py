"""What a network computes on its way to an answer: the outputs of some of its modules, caught as it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn


@contextmanager
def caught(network: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of some modules of whatever runs meanwhile, by path: those of the last call.

    Args:
        network: a plain one, or the largest of a supernet for its subnets; a module that a subnet leaves out has no
            output, and one whose output is no tensor neither.
        paths: of its modules.
    """
    found: dict[str, Tensor] = {}
    hooks = [network.get_submodule(path).register_forward_hook(partial(_keep, found, path)) for path in paths]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _keep(found: dict[str, Tensor], path: str, module: nn.Module, given: object, output: object) -> None:
    if isinstance(output, Tensor):
        found[path] = output
