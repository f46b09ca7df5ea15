"""Mixtures of candidates: a weighted sum that keeps no more than its gradients need.

A candidate of weight zero adds nothing, so it does not run. Where the gradient of its weight is asked for, it runs in
the backward pass alone, one at a time and without a graph of its own: the gradients are those of the whole
mixture, at the memory of the path that runs (ProxylessNAS, arXiv:1812.00332).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _NormBase

from supernet.elastic.slicing import is_there
from supernet.memory.recipes import cast_of, casting

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
Part = tuple[nn.Module, Tensor]
"""A candidate and what it is given."""


def mixed(weights: Tensor, parts: Sequence[Part]) -> Tensor:
    """The sum of what the parts answer, each times its weight; parts that are left out add nothing.

    Args:
        weights: ``(parts,)``.
        parts: at least one of them is there.
    """
    there = [i for i, (module, _) in enumerate(parts) if is_there(module)]
    sizes = weights.tolist()
    running = [i for i in there if sizes[i]]
    if running:
        answers = [module(x) for module, x in (parts[i] for i in running)]
        out = call(Mixture, picked(weights, running), *answers)
    else:
        module, x = parts[there[0]]
        with torch.no_grad(), without_statistics(module):
            out = torch.zeros_like(module(x))
    asked = [i for i in there if not sizes[i]]
    if asked and weights.requires_grad and torch.is_grad_enabled():
        modules = [parts[i][0] for i in asked]
        out = call(Asked, out, picked(weights, asked), modules, *(parts[i][1] for i in asked))
    return out


def picked(weights: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the weights."""
    if len(places) == len(weights):
        return weights
    return weights[torch.tensor(places, device=weights.device)]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of two tensors of a shape."""
    if a.stride() != b.stride() or a.dtype != b.dtype:
        return (a * b).sum()
    if a.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    order = sorted(range(a.dim()), key=a.stride, reverse=True)
    return torch.dot(a.permute(order).reshape(-1), b.permute(order).reshape(-1))


def dense(tensor: Tensor) -> Tensor:
    """The same entries without gaps in memory, channels last where they are."""
    if tensor.dim() == 4 and tensor.stride(1) < tensor.stride(3):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.contiguous()


def call(function: type[Function], *args: Any) -> Tensor:
    """A function applied, typed."""
    apply: Callable[..., Tensor] = function.apply
    return apply(*args)


class Mixture(Function):
    """``sum of weights[i] * answers[i]``: holds the answers, no product; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *answers: Tensor) -> Tensor:
        """The weighted sum.

        Args:
            ctx: of autograd.
            weights: ``(answers,)``.
            *answers: all of one shape.
        """
        ctx.save_for_backward(weights, *answers)
        ctx.numbers = weights.tolist()
        first, *others = zip(ctx.numbers, answers)
        out: Tensor = first[1] * first[0]
        for weight, answer in others:
            out.add_(answer, alpha=weight)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Gradients of the weights, where they are asked for, and of the answers."""
        weights, *answers = ctx.saved_tensors
        grad = dense(grad)
        of_weights = None
        if ctx.needs_input_grad[0]:
            of_weights = torch.stack([inner(grad, answer) for answer in answers]).to(weights)
        # numbers are quicker, and have no derivative
        each = weights.to(grad).unbind() if torch.is_grad_enabled() else ctx.numbers
        return of_weights, *(
            grad * weight if needed else None for weight, needed in zip(each, ctx.needs_input_grad[1:])
        )


class Asked(Function):
    """Hands a mixture on; its backward pass asks what candidates of weight zero would have answered."""

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, weights: Tensor, modules: Sequence[nn.Module], *inputs: Tensor
    ) -> Tensor:
        """The mixture as it is.

        Args:
            ctx: of autograd.
            out: of the candidates that ran.
            weights: zeros, ``(modules,)``.
            modules: the candidates that did not run.
            *inputs: what each would have been given.
        """
        # The parameters too, so that PyTorch refuses the backward pass when one of them was changed since.
        ctx.save_for_backward(*inputs, *(one for module in modules for one in module.parameters()))
        ctx.modules, ctx.like, ctx.cast = modules, weights, cast_of(out)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradient of each weight: the inner product of its candidate's answer with that of the mixture."""
        inputs, found = ctx.saved_tensors[: len(ctx.modules)], []
        for module, x in zip(ctx.modules, inputs):
            with without_statistics(module), casting(ctx.cast):
                found.append(inner(grad, module(x)))
        return grad, torch.stack(found).to(ctx.like), None, *(None for _ in inputs)


@contextmanager
def without_statistics(module: nn.Module) -> Iterator[None]:
    """Meanwhile norms measure their batches, and move no running statistics: nothing is learnt from what is asked."""
    norms = [inner for inner in module.modules() if isinstance(inner, _NormBase) and inner.training]
    kept = [norm._buffers for norm in norms]
    try:
        for norm in norms:
            norm.__dict__["_buffers"] = {**norm._buffers, **dict.fromkeys(STATISTICS)}
        yield
    finally:
        for norm, buffers in zip(norms, kept):
            norm.__dict__["_buffers"] = buffers
