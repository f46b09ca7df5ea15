"""Which blocks can be left out, and what stands in their place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supernet.elastic.depth import passing, stages
from supernet.elastic.elasticise import elasticise
from supernet.elastic.inputs import Inputs
from supernet.elastic.trace import trace
from tests.supernet.elastic.nets import images, seeded


class Out(nn.Module):
    """The end of BERT's attention: its first input is not the residual."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(12, 12), nn.LayerNorm(12)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        return self.norm(self.dense(inner) + x)


class Hidden(nn.Module):
    """A residual path of another layer around `Out`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(12, 12), Out()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x).relu(), x)


class Normed(nn.Module):
    """Blocks with their norm after the sum, and a norm around all of them."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Hidden() for _ in range(blocks)))
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(x))


class Network(nn.Module):
    """Something between two linear layers."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.first, self.body, self.last = nn.Linear(6, 12), body, nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(self.first(x)))


def test_blocks_with_a_norm_after_the_sum_can_be_left_out() -> None:
    supernet = elasticise(seeded(lambda: Network(Normed())), images(2, 6), dims=["depth"])
    assert supernet.space["body.blocks.depth"].values == (1, 2, 3)
    arch = supernet.space.smallest()
    alone = supernet.extract(arch)
    by_hand = Network(Normed(1))
    by_hand.load_state_dict(alone.state_dict())
    torch.testing.assert_close(by_hand(images(2, 6)), supernet(images(2, 6), arch))


def test_a_module_whose_first_input_is_not_the_residual_is_no_block() -> None:
    (stage,) = stages(trace(seeded(lambda: Network(Hidden())), images(2, 6)))
    assert stage.blocks == ("body",)


class Sub(nn.Module):
    """One residual branch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Linear(12, 12))
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_submodule(self.name)(x).relu()


def test_a_sequence_of_alike_parts_is_a_stage_and_one_of_unlike_parts_a_block() -> None:
    alike = nn.Sequential(Sub("same"), Sub("same"))
    (stage,) = stages(trace(seeded(lambda: Network(alike)), images(2, 6)))
    assert stage.blocks == ("body.0", "body.1")
    unlike = nn.Sequential(*(nn.Sequential(Sub("attention"), Sub("mlp")) for _ in range(2)))
    (stage,) = stages(trace(seeded(lambda: Network(unlike)), images(2, 6)))
    assert stage.blocks == ("body.0", "body.1")


class Telling(nn.Module):
    """A block that makes a bias when it is given none, and hands it on beside its result."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.bias = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor, scale: float, bias: Tensor | None = None) -> tuple[Tensor, Tensor, None]:
        bias = self.bias(x) if bias is None else bias
        return x + scale * (self.linear(x) + bias).relu(), bias, None


class Told(nn.Module):
    """Blocks of which the first makes a bias for all."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Telling() for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        bias = None
        for block in self.blocks:
            x, bias, _ = block(x, 0.5, bias=bias)
        return x


def test_a_block_that_hands_an_input_on_can_be_left_out_and_one_that_makes_it_not() -> None:
    model = seeded(lambda: Network(Told()))
    paths = [f"body.blocks.{i}" for i in range(3)]
    assert passing(model, Inputs.of(images(2, 6)), paths) == dict.fromkeys(paths[1:], (0, "bias", None))
    supernet = elasticise(model, images(2, 6), dims=["depth"])
    assert supernet.space["body.blocks.depth"].values == (1, 2, 3)
    arch = supernet.space.smallest()
    alone = supernet.extract(arch)
    assert len(alone.body.blocks) == 1
    by_hand = Network(Told(1))
    by_hand.load_state_dict(alone.state_dict())
    torch.testing.assert_close(by_hand(images(2, 6)), supernet(images(2, 6), arch))


class Other(nn.Module):
    """A block that answers in a way nothing can stand in for."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.linear, self.answer = nn.Linear(12, 12), answer

    def forward(self, x: Tensor) -> object:
        y = x + self.linear(x).relu()
        return {"dict": {"y": y}, "made": (y, x * 2), "list": [y]}[self.answer]


class SizeAttribute(nn.Module):
    """What takes the first tensor out of the answer of a block."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.block = Other(answer)

    def forward(self, x: Tensor) -> Tensor:
        answer = self.block(x)
        return answer["y"] if isinstance(answer, dict) else answer[0]  # type: ignore[index]


@pytest.mark.parametrize("answer", ["dict", "made", "list"])
def test_a_block_whose_answer_nothing_stands_in_for_stays(answer: str) -> None:
    model = seeded(lambda: SizeAttribute(answer))
    assert passing(model, Inputs.of(images(2, 12)), ["block"]) == {}
