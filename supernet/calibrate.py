"""Batch-norm statistics of one subnet, as data.

The statistics a supernet keeps while it trains are a mixture over all the subnets it ran, right for
none of them. Re-estimating them for one architecture takes a few hundred images and no gradient. The
result is a dictionary that travels beside the architecture::

    statistics = calibrate(supernet.subnet(arch), batches)
    supernet.subnet(arch, statistics)
    supernet.extract(arch, statistics)

The images must be a fair sample of the training data. Batches cut from a set that is sorted by class
hold one class each: on CIFAR-10 that cost 12 points of accuracy. Shuffle before you cut.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.elastic.inputs import Inputs
from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices, is_present
from supernet.elastic.subnet import Subnet
from supernet.elastic.supernet import Supernet
from supernet.errors import DataError
from supernet.space import Architecture

log = logging.getLogger(__name__)

Statistics = dict[str, Tensor]
"""``<path>.running_mean`` and ``<path>.running_var``, each ``(channels of the subnet,)``."""


@torch.no_grad()
def calibrate(subnet: Subnet, batches: Iterable[Tensor | Inputs], *, unbiased: bool = False) -> Statistics:
    """Statistics of every batch norm of one subnet; the supernet itself is not touched.

    Each batch norm normalises with the statistics of the batch at hand, so that later layers see
    what they would see in training; everything else runs as in evaluation (no dropout). Means of
    batches are weighted by their number of samples and variances are the biased ones, as in
    Once-for-all (arXiv:1908.09791).

    Args:
        subnet: whichever statistics it has now do not matter.
        batches: inputs of the network, on its device, a fair sample of the training data.
        unbiased: PyTorch's cumulative convention instead (reset, ``momentum=None``): every batch
            weighs the same and variances are unbiased. AttentiveNAS (arXiv:2011.09011) does this.

    Returns:
        Tensors of the subnet's size under the names of the largest network; empty when the network
        has no batch norm.

    Raises:
        DataError: when there is no batch.
    """
    supernet = subnet.supernet
    slices = supernet.slices(subnet.arch)
    norms = {
        name: module
        for name, module in supernet.largest.named_modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and is_present(name, slices.absent)
    }
    if not norms:
        return {}
    seen = _Moments(unbiased)
    network = _observed(supernet.largest, slices, norms, seen)
    for batch in batches:
        inputs = Inputs.of(batch)
        seen.samples = inputs.batch
        inputs.call(network)
    if not seen.samples:
        raise DataError("no batch to calibrate on; give at least one, e.g. 10 batches of 200 training images")
    return {
        f"{name}.{buffer}": value.to(getattr(norm, buffer))
        for name, norm in norms.items()
        if name in seen.weights
        for buffer, value in zip(("running_mean", "running_var"), seen.averages(name))
    }


class _Moments:
    """Weighted sums of the batch means and variances of each batch norm."""

    def __init__(self, unbiased: bool) -> None:
        self.unbiased = unbiased
        self.samples = 0
        self.weights: defaultdict[str, float] = defaultdict(float)
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(self, name: str) -> Callable[[_BatchNorm, tuple[Any, ...], Tensor], None]:
        """A hook that adds up what the batch norm of that name has just measured."""

        def add(norm: _BatchNorm, inputs: tuple[Any, ...], _: Tensor) -> None:
            """Add what one batch has shown; a forward hook."""
            assert norm.running_mean is not None and norm.running_var is not None
            mean, var = norm.running_mean.double(), norm.running_var.double()
            if not self.unbiased:
                entries = inputs[0].numel() // len(mean)
                var *= (entries - 1) / entries
            weight = 1 if self.unbiased else self.samples
            total = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (total[0] + weight * mean, total[1] + weight * var)
            self.weights[name] += weight

        return add

    def averages(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and variance of the batch norm of that name."""
        mean, var = self.sums[name]
        return mean / self.weights[name], var / self.weights[name]


def _observed(largest: nn.Module, slices: Slices, norms: Iterable[str], seen: _Moments) -> nn.Module:
    """The subnet, bound, with batch norms whose statistics are those of the last batch, and reported.

    A momentum of 1 leaves the measuring to the batch norm itself, which does it anyway: half the time
    of measuring its input once more.
    """
    bound = bind(largest, slices, training=False)
    modules = dict(bound.named_modules())
    for name in norms:
        norm = modules[name]
        assert isinstance(norm, _BatchNorm) and norm.running_mean is not None
        width = torch.zeros_like(norm.running_mean)
        own = {"running_mean": width, "running_var": width.clone(), "num_batches_tracked": None}
        norm._buffers = {**norm._buffers, **own}
        norm.momentum, norm.training = 1.0, True
        # The copy shares its dictionaries of hooks with the supernet; this one must be its own.
        norm._forward_hooks = OrderedDict(norm._forward_hooks)
        norm.register_forward_hook(seen.watch(name))
    return bound


class Calibrator:
    """`calibrate` with a memory: the same architecture is not measured twice.

    The memory is dropped as soon as a weight of the supernet has been changed in place, as an
    optimiser does.

    Args:
        supernet: whose subnets to calibrate.
        batches: as for `calibrate`; kept.
        unbiased: as for `calibrate`.
        keep: how many architectures to remember; the least recently used goes first.

    Raises:
        DataError: when there is no batch.
    """

    def __init__(
        self,
        supernet: Supernet,
        batches: Iterable[Tensor | Inputs],
        *,
        unbiased: bool = False,
        keep: int = 256,
    ) -> None:
        self.supernet = supernet
        self.batches = tuple(batches)
        self.unbiased = unbiased
        self.keep = keep
        self._known: OrderedDict[Architecture, Statistics] = OrderedDict()
        self._version = -1
        if not self.batches:
            raise DataError(
                "no batch to calibrate on; give at least one, e.g. 10 batches of 200 training images"
            )

    def __call__(self, arch: Architecture) -> Statistics:
        """The statistics of one subnet, remembered or measured; do not write into them.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
        """
        version = sum(parameter._version for parameter in self.supernet.parameters())
        if version != self._version:
            log.debug("the weights have changed; %d calibrated architectures are forgotten", len(self._known))
            self._known, self._version = OrderedDict(), version
        # Held by name: another thread may start a fresh memory meanwhile.
        known = self._known
        statistics = known.pop(arch, None)
        if statistics is None:
            statistics = calibrate(self.supernet.subnet(arch), self.batches, unbiased=self.unbiased)
        known[arch] = statistics
        while len(known) > self.keep:
            known.popitem(last=False)
        return statistics
