"""One label for every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.elastic.inputs import Inputs
from supernet.losses import Distance, divergence, label_loss
from supernet.options import Interpolation
from supernet.preprocessing import resized
from supernet.space import Value
from supernet.tasks.task import AS_TRAINED, FreeAxes, Metric, Score, main_tensor

ACCURACY = Metric("accuracy", "%", "max")
LOG_LOSS = Metric("log loss", "nats", "min")


@dataclass(frozen=True)
class ImageClassification:
    """Images in, one score for every class out; a batch is ``(images, labels)``.

    In training the labels may also be the share of every class in each image, ``(images, classes)``.

    Args:
        classes: their names, in the order of the labels.
        channels: of the images.
        resolution: side of the images in pixels, where an architecture does not say otherwise.
        interpolation: the filter with which images were scaled; bicubic ones are scaled further by the same.
        class_weights: in the loss; None weighs all classes alike.
    """

    classes: tuple[str, ...]
    channels: int
    resolution: int
    interpolation: Interpolation = "bilinear"
    class_weights: tuple[float, ...] | None = None
    name = "image-classification"
    measures = (ACCURACY, LOG_LOSS)
    ranked_by = LOG_LOSS
    free_axes: ClassVar[FreeAxes] = {}

    @property
    def network(self) -> dict[str, int]:
        """Classes, channels and resolution."""
        return {"classes": len(self.classes), "channels": self.channels, "resolution": self.resolution}

    def example_inputs(self, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """Two images of standard normal noise ``(2, channels, side, side)``."""
        return Inputs.of((2, self.channels, *(_side(values, self.resolution),) * 2))

    def inputs(self, batch: tuple[Tensor, Tensor], values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """The images, at the side the architecture asks for."""
        return Inputs((resized(batch[0], _side(values, self.resolution), self.interpolation),))

    def loss(
        self,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        teacher: Any | None = None,
        smoothing: float = 0.0,
        distance: Distance = divergence,
    ) -> Tensor:
        """Cross-entropy with the labels or shares of classes; with a teacher, the distance from its answers."""
        logits = main_tensor(outputs)
        if teacher is not None:
            return distance(logits, main_tensor(teacher))
        return label_loss(logits, batch[1], smoothing, self.class_weights)

    def metrics(self, outputs: Any, batch: tuple[Tensor, Tensor]) -> tuple[Score, ...]:
        """The share of right answers, and the mean log loss."""
        logits, labels = main_tensor(outputs), batch[1]
        count = torch.tensor(len(labels))
        right = (logits.argmax(1) == labels).sum().cpu()
        loss = F.cross_entropy(logits.float(), labels, reduction="sum").double().cpu()
        return Score(ACCURACY, 100 * right, count), Score(LOG_LOSS, loss, count)

    def decode(self, outputs: Any) -> list[str]:
        """The three most likely classes, and how likely they are."""
        chances, best = main_tensor(outputs).softmax(1).topk(min(3, len(self.classes)))
        return [
            ", ".join(f"{self.classes[i]} ({chance:.1%})" for i, chance in zip(row, likely))
            for row, likely in zip(best.tolist(), chances.tolist())
        ]


def _side(values: Mapping[str, Value], otherwise: int) -> int:
    return int(values.get("resolution", otherwise))
