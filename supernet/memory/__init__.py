"""Execution modes: what a network keeps of its forward pass, and what it computes again for the backward pass.

A mode changes how one module of a bound copy of the network runs (`supernet.elastic.skeleton`), and nothing else:
parameters, ``state_dict`` and, where the mode is exact, every gradient are those of the plain network. Modes are chosen
when a subnet is bound, ``supernet.subnet(arch, execution={"blocks.2": "checkpoint"})``.

`modes`       the registry, and how a choice of modes is checked and installed
`pieces`      the parts of a module that a mode treats one by one, such as the blocks of a stage
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.memory.modes import Execution as Execution, Mode as Mode, modes as modes

_MODULES = {
    "modes": "supernet.memory.modes",
    "Mode": "supernet.memory.modes",
    "Execution": "supernet.memory.modes",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
