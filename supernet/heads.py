"""A pretrained network becomes acquainted with other data, for a moment, so that what it is made of can be judged.

Its batch norms take the statistics of these data, and a head that was made anew learns on the features, alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from supernet.calibrate import calibrate
from supernet.elastic.supernet import Supernet
from supernet.options import TrainOptions
from supernet.tasks.task import Batch, Dataset, Task, moved

STEPS, LR = 100, 0.01


def warm_head(supernet: Supernet, dataset: Dataset, options: TrainOptions) -> bool:
    """Train a fresh head on the features of the calibration examples, everything before it left as it is.

    Args:
        supernet: whose largest network began with weights of other classes; only its head changes.
        dataset: the examples are those that calibrate.
        options: how many, and the seed.

    Returns:
        Whether there was one fresh head, of one layer, to train.
    """
    owner = _fresh_head(supernet)
    if owner is None:
        return False
    head, task = supernet.largest.get_submodule(owner), dataset.task
    device = next(supernet.parameters()).device
    batches = dataset.calibration_batches(options.calibration_examples, options.batch_size, options.seed)
    seen = [(_features(supernet, owner, here, task), here) for here in (moved(b, device) for b in batches)]
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    for step in range(STEPS):
        features, batch = seen[step % len(seen)]
        optimizer.zero_grad()
        task.loss(head(features), batch, smoothing=options.label_smoothing).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return True


def take_statistics(supernet: Supernet, dataset: Dataset, options: TrainOptions) -> None:
    """The batch norms of the largest network take the statistics of the calibration examples, in place."""
    largest, device = supernet.space.largest(), next(supernet.parameters()).device
    batches = dataset.calibration_batches(options.calibration_examples, options.batch_size, options.seed)
    values = supernet.input_values(largest)
    inputs = [dataset.task.inputs(moved(batch, device), values) for batch in batches]
    buffers = dict(supernet.largest.named_buffers())
    for name, value in calibrate(supernet.subnet(largest), inputs).items():
        buffers[name].copy_(value)


@contextmanager
def acquainted(supernet: Supernet, dataset: Dataset, options: TrainOptions) -> Iterator[None]:
    """The largest network knows these data for as long as this lasts: `take_statistics`, `warm_head`.

    Afterwards statistics and head are as they were; no unit may change its place meanwhile.
    """
    owner = _fresh_head(supernet)
    head = None if owner is None else supernet.largest.get_submodule(owner)
    kept = {} if head is None else {name: value.clone() for name, value in head.state_dict().items()}
    buffers = {name: value.clone() for name, value in supernet.largest.named_buffers()}
    try:
        take_statistics(supernet, dataset, options)
        warm_head(supernet, dataset, options)
        yield
    finally:
        if head is not None:
            head.load_state_dict(kept)
        for name, value in supernet.largest.named_buffers():
            value.copy_(buffers[name])


def _fresh_head(supernet: Supernet) -> str | None:
    """Path of the only layer whose weights were made anew beside pretrained ones."""
    fresh = (supernet.origin or {}).get("weights", {}).get("fresh", [])
    owners = {name.rpartition(".")[0] for name in fresh}
    return owners.pop() if len(owners) == 1 else None


def _features(supernet: Supernet, owner: str, batch: Batch, task: Task) -> Tensor:
    """What the head is given of a batch by the largest network."""
    largest = supernet.space.largest()
    subnet = supernet.subnet(largest).eval()
    caught: list[Tensor] = []

    def catch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Keep the input of the head; a forward pre-hook."""
        caught.append(given[0])

    hook = subnet.network.get_submodule(owner).register_forward_pre_hook(catch)
    with torch.no_grad():
        task.inputs(batch, supernet.input_values(largest)).call(subnet)
    hook.remove()
    return caught[0]
