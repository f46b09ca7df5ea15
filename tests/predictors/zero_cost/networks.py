"""Small supernets and batches that scores are asked of."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.elastic.supernet import Supernet
from supernet.networks.decoder import Decoder
from supernet.presets.autoformer import AutoFormerTiny
from supernet.space import SearchSpace
from supernet.tasks.classification import ImageClassification
from supernet.tasks.language import LanguageModelling
from tests.tiny import tiny_supernet

IMAGES = ImageClassification(tuple("abcdefghij"), 3, 32)
TEXT = LanguageModelling(6, 32)


class Recurrent(nn.Module):
    """Tokens ``(batch, tokens)`` to logits ``(batch, tokens, 32)``."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cells = nn.Embedding(32, 8), nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 32)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.cells(self.embed(ids))[0])


def alone(network: nn.Module) -> Supernet:
    """A supernet of one network."""
    return Supernet(network, Plan(SearchSpace(()), {}, {}))


@cache
def made(name: str) -> Supernet:
    torch.manual_seed(0)
    if name == "cnn":
        return tiny_supernet()
    if name == "vit":
        small = {"embed_dim": 64, "heads": 2, "embed_dims": (32, 64), "head_counts": (1, 2), "depths": (1, 2)}
        return AutoFormerTiny(classes=10, resolution=32, patch=16, **small).supernet()
    return alone(Recurrent() if name == "rnn" else Decoder(32, 16, 1, 1, 2, 8, 16))


def batch_for(name: str, examples: int = 6) -> object:
    rng = torch.Generator().manual_seed(1)
    if name in ("rnn", "decoder"):
        return torch.randint(32, (examples, 7), generator=rng)
    return torch.randn(examples, 3, 32, 32, generator=rng), torch.randint(10, (examples,), generator=rng)


def task_for(name: str) -> ImageClassification | LanguageModelling:
    return TEXT if name in ("rnn", "decoder") else IMAGES
