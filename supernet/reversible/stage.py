"""A stage of two or more streams that can be run backwards: an ordinary module that need not keep its activations."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices
from supernet.errors import SpaceError
from supernet.memory.pieces import runs
from supernet.reversible.arithmetic import REDUCED, FixedPoint, Floats, Range, added, held
from supernet.reversible.coupling import Coupling, need_shape
from supernet.reversible.inverting import Pass, random_branch

LETTERS = "FGHIJKLMNOPQ"


class ReversibleStage(nn.Module):
    """Couplings one after the other: each adds to one stream what a branch makes of the others.

    With two streams and branches F and G a block is ``y1 = x1 + F(x2); y2 = x2 + G(y1)`` (RevNet, Gomez et al.,
    arXiv:1707.04585); with n streams each is updated in turn, by a branch that is given all the others. Its forward
    pass is ordinary autograd unless ``memory_free`` is set, as the execution mode ``reversible`` does: then only what
    comes out is kept, and the backward pass computes the rest again.

    Streams of half precision are widened to float32: sums of many small steps lose what half precision would keep.

    Args:
        couplings: in the order they are run; made from branches by `of`.
        streams: how many there are.
        fixed_point: hold streams as int32 in steps of 2^-16 wherever gradients are recorded, so that they are undone
            exactly. The branches must be deterministic, and streams stay within +-32768.
        overlap: on a GPU, run the next branch again while the gradients of this one are computed; it costs the
            memory of one more branch.

    Raises:
        SpaceError: when branches draw random numbers, or scale streams, under fixed-point streams.
    """

    def __init__(
        self,
        couplings: Sequence[Coupling],
        streams: int = 2,
        *,
        fixed_point: bool = False,
        overlap: bool = False,
    ) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(couplings)
        self.streams, self.fixed_point, self.overlap = streams, fixed_point, overlap
        self.memory_free = False
        if fixed_point:
            for coupling in couplings:
                _need_exact(coupling)

    @classmethod
    def of(
        cls,
        blocks: Sequence[Sequence[nn.Module | None]],
        shape: Sequence[int] | None = None,
        *,
        axis: int = 0,
        fixed_point: bool = False,
        overlap: bool = False,
    ) -> ReversibleStage:
        """A stage of blocks that have a branch for each stream.

        Args:
            blocks: per block as many branches as there are streams; None where a stream is left alone.
            shape: of all streams of one sample together, e.g. ``(channels, height, width)``; every branch is tried
                on its share of it. None when that is not known.
            axis: of that shape, along which the streams were one.
            fixed_point: as for the class.
            overlap: likewise.

        Raises:
            SpaceError: when the channels cannot be shared out evenly, a branch changes the shape of its stream, or
                blocks have different numbers of branches.
        """
        count = len(blocks[0]) if blocks else 2
        if count < 2 or any(len(block) != count for block in blocks):
            raise SpaceError(
                f"the blocks have {', '.join(str(len(block)) for block in blocks)} branches; each needs one for every "
                "stream, at least two, e.g. (F, G); None stands for a stream that is left alone"
            )
        own = None if shape is None else shares(shape, count, axis)
        couplings = []
        for i, block in enumerate(blocks):
            for k, branch in enumerate(block):
                if branch is not None:
                    others = [j for j in range(count) if j != k]
                    coupling = Coupling(branch, k, others, title=f"branch {LETTERS[k]} of block {i}")
                    if own is not None:
                        try_out(coupling, [own] * count)
                    couplings.append(coupling)
        return cls(couplings, count, fixed_point=fixed_point, overlap=overlap)

    def forward(self, *streams: Tensor, extra: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """The streams after the stage.

        Args:
            *streams: the streams before, each of its own tensor.
            extra: what every branch is given after its streams: tensors, e.g. the weights of mixed operations, in
                whatever nesting.

        Raises:
            SpaceError: when the number of streams is another, or a branch changes the shape of its stream.
        """
        if len(streams) != self.streams:
            raise SpaceError(f"{len(streams)} streams were given to a stage of {self.streams}")
        couplings = [one for one in self.couplings if isinstance(one, Coupling) and runs(one)]
        kind = streams[0].dtype
        autocast = torch.is_autocast_enabled(streams[0].device.type)
        inner = kind if kind in REDUCED and not autocast else None
        wide = tuple(x.float() if x.dtype in REDUCED else x for x in streams)
        if not couplings:
            return wide if inner is None else streams
        recorded = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        arithmetic = FixedPoint(wide[0].dtype) if self.fixed_point and recorded else None
        if self.memory_free and recorded:
            out = Pass(couplings, arithmetic or Floats(), inner, self.overlap, extra)(wide)
        elif arithmetic is not None:
            out = _plain_fixed(couplings, wide, inner, extra, arithmetic)
        else:
            out = _plain(couplings, wide, inner, extra)
        return out if inner is None else tuple(x.to(inner) for x in out)

    def extra_repr(self) -> str:
        """How streams are held."""
        return f"{self.streams} streams{', fixed point' if self.fixed_point else ''}"


def shares(shape: Sequence[int], streams: int, axis: int = 0) -> tuple[int, ...]:
    """The shape of each of several streams that together have a shape.

    Raises:
        SpaceError: when they cannot be alike.
    """
    channels = shape[axis]
    if channels % streams:
        less, more = channels - channels % streams, channels + streams - channels % streams
        near = f"{less} or {more}" if less else f"{more}"
        raise SpaceError(f"{channels} channels cannot be shared out to {streams} streams alike; take {near}")
    own = list(shape)
    own[axis] = channels // streams
    return tuple(own)


def _plain(
    couplings: Sequence[Coupling], streams: Sequence[Tensor], inner: torch.dtype | None, extra: Sequence[Any]
) -> tuple[Tensor, ...]:
    """Under ordinary autograd."""
    out = list(streams)
    for coupling in couplings:
        given = [out[i] if inner is None else out[i].to(inner) for i in coupling.reads]
        out[coupling.stream] = coupling(out[coupling.stream], *given, *extra)
    return tuple(out)


def _plain_fixed(
    couplings: Sequence[Coupling],
    streams: Sequence[Tensor],
    inner: torch.dtype | None,
    extra: Sequence[Any],
    arithmetic: FixedPoint,
) -> tuple[Tensor, ...]:
    """The same with streams of whole numbers beside the values that carry the gradient."""
    reach = Range(streams)
    pairs = [held(x, arithmetic) for x in streams]
    for coupling in couplings:
        # Seen as one use of the stream, however often the branch reads it: gradients are summed in the same order.
        given = [pairs[i][0].view_as(pairs[i][0]) for i in coupling.reads]
        out = coupling.branch(*(given if inner is None else (x.to(inner) for x in given)), *extra)
        need_shape(coupling, out, pairs[coupling.stream][0])
        reach.grow(coupling.stream, out)
        pairs[coupling.stream] = added(*pairs[coupling.stream], out, arithmetic)
    return tuple(values + reach.poison() for values, _ in pairs)


def _need_exact(coupling: Coupling) -> None:
    """Refuse what fixed-point streams cannot undo.

    Raises:
        SpaceError: for a scaled stream, and for a branch that draws random numbers.
    """
    if coupling.scale is not None:
        raise SpaceError(
            f"{coupling.title} scales its stream, which whole numbers cannot undo; leave the scale out, or use "
            "streams of floats (fixed_point=False)"
        )
    for path, module in coupling.branch.named_modules():
        if draws(module):
            what = f"{type(module).__name__} at {path!r}" if path else type(module).__name__
            raise SpaceError(random_branch(coupling.title, what))


def draws(module: nn.Module) -> bool:
    """Whether a module is known to draw random numbers in training: dropout by whatever name, at a rate above 0."""
    name = type(module).__name__.lower()
    if isinstance(module, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
        return True
    rates = [getattr(module, rate, 0) for rate in ("dropout", "drop_prob", "drop_path", "dropout_p")]
    if "drop" in name:
        rates.append(getattr(module, "p", 0))
    return any(isinstance(rate, int | float) and rate > 0 for rate in rates)


def try_out(coupling: Coupling, shapes: Sequence[Sequence[int]]) -> None:
    """Run a branch on one sample of zeros, and see that it answers in the shape of its stream.

    Args:
        coupling: whose branch; one that needs more than streams, or has no memory, is not tried.
        shapes: of the streams, of one sample.

    Raises:
        SpaceError: when the branch does not take its streams, or changes their shape.
    """
    if _wants(coupling.branch) > len(coupling.reads):
        return
    like = next(coupling.branch.parameters(), torch.empty(0))
    if like.is_meta:
        return
    copy = bind(coupling.branch, Slices({}, frozenset()), training=False, own=True)
    zeros = [like.new_zeros((1, *shape), requires_grad=False) for shape in shapes]
    try:
        with torch.no_grad():
            out = copy(*(zeros[i] for i in coupling.reads))
    except RuntimeError as error:
        takes = ", ".join(str(tuple(shapes[i])) for i in coupling.reads)
        raise SpaceError(
            f"{coupling.title} does not take a stream of shape {takes}: {error}; a branch takes and returns its "
            "stream's share of the channels"
        ) from error
    need_shape(coupling, out, zeros[coupling.stream])


def _wants(branch: nn.Module) -> int:
    """How many positional arguments a branch cannot do without."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    wanted = signature(branch.forward).parameters.values()
    return sum(one.kind in kinds and one.default is Parameter.empty for one in wanted)
