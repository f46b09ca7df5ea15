"""A pretrained transformer made reversible by adapters: they learn, its own weights do not, and it begins as it was.

Two streams begin as the same tokens. In turn, each becomes what the next block makes of the other, and keeps a small
share of what it was: ``x' = share * x + (block(y) + adapter(y) - share * y)``. The adapters begin at zero, and streams
that follow each other differ by what one block changed: the start is off by that times the share. Undoing a step
divides by the share, which would multiply every rounding error by as much, block after block. So streams are whole
numbers, the share is ``2**-bits``, and the bits that are shifted out of a stream are kept: what comes back is what was,
to the last bit, and all that a block adds to memory is these bits of every entry, where plain autograd keeps more than
fifteen numbers.

Source: Liao et al., "Make Pre-trained Model Reversible: From Parameter to Memory Efficient Fine-Tuning" (MEFT),
arXiv:2306.00477. There the share is about 0.1 and of the stream itself, so that it begins near the pretrained network
and not as it, and no bits are kept, so that errors grow tenfold from block to block. Here ``bits=0`` keeps nothing for
a block; the share is then one, and the network begins as another. To begin as the pretrained network and keep nothing
can not be had together: the two streams after a block would have to tell the three that went before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.options import within
from supernet.reversible.arithmetic import REDUCED, FixedPoint
from supernet.reversible.coupling import Coupling
from supernet.reversible.inverting import Pass
from supernet.reversible.stage import ReversibleStage, draws
from supernet.seeds import generator

MOST_BITS = 16
STD = 0.02
"""Of the weights that an adapter narrows with, as in the paper."""


class Adapter(nn.Module):
    """A narrow residual branch that begins at zero.

    Args:
        width: of the tokens.
        rank: of the branch.
        chance: of its first weights.
    """

    def __init__(self, width: int, rank: int, chance: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.down, self.act, self.up = nn.Linear(width, rank), nn.GELU(), nn.Linear(rank, width)
        nn.init.normal_(self.down.weight, std=STD, generator=chance)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to tokens ``(batch, tokens, width)``."""
        found: Tensor = self.up(self.act(self.down(self.norm(x))))
        return found


class AdaptedBlock(nn.Module):
    """A pretrained block and its adapter, less the share that the stream it is added to keeps.

    Args:
        block: answers in the shape of its input.
        adapter: beside it.
        share: that is kept.
    """

    def __init__(self, block: nn.Module, adapter: nn.Module, share: float) -> None:
        super().__init__()
        self.block, self.adapter, self.share = block, adapter, share

    def forward(self, x: Tensor) -> Tensor:
        """What the other stream gains from tokens ``(batch, tokens, width)``."""
        found: Tensor = self.block(x) + self.adapter(x) - self.share * x
        return found


@dataclass(frozen=True)
class Remainders(FixedPoint):
    """Whole-number streams of which a step keeps ``2**-bits``: the bits that are shifted out wait until it is undone.

    Args:
        bits: 0 to 16.
    """

    bits: int = MOST_BITS
    kept: list[Tensor] = field(default_factory=list)

    def add(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """The stream shifted, and the rounded output."""
        if self.bits:
            kind = torch.uint8 if self.bits <= 8 else torch.int16
            self.kept.append((stream & self._mask).to(kind))
        return (stream >> self.bits) + self.held(out)

    def undo(self, stream: Tensor, factor: Any, out: Tensor) -> Tensor:
        """Exactly what `add` was given; steps are undone in the opposite order."""
        shifted = (stream - self.held(out)) << self.bits
        return shifted | (self.kept.pop().to(stream.dtype) & self._mask) if self.bits else shifted

    @property
    def _mask(self) -> int:
        return (1 << self.bits) - 1


class AdaptedStage(ReversibleStage):
    """Blocks that change two streams by turns.

    Args:
        couplings: one for each block.
        bits: that are kept of every entry for each of them.
    """

    def __init__(self, couplings: Sequence[Coupling], bits: int) -> None:
        super().__init__(couplings)
        self.bits, self.memory_free = bits, True

    def forward(self, *streams: Tensor, extra: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The streams after the stage; where gradients are recorded and it is memory-free, by whole numbers."""
        if not (self.memory_free and torch.is_grad_enabled()):
            return super().forward(*streams, extra=extra)
        kind = streams[0].dtype
        inner = kind if kind in REDUCED and not torch.is_autocast_enabled(streams[0].device.type) else None
        wide = tuple(x.float() if x.dtype in REDUCED else x for x in streams)
        couplings = [coupling for coupling in self.couplings if isinstance(coupling, Coupling)]
        return Pass(couplings, Remainders(wide[0].dtype, self.bits), inner, False, extra)(wide)


class AdaptedBlocks(nn.Module):
    """A row of pretrained blocks with adapters, called as the row was.

    Args:
        blocks: each answers in the shape of its input.
        adapters: one for each.
        bits: as in `reversible_adapters`.
    """

    def __init__(self, blocks: Sequence[nn.Module], adapters: Sequence[nn.Module], bits: int) -> None:
        super().__init__()
        share = 2.0**-bits
        couplings = [
            Coupling(AdaptedBlock(block, adapter, share), i % 2, [1 - i % 2], share, f"block {i}")
            for i, (block, adapter) in enumerate(zip(blocks, adapters))
        ]
        self.stage = AdaptedStage(couplings, bits)
        self.newest = (len(couplings) - 1) % 2

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(batch, tokens, width)`` after all blocks."""
        found: Tensor = self.stage(x, x)[self.newest]
        return found.to(x.dtype)


def reversible_adapters(model: nn.Module, rank: int = 16, bits: int = MOST_BITS, seed: int = 0) -> nn.Module:
    """Make a pretrained vision transformer reversible, and let adapters and its head learn, nothing else.

    Args:
        model: one of timm's `VisionTransformer` kind, with a row of ``blocks`` of one width; changed in place.
        rank: width of the adapters.
        bits: of every entry that are kept for each block: the share that streams keep is ``2**-bits``, and what the
            network begins with is off by about as much. 0 keeps nothing and begins as another network.
        seed: of the first weights of the adapters.

    Returns:
        The same network; its blocks are below ``blocks.stage`` now.

    Raises:
        SpaceError: for a network without such a row, and for blocks that draw random numbers.
        ConfigError: for bits beyond 0 to 16, or a rank below 1.
    """
    within("bits", bits, 0, MOST_BITS)
    within("rank", rank, 1)
    blocks, width = getattr(model, "blocks", None), getattr(model, "embed_dim", None)
    if not isinstance(blocks, nn.Sequential) or not len(blocks) or not isinstance(width, int):
        raise SpaceError(
            f"{type(model).__name__} has no row of blocks of one width; adapters make timm's vision transformers "
            f"reversible (vit_*, deit_*), whose tokens keep their shape from the first block to the last"
        )
    for i, block in enumerate(blocks):
        if drawing := [path for path, module in block.named_modules() if draws(module)]:
            raise SpaceError(
                f"block {i} draws random numbers ({drawing[0]}), and whole-number streams need the same answer twice; "
                f"make the model with drop_rate, attn_drop_rate, proj_drop_rate and drop_path_rate of 0"
            )
    weight = next(blocks.parameters())
    chance = generator(seed, "adapters")
    adapters = [Adapter(width, rank, chance).to(weight) for _ in blocks]
    model.requires_grad_(False)
    model.blocks = AdaptedBlocks(list(blocks), adapters, bits)
    for learning in (*adapters, model.get_classifier()):  # type: ignore[operator]
        learning.requires_grad_(True)
    return model
