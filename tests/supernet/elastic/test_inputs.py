"""Inputs of any nesting: how they are called with, named, written down and refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from supernet import elasticise
from supernet.elastic.inputs import Inputs, fitting, output_tensors
from supernet.errors import ConversionError
from tests.supernet.elastic.nets import images, seeded


class Reader(nn.Module):
    """Token ids and a mask by keyword, a nested pair of features, a dictionary of answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.mix = nn.Linear(6, 16)
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 3)

    def forward(
        self, features: dict[str, tuple[Tensor, Tensor]], *, ids: Tensor, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        a, b = features["pair"]
        x = self.embed(ids) + self.mix(a + b)[:, None]
        if mask is not None:
            x = x * mask[..., None]
        found = self.hidden(x).relu()
        return {"answer": self.head(found.sum(1)), "seen": x.abs().sum((1, 2))}


def size_attribute(batch: int = 2) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return Inputs(
        ({"pair": (images(batch, 6), images(batch, 6, seed=1))},),
        {
            "ids": torch.randint(0, 11, (batch, 5), generator=generator),
            "mask": torch.rand(batch, 5, generator=generator),
        },
    )


def test_nested_and_keyword_inputs_go_through_conversion_subnet_and_extract() -> None:
    inputs = size_attribute()
    model = seeded(Reader)
    given = inputs.call(model)
    supernet = elasticise(model, args=inputs.args, kwargs=inputs.kwargs)
    assert {choice.name for choice in supernet.space.choices} == {"mix.residual", "hidden.width"}
    for name, tensor in inputs.call(supernet.subnet(supernet.space.largest())).items():
        torch.testing.assert_close(tensor, given[name], rtol=0, atol=0)
    small = supernet.space.smallest()
    inside, alone = inputs.call(supernet.subnet(small)), inputs.call(supernet.extract(small))
    short = supernet(*inputs.args, small, **inputs.kwargs)
    for name in given:
        torch.testing.assert_close(inside[name], alone[name], rtol=0, atol=0)
        torch.testing.assert_close(short[name], alone[name], rtol=0, atol=0)
    assert supernet.costs().of(small).macs < supernet.costs().of(supernet.space.largest()).macs


def test_names_are_those_of_the_arguments() -> None:
    assert size_attribute().names(Reader()) == ["features.pair.0", "features.pair.1", "ids", "mask"]
    assert Inputs.of(images(1, 6)).names() == ["input"]


def test_outputs_of_any_nesting_have_names() -> None:
    assert [name for name, _ in output_tensors(size_attribute().call(Reader()))] == ["answer", "seen"]
    assert [name for name, _ in output_tensors((images(1), [images(2)]))] == ["output_0", "output_1.output_0"]


def test_what_was_written_down_has_the_same_shapes_types_and_nesting() -> None:
    inputs = size_attribute()
    again = Inputs.from_json(inputs.to_json())
    assert again.to_json() == inputs.to_json()
    assert [t.shape for t in again.tensors] == [t.shape for t in inputs.tensors]
    assert [t.dtype for t in again.tensors] == [t.dtype for t in inputs.tensors]


def test_a_batch_is_repeated_or_cut_along_its_own_axis() -> None:
    inputs = Inputs((images(5, 2, 3), images(7)), batch_axis=1)
    assert inputs.batch == 2
    longer = inputs.with_batch(3)
    assert [tuple(t.shape) for t in longer.tensors] == [(5, 3, 3), (7,)]
    torch.testing.assert_close(longer.tensors[0][:, 2], inputs.tensors[0][:, 0])
    assert inputs.with_batch(1).batch == 1


def test_costs_of_sequences_first_are_those_of_one_sequence() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu().cumsum(0))

    supernet = elasticise(seeded(Recurrent), images(7, 4, 6), batch_axis=1)
    assert supernet.costs().of(supernet.space.largest()).macs == 7 * (6 * 32 + 32 * 3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (Inputs((images(1, 6),), {"idz": images(1)}), "did you mean 'ids'"),
        (Inputs(({"pair": (images(1, 6).double(), images(1, 6))},), {"ids": images(1)}), "float64.*float32"),
        (
            Inputs(({"pair": (images(1, 6).to("meta"), images(1, 6))},), {"ids": images(1)}),
            "on meta.* on cpu",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs: Inputs, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        fitting(Reader(), inputs)


def test_an_answer_without_tensors_is_refused() -> None:
    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> str:
            return "nothing"

    with pytest.raises(ConversionError, match="holds no tensor"):
        elasticise(Silent(), (1, 6))


def test_an_example_beside_arguments_is_refused() -> None:
    with pytest.raises(ConversionError, match="one or the other"):
        elasticise(Reader(), (1, 6), kwargs={"ids": images(1)})
