"""A branch is run twice; the second run knows what the first one measured, and keeps less.

The first run notes the mean and deviation of every batch that a batch norm sees: two numbers per channel. The second
one takes them instead of measuring again, which on a CPU is most of what a batch norm costs. What norms and
activations compute is not kept for the gradients: it is computed once more, from what convolutions and linear layers
returned, when somebody asks for it.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

Statistics = deque[tuple[Tensor, Tensor]]
"""Mean and inverse deviation of each batch norm that was run in training, in order."""
NORMS = frozenset((F.layer_norm, F.group_norm))
# Only those whose gradient asks for their input: the others keep their result, and the next layer shares it.
ACTIVATIONS = frozenset(
    (F.hardswish, F.hardtanh, F.relu6, F.silu, F.gelu, F.leaky_relu, F.mish, F.hardsigmoid, F.softplus)
)
_BATCH_NORM = tuple(signature(F.batch_norm).parameters)


class Noting(TorchFunctionMode):
    """The first run: batch norms run as ever, and what they measure is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics: Statistics = deque()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and (call := _training(args, kwargs)):
            x = call["input"]
            out, mean, deviation, *_ = torch._batch_norm_impl_index(
                *(x, call["weight"], call["bias"], call["running_mean"], call["running_var"]),
                *(True, call["momentum"], call["eps"], torch.backends.cudnn.enabled),
            )
            self.statistics.append((mean, deviation))
            return out
        return func(*args, **kwargs)


class Made:
    """A tensor that can be made again.

    Args:
        make: how, from tensors that are kept anyway.
        value: it; dropped once it is in the way.
    """

    def __init__(self, make: Callable[[], Tensor], value: Tensor) -> None:
        self.make = make
        self.value: Tensor | None = value

    def __call__(self) -> Tensor:
        """The tensor. Once dropped it is made each time: a map held through a convolution would cost more."""
        return self.make() if self.value is None else self.value


class Replaying(TorchFunctionMode):
    """The second run, with gradients.

    Args:
        statistics: what was noted at the first one, taken as it is used; measured again when there is none.
    """

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.statistics = statistics
        self.known: dict[int, tuple[weakref.ref[Tensor], int, Made]] = {}
        self.hooks = saved_tensors_hooks(self.pack, _unpack)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and self.statistics and (call := _training(args, kwargs)):
            return self._batch_norm(call)
        if func in NORMS:
            self._drop(args[0].numel())
        known = any(isinstance(arg, Tensor) and arg.data_ptr() in self.known for arg in args)
        with self.hooks if known else nullcontext():
            out = func(*args, **kwargs)
        if func in NORMS or (func in ACTIVATIONS and not _in_place(args, kwargs)):
            self._note(out, func, args, kwargs)
        return out

    def pack(self, tensor: Tensor) -> Tensor | Made:
        """What is kept in the place of a tensor."""
        entry = self.known.get(tensor.data_ptr())
        if entry is not None:
            reference, version, made = entry
            original = reference()
            # The address alone would be that of another tensor by now, had the first one been freed.
            if original is not None and tensor._version == version and _alike(tensor, original):
                return made
        return tensor

    def _batch_norm(self, call: Mapping[str, Any]) -> Tensor:
        mean, deviation = self.statistics.popleft()
        x, weight, bias = call["input"], call["weight"], call["bias"]
        self._drop(x.numel())
        variance = deviation.pow(-2)
        out: Tensor = _BatchNorm.apply(x, weight, bias, mean, deviation, variance)
        self._note(out, _normalised, (x, mean, variance, weight, bias), {})
        return out

    def _note(self, out: Tensor, func: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Know how a result is made, should somebody want to keep it."""
        sources = [self.pack(arg) if isinstance(arg, Tensor) else arg for arg in args]

        def make() -> Tensor:
            """The result once more."""
            with torch.no_grad():
                again: Tensor = func(*map(_unpack, sources), **kwargs)
            return again

        self.known[out.data_ptr()] = weakref.ref(out), out._version, Made(make, out)

    def _drop(self, size: int) -> None:
        """Before a tensor is normalised, results that are no larger go; the last ones are asked for right away."""
        for _, _, made in self.known.values():
            if made.value is not None and made.value.numel() <= size:
                made.value = None


@contextmanager
def replaying(statistics: Statistics) -> Iterator[None]:
    """Run a branch for the second time."""
    mode = Replaying(statistics)
    with mode:
        yield
    # What is kept holds on to the mode; the mode must not hold on to what need not be kept.
    mode.known.clear()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors at one address are the same and not, say, one of them transposed."""
    return one.shape == other.shape and one.stride() == other.stride() and one.dtype == other.dtype


def _unpack(kept: Any) -> Any:
    return kept() if isinstance(kept, Made) else kept


def _normalised(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """By statistics that have epsilon in them; `F.batch_norm` of PyTorch 2.11 takes none of zero."""
    return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, 0.0, False)


class _BatchNorm(torch.autograd.Function):
    """A batch norm of known statistics, with the gradient of one that measures them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        deviation: Tensor,
        variance: Tensor,
    ) -> Tensor:
        """Of the shape of ``x``."""
        ctx.save_for_backward(x, weight, mean, deviation)
        return _normalised(x, mean, variance, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """As in training."""
        x, weight, mean, deviation = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, None, None, mean, deviation, True, 0.0, wanted
        )
        return *(grad if need else None for grad, need in zip(found, wanted)), None, None, None


def _training(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arguments of a batch norm that measures its batch; None for one that does not, or that will be refused."""
    call: dict[str, Any] = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
    call |= {**dict(zip(_BATCH_NORM, args)), **kwargs}
    x = call["input"]
    return call if call["training"] and x.numel() > x.shape[1] else None


def _in_place(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return bool(kwargs.get("inplace")) or any(arg is True for arg in args[1:])
