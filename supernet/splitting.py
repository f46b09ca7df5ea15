"""A supernet in parts: values of a choice that want other weights get weights of their own.

Which choice is split, and how its values are grouped, follows from how much they disagree. The parts begin with
the weights of the whole, are supernets like any other, and hold every architecture exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random

import torch
from torch import Tensor

from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError, SupernetError, did_you_mean
from supernet.features import caught
from supernet.probing import Probe
from supernet.seeds import derive, rng
from supernet.space import Architecture, Choice, SearchSpace, Value
from supernet.stages import stage_paths
from supernet.tasks.task import Batch, Dataset, moved

NEIGHBOURS = 20
"""Of each example, from whose distances a dimension is estimated."""
Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Split:
    """One supernet in parts.

    Args:
        whole: the supernet, as it was.
        choice: whose values the parts share out.
        parts: each with weights of its own.
        agreement: between the values of different parts; of all choices and groupings the least.
    """

    whole: Supernet
    choice: str
    parts: tuple[Supernet, ...]
    agreement: float

    def of(self, arch: Architecture) -> tuple[int, Architecture]:
        """The part that holds an architecture of the whole, and what it is there.

        Raises:
            ArchitectureError: when it is of another space.
        """
        values = self.whole.space.decode(arch)
        held = (values[self.choice] in part.space[self.choice].values for part in self.parts)
        number = list(held).index(True)
        return number, self.parts[number].space.encode(values)


def split(
    supernet: Supernet,
    dataset: Dataset,
    by: str = "gradients",
    parts: int = 2,
    *,
    paths: int = 4,
    examples: int = 128,
    seed: int = 0,
) -> Split:
    """Split a supernet where its weights are wanted to be different things.

    ``gradients`` compares where the values of a choice would move the weights that they share (Hu et al., GM-NAS,
    arXiv:2203.15207), ``lid`` the local intrinsic dimensions of what they make of the same examples, stage by stage
    (He et al., NAS-LID, arXiv:2211.12759). Values are grouped into parts of equal size, give or take one, such that
    those of different parts agree least; the choice where they do is split. Only choices that always matter can be:
    of the others an architecture without them would be in every part.

    Args:
        supernet: trained for a while; left as it is. A part can be split again.
        dataset: whose calibration examples are looked at.
        by: ``gradients`` or ``lid``.
        parts: how many.
        paths: random architectures that each value is seen in, the same for all values.
        examples: that they are seen on.
        seed: of the examples and the architectures.

    Raises:
        SupernetError: for an unknown measure.
        SpaceError: when no choice that always matters has as many values.
    """
    if by not in MEASURES:
        raise SupernetError(f"supernets can not be split by {by!r}{did_you_mean(by, MEASURES)}")
    offered = [c for c in supernet.space.choices if c.needs is None and len(c.values) >= max(parts, 2)]
    if parts < 2 or not offered:
        raise SpaceError(
            f"a supernet was to be split into {parts} parts; they can be 2 to the number of values of a choice that "
            f"always matters, and the longest of those has "
            f"{max((len(c.values) for c in supernet.space.choices if c.needs is None), default=0)}"
        )
    device = next(supernet.parameters()).device
    (batch, *_) = dataset.calibration_batches(examples, examples, seed)
    pieces = [(moved(batch, device), 1.0)]
    probe = Probe(supernet, dataset.task, pieces, _answer_of(supernet, dataset), derive(seed, "split"))
    mode = supernet.training
    supernet.train()
    found = []
    for choice in offered:
        values = list(_variants(supernet.space, choice, paths, rng(seed, "split", choice.name)))
        found.append((*min_cut(MEASURES[by](probe, values), parts), choice.name))
    supernet.train(mode)
    agreement, groups, name = min(found, key=lambda one: one[0])
    return Split(supernet, name, tuple(part_of(supernet, name, group) for group in groups), agreement)


def part_of(supernet: Supernet, choice: str, genes: Sequence[int]) -> Supernet:
    """A supernet of the same weights, copied, that holds only some values of a choice.

    Raises:
        SpaceError: when there is no such choice.
    """
    plan, known = supernet.plan, supernet.space[choice].values
    space = restricted(supernet.space, choice, [known[gene] for gene in genes])
    dims = {
        name: replace(dim, table=dim.table.take(genes, axis=dim.by.index(choice)))
        if choice in dim.by
        else dim
        for name, dim in plan.dims.items()
    }
    part = supernet.following(replace(plan, space=space, dims=dims))
    part.origin = supernet.origin and supernet.origin | {"part_of": supernet.space.fingerprint}
    return part


def restricted(space: SearchSpace, choice: str, values: Sequence[Value]) -> SearchSpace:
    """A space with some of the values of a choice; what mattered only with others never matters."""

    def kept(one: Choice) -> Choice:
        """A choice of the part."""
        if one.name == choice:
            return replace(one, values=tuple(values))
        if one.needs is None or one.needs[0] != choice:
            return one
        return replace(one, needs=(choice, tuple(value for value in one.needs[1] if value in values)))

    return SearchSpace(tuple(kept(one) for one in space.choices))


def min_cut(agreement: Tensor, parts: int) -> tuple[float, Groups]:
    """The groups of equal size, give or take one, that agree least with each other; and how much, on average.

    Args:
        agreement: of every value with every other, ``(values, values)``, symmetric.
        parts: how many groups.
    """
    values, best = len(agreement), (float("inf"), ())  # type: tuple[int, tuple[float, Groups]]
    for groups in _groupings(tuple(range(values)), parts):
        apart = [float(agreement[i, j]) for one, other in combinations(groups, 2) for i in one for j in other]
        best = min(best, (sum(apart) / len(apart), groups))
    return best


def _groupings(left: tuple[int, ...], parts: int) -> Iterator[Groups]:
    """Every way to put numbers into groups of equal size, give or take one, each once."""
    if parts == 1:
        yield (left,)
        return
    first, *others = left
    for size in {len(left) // parts, -(-len(left) // parts)}:
        for more in combinations(others, size - 1):
            group = (first, *more)
            for rest in _groupings(tuple(one for one in left if one not in group), parts - 1):
                yield (group, *rest)


def _variants(space: SearchSpace, choice: Choice, paths: int, chance: Random) -> Iterator[list[Architecture]]:
    """For every value of a choice the same random architectures, with that value."""
    i = space.index(choice.name)
    drawn = [[chance.randrange(len(one.values)) for one in space.choices] for _ in range(paths)]
    for gene in range(len(choice.values)):
        yield [space.architecture([*genes[:i], gene, *genes[i + 1 :]]) for genes in drawn]


def _answer_of(supernet: Supernet, dataset: Dataset) -> Callable[[Architecture, Batch], object]:
    def answer(arch: Architecture, batch: Batch) -> object:
        """What one architecture says to a batch."""
        return dataset.task.inputs(batch, supernet.input_values(arch)).call(supernet.subnet(arch))

    return answer


def _by_gradients(probe: Probe, values: list[list[Architecture]]) -> Tensor:
    """The cosine between the gradients of any two values, over the entries that both move, ``(values, values)``."""
    moves = [torch.stack([probe.gradient(arch) for arch in archs]).sum(0) for archs in values]
    return torch.tensor([[_cosine(one, other) for other in moves] for one in moves])


def _cosine(one: Tensor, other: Tensor) -> float:
    both = (one != 0) & (other != 0)
    return float(torch.cosine_similarity(one[both], other[both], dim=0)) if bool(both.any()) else 0.0


def _by_dimension(probe: Probe, values: list[list[Architecture]]) -> Tensor:
    """How near the logarithms of the stages' dimensions are for any two values, negative, ``(values, values)``."""
    profiles = [torch.stack([_profile(probe, arch) for arch in archs]).nanmean(0) for archs in values]
    return -torch.tensor([[float((a - b).nan_to_num().norm()) for b in profiles] for a in profiles])


