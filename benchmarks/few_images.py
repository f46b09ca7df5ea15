"""Fewer training images of each class, the same ones whenever they are asked for."""

from __future__ import annotations

from dataclasses import replace

import torch

from supernet.data import ImageDataset
from supernet.errors import DataError
from supernet.seeds import generator
from supernet.tasks.task import Dataset


def few_images(dataset: Dataset, per_class: int | None, seed: int = 0) -> Dataset:
    """A data set whose train split keeps so many images of each class; the other two stay whole.

    Args:
        per_class: at most; None keeps all.
        seed: which.

    Raises:
        DataError: when the data are no images with a class each.
    """
    if per_class is None:
        return dataset
    if not isinstance(dataset, ImageDataset):
        raise DataError(f"{dataset.name} has no images of classes to take {per_class} of; leave that out")
    labels = dataset.train.labels
    kept = []
    for label in range(len(dataset.classes)):
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator(seed, "few", label))
        kept.append(members[order[:per_class]])
    return replace(dataset, train=dataset.train.take(torch.cat(kept).sort().values))
