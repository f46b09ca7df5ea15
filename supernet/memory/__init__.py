"""Execution modes: what a network keeps of its forward pass, and what it computes again for the backward pass.

A mode changes how one module of a bound copy of the network runs (`supernet.elastic.skeleton`), and nothing else:
parameters, ``state_dict`` and, where the mode is exact, every gradient are those of the plain network. Modes are chosen
when a subnet is bound, ``supernet.subnet(arch, execution={"blocks.2": "checkpoint"})``.

`modes`       the registry, and how a choice of modes is checked and installed
`pieces`      the parts of a module that a mode treats one by one, such as the blocks of a stage
`checkpoint`  keeps the inputs of blocks, and runs each block again
`fused`       keeps what convolutions and products of matrices answer, and makes the rest again
`reversible`  keeps what comes out of each stage of streams, see `supernet.reversible`
`recipes`     how a tensor is computed again, from what, and when it is held
`cheap`       which calls are cheap enough for that
`measuring`   what a step holds at most, and what each piece costs in each mode
`auto`        the fastest choice of modes within a number of bytes
`sizes`       sizes of memory as people write them: ``2GiB``

Approximate modes, whose answers are exact and whose gradients are not (docs/memory_light.md):

`inside`         a module that runs inside a context, and functions of PyTorch that are others in there
`steps`          pointwise functions whose derivative is a few steps
`int8`           saved activations in eight bits
`few_bit`        pointwise activations keep three bits of every entry
`relu_backward`  GELU and SiLU go back as a sum of ReLUs: two bits
`shift_only`     norms learn their shift only; Hardswish and ReLU6 keep one bit
`approximation`  how far their gradients are off
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
