"""A third of the bytes, the same weights: a once-for-all supernet and a timm model, each trained by the sandwich."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch

from supernet.data import ImageDataset
from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.options import DataOptions, TrainOptions
from supernet.presets import presets
from supernet.sources import load_data
from supernet.trainer import Trainer

SIDE, BATCH = 96, 24
OPTIONS = TrainOptions(
    epochs=2, batch_size=BATCH, lr=0.05, evaluate_every=9, evaluate_examples=16, calibration_examples=16, watched=0,
    reorder="none",
)  # fmt: skip


def once_for_all() -> Supernet:
    """MobileNetV3 with elastic width, kernel and depth."""
    return presets["ofa_mobilenetv3"](classes=10).supernet()


def timm_model() -> Supernet:
    """As one begins with pretrained weights; these are random."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, num_classes=10)
    return elasticise(model.eval(), (2, 3, SIDE, SIDE))


def few_digits() -> ImageDataset:
    """One batch of coloured digits."""
    found = load_data(DataOptions(resolution=SIDE, channels=3))
    assert isinstance(found, ImageDataset)
    return replace(found, train=found.train.take(torch.arange(BATCH)))


def trained(make: Callable[[], Supernet], memory: str) -> Trainer:
    """Two steps."""
    torch.manual_seed(0)
    trainer = Trainer(make(), few_digits(), replace(OPTIONS, memory=memory))
    trainer.run()
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("make", [once_for_all, timm_model])
def test_a_third_of_the_bytes_trains_the_same_weights(make: Callable[[], Supernet]) -> None:
    plain = trained(make, "1TB")
    assert plain.memory is not None and plain.memory.execution == {}
    within = trained(make, str(plain.memory.peak // 3))
    assert within.memory is not None and within.memory.peak <= plain.memory.peak // 3
    for (name, ours), theirs in zip(
        within.supernet.state_dict().items(), plain.supernet.state_dict().values()
    ):
        assert torch.equal(ours, theirs), name
