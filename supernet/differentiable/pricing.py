"""What a relaxation costs on the average, as a share of the largest architecture: the unit of penalties and bounds."""

from __future__ import annotations

from torch import Tensor

from supernet.differentiable.method import Cost
from supernet.elastic.expectation import ExpectedCost
from supernet.elastic.inputs import Inputs
from supernet.elastic.relaxation import Relaxation
from supernet.elastic.supernet import Supernet


def macs_share(supernet: Supernet, inputs: Inputs) -> Cost:
    """The expected multiply-adds over those of the largest architecture.

    Args:
        supernet: whose relaxations.
        inputs: of the shape that matters.

    Raises:
        ConversionError: when the costs of the network are not known.
    """
    costs, largest = supernet.costs(inputs), supernet.space.largest()
    expected, whole = ExpectedCost(supernet.relaxable, costs, largest), costs.of(largest).macs

    def share(relaxation: Relaxation) -> Tensor:
        """A scalar; more than 1 where a mixture holds more than an architecture can."""
        return expected(relaxation) / whole

    return share
