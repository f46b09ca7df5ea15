"""Networks that the contract of execution modes is held on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.presets.two_streams import inverted_bottleneck
from supernet.reversible import ReversibleStage


class Calls(TorchDispatchMode):
    """Counts what is called, both passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class Residual(nn.Module):
    """Two convolutions with norms, activations in place, a gate and dropout beside a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(2 * width), nn.BatchNorm2d(width)
        self.act, self.last, self.drop = nn.Hardswish(inplace=True), nn.ReLU(inplace=True), nn.Dropout(0.2)
        self.gate = nn.Conv2d(2 * width, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As large as what came in."""
        y = self.act(self.norm1(self.one(x)))
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        y = self.drop(self.norm2(self.two(y)))
        y += x
        found: Tensor = self.last(y)
        return found


class Convolutions(nn.Module):
    """A stem with max pooling, residual blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.act, self.pool = nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.blocks = nn.Sequential(*(Residual(8) for _ in range(3)))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Five logits."""
        x = self.pool(self.act(self.norm(self.stem(x))))
        found: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return found


def convolutions() -> nn.Module:
    """Batch norm, activations in place, dropout."""
    return Convolutions()


def transformer() -> nn.Module:
    """Layer norm, attention, GELU, dropout and stochastic depth."""
    return VisionTransformer(
        img_size=16, patch_size=2, embed_dim=24, depth=2, num_heads=3, num_classes=5, proj_drop_rate=0.1,
        drop_path_rate=0.2,
    )  # fmt: skip


class Streams(nn.Module):
    """A stem, a reversible stage of one block and a half, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        blocks = [
            [inverted_bottleneck(4, 8, 4, 3), inverted_bottleneck(4, 12, 4, 5)],
            [nn.Conv2d(4, 4, 1), None],
        ]
        self.stage = ReversibleStage.of(blocks, (8, 8, 8), fixed_point=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Five logits."""
        found: Tensor = self.head(torch.cat(self.stage(*self.stem(x).chunk(2, 1)), 1).mean((2, 3)))
        return found


def streams() -> nn.Module:
    """Two streams of whole numbers, which are undone to the last bit."""
    return Streams()


ORDINARY = (convolutions, transformer)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], ...]] = {"reversible": (streams,)}
"""Networks for images of 16 px and three channels, by mode; a mode that is not here works on the ordinary ones."""


def network_of(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network in training, with weights and statistics that are not all alike."""
    torch.manual_seed(0)
    network = make().to(dtype).train()
    for name, tensor in network.named_parameters():
        if tensor.dim() == 1:
            nn.init.normal_(tensor, 1.0 if name.endswith("weight") else 0.0, 0.2)
    return network


def images(dtype: torch.dtype = torch.float64, batch: int = 4) -> Tensor:
    """Random images of 16 px."""
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
