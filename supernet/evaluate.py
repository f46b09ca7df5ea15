"""How often a subnet is right, with batch-norm statistics of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supernet.calibrate import calibrate
from supernet.data import Dataset, SplitName
from supernet.elastic.supernet import Supernet
from supernet.space import Architecture


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, and of how many."""

    correct: int
    images: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.images

    def __str__(self) -> str:
        return f"{self.share:.1%} of {self.images}"


class Evaluator:
    """Accuracy of the subnets of one supernet on one split, each calibrated first.

    The calibration images are shuffled and the same for all subnets, and the images of a split that
    fits into memory are prepared once: a search asks hundreds of times.

    Args:
        supernet: whose subnets; left as it is.
        dataset: where images come from.
        split: which of them to judge on.
        images: of the split to judge on at most; None for all.
        calibration_images: training images to take statistics from.
        batch_size: images per forward pass; changes nothing but speed and memory.
        seed: which calibration images.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        split: SplitName = "search",
        *,
        images: int | None = None,
        calibration_images: int = 512,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        self.supernet = supernet
        self.dataset = dataset
        self.split: SplitName = split
        self.images = images
        self.batch_size = batch_size
        self.device = next(supernet.parameters()).device
        batches = dataset.calibration_batches(calibration_images, 128, seed)
        self.calibration = [batch.to(self.device) for batch in batches]
        whole = dataset.split(split)
        small = isinstance(whole.images, Tensor) and whole.images.numel() <= 1 << 26
        self._prepared = list(dataset.batches(split, batch_size, images)) if small else None

    def statistics(self, arch: Architecture) -> dict[str, Tensor]:
        """Batch-norm statistics of one subnet, as `Supernet.extract` takes them."""
        return calibrate(self.supernet.subnet(arch), self.calibration)

    @torch.inference_mode()
    def __call__(self, arch: Architecture) -> Accuracy:
        """Calibrate one subnet and count its right answers.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
        """
        subnet = self.supernet.extract(arch, self.statistics(arch)).eval()
        return self.of(subnet)

    @torch.inference_mode()
    def of(self, network: nn.Module) -> Accuracy:
        """Count the right answers of any network on the same images."""
        correct = images = 0
        for x, labels in self._prepared or self.dataset.batches(self.split, self.batch_size, self.images):
            answers = network(x.to(self.device)).argmax(1)
            correct += int((answers == labels.to(self.device)).sum())
            images += len(labels)
        return Accuracy(correct, images)
