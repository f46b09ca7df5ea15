"""A split supernet holds every architecture once, and is split where its values disagree."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch

from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError, SupernetError
from supernet.probing import Probe
from supernet.space import Choice, SearchSpace
from supernet.splitting import local_dimension, min_cut, part_of, restricted, split
from tests.supernet.strategies.course import few_images, small_supernet
from tests.tiny import tiny_images, tiny_supernet


def architectures(space: SearchSpace) -> set[str]:
    genomes = product(*(range(len(choice.values)) for choice in space.choices))
    return {str(sorted(space.decode(space.architecture(genes)).items())) for genes in genomes}


@pytest.mark.parametrize("by", ["gradients", "lid"])
def test_every_architecture_is_in_one_part_and_answers_there_as_in_the_whole(by: str) -> None:
    net, (x, _) = small_supernet(), few_images().batch(0, 4, 0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = split(net, few_images(), by, 2, paths=2, examples=16)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    held = Counter(one for part in found.parts for one in architectures(part.space))
    assert held.keys() == architectures(net.space) and set(held.values()) == {1}
    assert sum(part.space.size for part in found.parts) == net.space.size == sum(held.values())
    for genes in product(range(3), repeat=2):
        arch = net.space.architecture(genes)
        number, inside = found.of(arch)
        assert torch.equal(found.parts[number](x, inside), net(x, arch))
    assert split(net, few_images(), by, 2, paths=2, examples=16).agreement == found.agreement


def test_a_part_has_weights_of_its_own_and_can_be_split_again() -> None:
    net = small_supernet()
    first, second = split(net, few_images(), paths=1, examples=16).parts
    with torch.no_grad():
        first.largest.head.weight.zero_()
    assert second.largest.head.weight.any() and net.largest.head.weight.any()
    again = split(max(first, second, key=lambda part: part.space.size), few_images(), paths=1, examples=16)
    assert sum(part.space.size for part in again.parts) == again.whole.space.size


def test_what_needs_a_value_that_is_not_there_never_matters() -> None:
    space = SearchSpace(
        (Choice("depth", (1, 2, 3)), Choice("kernel", (3, 5), ("depth", (2, 3))), Choice("width", (8, 16)))
    )
    groups = [(1,), (2, 3)]
    parts = [restricted(space, "depth", group) for group in groups]
    assert [part.size for part in parts] == [2, 8] and sum(part.size for part in parts) == space.size
    held = [architectures(part) for part in parts]
    assert not held[0] & held[1] and held[0] | held[1] == architectures(space)


def test_kernels_and_depths_are_shared_out_too() -> None:
    net, x = tiny_supernet(), tiny_images()
    for choice in net.space.choices:
        part = part_of(net, choice.name, [0])
        arch = part.space.largest()
        assert torch.equal(part(x, arch), net(x, net.space.encode(part.space.decode(arch))))


@pytest.mark.parametrize(("values", "parts"), [(4, 2), (5, 2), (6, 3), (3, 3)])
def test_the_cut_is_the_best_of_all_balanced_ones(values: int, parts: int) -> None:
    drawn = torch.rand(values, values, generator=torch.Generator().manual_seed(values))
    agreement = drawn + drawn.T
    best = float("inf")
    for labels in product(range(parts), repeat=values):
        sizes = Counter(labels)
        if len(sizes) == parts and max(sizes.values()) - min(sizes.values()) <= 1:
            apart = [
                agreement[i, j].item() for i in range(values) for j in range(i) if labels[i] != labels[j]
            ]
            best = min(best, sum(apart) / len(apart))
    found, groups = min_cut(agreement, parts)
    assert found == pytest.approx(best)
    assert sorted(one for group in groups for one in group) == list(range(values))


def test_values_are_grouped_by_where_they_would_move_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    left, right, noise = torch.randn(3, 50)

    def gradient(self: Probe, arch: object) -> torch.Tensor:
        width = self.supernet.space.decode(arch)["two.width"]  # type: ignore[arg-type]
        return right if width == 12 else left + 0.1 * noise * width

    monkeypatch.setattr(Probe, "gradient", gradient)
    found = split(small_supernet(), few_images(), paths=3, examples=16)
    assert found.choice == "two.width"
    assert {part.space["two.width"].values for part in found.parts} == {(8, 16), (12,)}


@pytest.mark.parametrize("dimension", [2, 5])
def test_the_dimension_of_a_gaussian_is_found(dimension: int) -> None:
    drawn = torch.Generator().manual_seed(0)
    inside = torch.randn(2000, dimension, generator=drawn) @ torch.randn(dimension, 30, generator=drawn)
    assert local_dimension(inside).item() == pytest.approx(dimension, rel=0.1)


def test_what_can_not_be_split_is_said() -> None:
    net: Supernet = small_supernet()
    with pytest.raises(SupernetError, match="did you mean 'gradients'"):
        split(net, few_images(), "gradient")
    with pytest.raises(SpaceError, match=r"into 4 parts; they can be 2 to .* the longest of those has 3"):
        split(net, few_images(), parts=4)
