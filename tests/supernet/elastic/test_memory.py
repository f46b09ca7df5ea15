"""How many bytes a conversion holds at once, counted by the storages it makes."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supernet.elastic.elasticise import elasticise


class Held(TorchDispatchMode):
    """The most bytes of new storages that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.device.type == "cpu":
                storage = leaf.untyped_storage()
                if storage not in given and storage not in self.seen:
                    self.seen.add(storage)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._freed, storage.nbytes())
        return out

    def _freed(self, count: int) -> None:
        self.now -= count


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)) for _ in range(12)
        )
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_a_conversion_takes_less_than_four_times_the_weights() -> None:
    model = Deep()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    with Held() as held:
        supernet = elasticise(model, (1, 64))
    assert len(supernet.space) == 12
    assert 2 * weights < held.most < 3 * weights  # the network itself is there beside it
