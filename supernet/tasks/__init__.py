"""What networks are trained for: a task says what goes in, what is learnt, and how good an answer is.

A data set brings its task along, so that the trainer, the evaluation, the export and the zoo speak of
batches, inputs and scores, and none of them of images or tokens. A task and its data are one file here:

`task`            the seam: `Task`, `Dataset`, `Metric`, `Score`
`classification`  one label for every image
`segmentation`    one class for every pixel
`language`        the next byte of a text
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.tasks.classification import ImageClassification as ImageClassification
    from supernet.tasks.language import LanguageModelling as LanguageModelling
    from supernet.tasks.segmentation import Segmentation as Segmentation
    from supernet.tasks.task import (
        Batch as Batch,
        Dataset as Dataset,
        Metric as Metric,
        Score as Score,
        Task as Task,
    )

_MODULES = {
    "Task": "supernet.tasks.task",
    "Dataset": "supernet.tasks.task",
    "Batch": "supernet.tasks.task",
    "Metric": "supernet.tasks.task",
    "Score": "supernet.tasks.task",
    "ImageClassification": "supernet.tasks.classification",
    "Segmentation": "supernet.tasks.segmentation",
    "LanguageModelling": "supernet.tasks.language",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
