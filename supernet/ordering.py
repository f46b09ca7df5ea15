"""The units of a network in the order of what they are worth, on the data at hand: before the first step, or later."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from supernet.elastic.reorder import Beside, saliency, sort_units
from supernet.elastic.supernet import Supernet
from supernet.heads import acquainted
from supernet.options import Order, TrainOptions
from supernet.strategies import Sort
from supernet.tasks.task import Dataset, moved

log = logging.getLogger(__name__)


def order_units(supernet: Supernet, dataset: Dataset, options: TrainOptions) -> dict[str, Any]:
    """Sort the units as ``train.reorder`` says, in place; the largest network stays the same function.

    The order decides what narrow subnets begin with, and is worth more than anything else that can be done for
    them: by the first-order change of the loss instead of the norm of the weights, 3 to 6 points of accuracy on a
    pretrained network that was trained for three epochs (EfficientNet-Lite2 on 5,000 images). A loss is no judge
    of a network that does not know the data: for as long as it is asked, the batch norms have the statistics of the
    same examples, and a head that was made anew has learnt from them, alone.

    Returns:
        What was done, as JSON values: the measure, and how many training examples it looked at. It is also in the
        supernet's origin, under ``reordered``. Empty when nothing was.
    """
    by = options.reorder
    if by == "auto":
        sorted_before = {"reordered", "part_of", "continued"} & (supernet.origin or {}).keys()
        by = "taylor" if began_with(supernet) and not sorted_before else "none"
    if by == "none":
        return {}
    with acquainted(supernet, dataset, options) if by == "taylor" else nullcontext():
        found, examples = _measured(supernet, dataset, options, by)
    sort_units(supernet, found)
    log.info("units sorted by %s", by)
    done = {"by": by, "examples": examples}
    note_order(supernet, done)
    return done


def sort_anew(
    supernet: Supernet, dataset: Dataset, options: TrainOptions, sort: Sort, beside: Beside = ()
) -> None:
    """Sort the units once more, while they are trained.

    Args:
        supernet: whose units, in place.
        dataset: brings the examples that ``taylor`` looks at: those that calibrate.
        options: how many, and the seed.
        sort: by what, and which widths stay what they are.
        beside: what the optimiser keeps, see `sort_units`.
    """
    found, _ = _measured(supernet, dataset, options, sort.by)
    sort_units(supernet, found, trained=sort.trained, beside=beside)
    log.info("units sorted by %s once more", sort.by)


def _measured(
    supernet: Supernet, dataset: Dataset, options: TrainOptions, by: Order
) -> tuple[dict[str, Tensor], int]:
    """What the entries of every parameter count, and on how many examples."""
    device, task = next(supernet.parameters()).device, dataset.task
    values = supernet.input_values(supernet.space.largest())
    examples = options.calibration_examples if by == "taylor" else 0
    batches = dataset.calibration_batches(examples, options.batch_size, options.seed) if examples else []
    there = [moved(batch, device) for batch in batches]
    shown = [(task.inputs(batch, values), batch) for batch in there]
    return saliency(supernet, by, shown, task.loss), sum(inputs.batch for inputs, _ in shown)


def note_order(supernet: Supernet, done: dict[str, Any]) -> None:
    """Write into the supernet's origin how its units were sorted, when they were."""
    if done:
        supernet.origin = {**(supernet.origin or {}), "reordered": done}


def began_with(supernet: Supernet) -> str:
    """What names the weights a supernet began with: the hash of their file, or timm's name; empty for fresh ones."""
    weights = (supernet.origin or {}).get("weights", {})
    return str(weights.get("sha256") or weights.get("timm", ""))
