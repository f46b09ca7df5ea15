"""What each kind of cut costs: where a network can be made smaller, and where it should be left whole.

Everything else stays at its largest, so the figures are of one kind of cut alone; every cut network is judged
with batch-norm statistics of its own, on the search split. Subnets of one cost differ by more than most other
choices are worth, and the kinds that cost much for what they save are better not offered at all:
``supernet.options.dims`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

from supernet.elastic.sizes import DIMS
from supernet.elastic.supernet import Supernet
from supernet.errors import SpaceError
from supernet.evaluate import Evaluator
from supernet.space import Architecture
from supernet.tasks.task import Metric

LARGE, SMALL = 0.9, 0.5
"""Shares of the multiply-adds: a kind whose deepest cut leaves more than the first saves nothing worth training for;
the smallest network of a family may have at most the second."""
OFFERED = {"present": "depth", "head_dim": "heads", "squeeze": "hidden"}
"""Kinds of dims that are asked for under another name, see ``supernet.options.dims``."""


@dataclass(frozen=True)
class Cut:
    """One cut of the largest network, and what it is worth.

    Args:
        kind: what is cut: ``hidden``, ``residual``, ``heads``, ``kernel``, ``depth``, ``resolution``, ...
        choice: name of the only choice that is cut; empty when all of the kind are.
        share: how much of what can be cut is left, 0 for the smallest size of every choice.
        macs: multiply-adds over those of the largest network.
        params: likewise.
        loss: what the task ranks networks by; the metric may be one where more is better.
        worse: the loss less that of the largest network, positive for worse, whichever way the metric goes.
        score: what people are told of a network, e.g. the accuracy in percent.
        lost: how much of that is lost against the largest network, positive for worse, in its unit.
    """

    kind: str
    choice: str
    share: float
    macs: float
    params: float
    loss: float
    worse: float
    score: float
    lost: float

    @property
    def saved(self) -> float:
        """Share of the multiply-adds that is saved."""
        return 1 - self.macs


Told = Callable[[int, int], None]
"""Called with the networks judged and how many there are in all."""


def sensitivity(
    evaluator: Evaluator, told: Told = lambda done, total: None, *, each: bool = True
) -> list[Cut]:
    """Judge the largest network with one kind cut to each of its sizes, then with one choice at its smallest.

    Args:
        evaluator: of the supernet, on its search split.
        told: how far it is.
        each: whether to cut single choices too.

    Returns:
        The largest network (kind and choice are empty), the cuts of every kind from the largest size to the
        smallest, then one cut for every choice; in the order of the space.

    Raises:
        SpaceError: when there is nothing to choose.
        SupernetError: when a metric is no number.
    """
    net = evaluator.supernet
    if not len(net.space):
        raise SpaceError(
            "the supernet holds a single network; make something of it elastic, see supernet.options"
        )
    asked = [cut for cut in _asked(net) if each or not cut[1]]
    costs = net.costs(None if net.example is not None else evaluator.task.example_inputs())
    genes = net.space.matrix([net.space.largest(), *(arch for *_, arch in asked)])
    macs, params = costs.macs(genes) / costs.macs(genes[:1]), costs.params(genes) / costs.params(genes[:1])
    metric, told_of = evaluator.task.ranked_by, evaluator.task.measures[0]
    found: list[Cut] = []
    for i, (kind, choice, share, arch) in enumerate([("", "", 1.0, net.space.largest()), *asked]):
        seen = evaluator(arch)
        loss = seen[metric.name]
        worse = _worse(metric, loss, found[0].loss) if found else 0.0
        lost = _worse(told_of, seen.value, found[0].score) if found else 0.0
        size = float(macs[i]), float(params[i])
        found.append(Cut(kind, choice, share, *size, loss, worse, seen.value, lost))
        told(i + 1, len(asked) + 1)
    return found


def _worse(metric: Metric, value: float, than: float) -> float:
    return value - than if metric.sense == "min" else than - value


def prices(cuts: list[Cut]) -> dict[str, float]:
    """What each kind of cut costs: points lost for all of the multiply-adds, the cheapest kind first.

    The line through zero that is nearest to all cuts of the kind: a single cut, judged on some hundred examples with a
    head that has hardly learnt, is off by points. What is lost is of the metric that people are told, which such a head
    spoils less than a log loss. Kinds that save next to nothing come last, whatever they seem to cost.
    """
    by_kind: dict[str, list[Cut]] = {}
    for cut in cuts:
        if cut.kind and not cut.choice:
            by_kind.setdefault(cut.kind, []).append(cut)
    found = {kind: _slope(rows) for kind, rows in by_kind.items()}
    small = {kind: min(cut.macs for cut in rows) <= LARGE for kind, rows in by_kind.items()}
    return dict(sorted(found.items(), key=lambda item: (not small[item[0]], item[1])))


def _slope(cuts: list[Cut]) -> float:
    """Of what is lost over what is saved, through zero; infinite where nothing is saved."""
    squares = sum(cut.saved**2 for cut in cuts)
    return sum(cut.lost * cut.saved for cut in cuts) / squares if squares else float("inf")


def worthwhile(cuts: list[Cut]) -> list[str]:
    """The dims that are worth offering: the cheapest, and of the others as few as make networks small enough.

    Each kind that is offered takes its part of the training: EfficientNet-Lite2, trained on 5,000 images for three
    epochs, was better at every size with depth alone elastic than with widths as well (docs/benchmarks.md, pretrained).
    """
    found: list[str] = []
    left = 1.0
    for kind, price in prices(cuts).items():
        if kind in DIMS and left > SMALL and isfinite(price):
            found.append(kind)
            left *= min(cut.macs for cut in cuts if cut.kind == kind and not cut.choice)
    return found


def kinds_of(net: Supernet) -> dict[str, list[str]]:
    """The choices of a space by what they cut, as ``supernet.options.dims`` calls it.

    A choice that sets dims of several kinds belongs to the first of them that is not a follower (a squeeze).
    """
    found: dict[str, list[str]] = {}
    for choice, kinds in net.plan.kinds.items():
        leading = sorted(kinds - {"squeeze"}) or sorted(kinds) or [_named(net, choice)]
        found.setdefault(OFFERED.get(leading[0], leading[0]), []).append(choice)
    return found


def _named(net: Supernet, choice: str) -> str:
    """What a choice that sets no size is about: the depth of a stage, or the resolution."""
    return "depth" if choice.endswith("depth") else choice


def _asked(net: Supernet) -> Iterator[tuple[str, str, float, Architecture]]:
    """Kind, choice, share and architecture of every cut; those that end at one architecture once."""
    space, largest = net.space, net.space.largest()
    for kind, names in kinds_of(net).items():
        most = max(len(space[name].values) for name in names) - 1
        seen = {largest}
        for level in range(most - 1, -1, -1):
            arch = _cut(net, names, level / most)
            if arch not in seen:
                seen.add(arch)
                yield kind, "", level / most, arch
    for kind, names in kinds_of(net).items():
        for name in names:
            arch = _cut(net, [name], 0.0)
            if arch != largest:
                yield kind, name, 0.0, arch


def _cut(net: Supernet, names: list[str], share: float) -> Architecture:
    """The largest network with some choices at a share of their genes."""
    genes = [len(choice.values) - 1 for choice in net.space.choices]
    for name in names:
        i = net.space.index(name)
        genes[i] = round(share * genes[i])
    return net.space.architecture(genes)