def _profile(probe: Probe, arch: Architecture) -> Tensor:
    """The logarithm of the local intrinsic dimension after every stage; NaN where a stage is left out."""
    network = probe.supernet.largest
    paths = stage_paths(network)
    with caught(network, paths) as outputs:
        probe.loss(arch)
    nothing = torch.tensor(float("nan"))
    found = [
        local_dimension(outputs[path].flatten(1)).cpu() if path in outputs else nothing for path in paths
    ]
    return torch.stack(found).log()


def local_dimension(points: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """The local intrinsic dimension of a cloud of points, by maximum likelihood; a scalar.

    Levina and Bickel, NIPS 2004: from how fast the distances to the nearest neighbours grow; the inverses are
    averaged over points, as MacKay and Ghahramani noted.

    Args:
        points: ``(points, coordinates)``, at least three different ones.
        neighbours: of each, at most all others.
    """
    points = points.double()
    count = min(neighbours, len(points) - 1)
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf).topk(count, largest=False).values
    distances = distances.clamp_min(torch.finfo(distances.dtype).tiny)
    inverse = (distances[:, -1:] / distances[:, :-1]).log().sum(1) / max(count - 2, 1)
    return 1 / inverse.mean()


Measure = Callable[[Probe, list[list[Architecture]]], Tensor]
MEASURES: dict[str, Measure] = {"gradients": _by_gradients, "lid": _by_dimension}
