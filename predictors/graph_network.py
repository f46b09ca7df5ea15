"""Predict by a small network on the graphs of architectures, which learns from free statistics first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from predictors.columns import Columns
from predictors.estimate import (
    Archs,
    Cost,
    Estimate,
    Learner,
    Predictor,
    Values,
    genes_of,
    measured,
    predictors,
)
from predictors.graphs import Graphs, chain
from predictors.intervals import Calibration
from predictors.linear import standard
from predictors.process import estimated, to_learn
from supernet.space import SearchSpace

FEWEST = 5
"""Measurements to learn from; each member of the ensemble is kept from a fifth of them."""
MEMBERS, HIDDEN, LABELS = 5, 16, 24
STEPS, RATE, DECAY, BATCH = 100, 0.01, 3e-3, 64
FREE = 128
"""Architectures whose exact costs are learned first."""


@predictors.register("graph_network")
class GraphNetwork(Learner):
    """A line over the exact costs, and a graph neural network for what it leaves over.

    Two rounds of messages along the edges and against them, then the sum over all nodes. An ensemble: each member is
    kept from a fifth of the measurements, and what it is off by on those makes the intervals (the jackknife+ of folds,
    arXiv:1905.02928). Before that the network learns what costs nothing to know, the multiply-adds and parameters of
    architectures that nobody measured (FBNetV3, arXiv:2006.02049).

    Args:
        space: of the architectures.
        macs: exact multiply-adds, where they are known.
        params: exact parameters, where they are known.
        references: predictors of other devices, by name; what they say becomes a cost.
        graphs: of genes; a chain of the groups of choices when None, `predictors.graphs.traced` of a supernet.
        unit: of what is measured.
        level: share of measurements that an interval should cover.
        positive: whether it is a positive number whose logarithm is to be learned, such as a latency.
        pretrain: learn exact costs first, where there are any.
        seed: of weights, folds and architectures.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        macs: Cost | None = None,
        params: Cost | None = None,
        references: Mapping[str, Predictor] | None = None,
        graphs: Graphs | None = None,
        unit: str = "ms",
        level: float = 0.9,
        positive: bool = True,
        pretrain: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(space, unit, level)
        self.positive, self.pretrain, self.seed = positive, pretrain, seed
        self._columns = Columns(space, macs=macs, params=params, references=references)
        self._has_costs = macs is not None or params is not None
        self._graphs = graphs or chain(space)

    def fit(self, archs: Archs, values: Values, noise: Values | None = None) -> None:
        """Learn from measured architectures; see `Predictor.fit`.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: for fewer than five architectures, or a measurement that is impossible.
        """
        known = measured(
            self.space, archs, values, noise, fewest=FEWEST, unit=self.unit, positive=self.positive
        )  # fmt: skip
        target, spread = to_learn(known, self.positive)
        weight = 1 / (
            1 + (0 if spread is None else spread / (0.1 * target.std() + 1e-12)) ** 2 * np.ones(len(target))
        )
        self._line = _Line(self._costs(known.genes), target, weight)
        rest = target - self._line(self._costs(known.genes))
        self._scale = float(np.sqrt(np.average(rest**2, weights=weight))) or 1.0
        drawn = _Drawn.of(self._graphs(known.genes))
        folds = np.random.default_rng(self.seed).permutation(len(rest)) % MEMBERS
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.seed)
            start = self._learned_free(drawn.width)
            seen = np.arange(MEMBERS)[:, None] != folds
            self._members = _trained(start, drawn, rest[:, None] / self._scale, weight * seen, self.seed)
        found = _answers(self._members, drawn)[folds, np.arange(len(rest)), 0] * self._scale
        off = np.sqrt(weight) * (rest - found)
        self._usual = float(np.sqrt(np.mean(off**2))) + 1e-12
        self._calibration = Calibration.of(off, np.full(len(off), self._usual), self.level)
        self._measured = known

    def predict(self, archs: Archs) -> Estimate:
        """One estimate for each architecture.

        Raises:
            ArchitectureError: for architectures of another space.
            PredictorError: before `fit`.
        """
        self.learned_from  # noqa: B018 - refuses before `fit`
        genes = genes_of(self.space, archs)
        answers = _answers(self._members, _Drawn.of(self._graphs(genes)))[:, :, 0] * self._scale
        unsure = np.full(len(genes), self._usual)
        mean = self._line(self._costs(genes)) + answers.mean(0)
        sd, reach = self._calibration.sd(unsure), self._calibration.reach(unsure)
        return estimated(mean, sd, reach, self.positive, self.unit, self.level)

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that make an equal predictor, apart from costs, references and graphs."""
        names = ("unit", "level", "positive", "pretrain", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def model(self) -> str:
        """What it is."""
        return f"graph network of {MEMBERS} members" + (", pretrained on costs" if self.pretrain else "")

    def _costs(self, genes: Any) -> Values:
        table = self._columns.table(genes)
        return np.hstack([table.elsewhere, table.costs])

    def _learned_free(self, width: int) -> _Weights:
        """A network that knows the exact costs of some architectures, or one that knows nothing."""
        fresh = _fresh(width)
        if not (self.pretrain and self._has_costs):
            return _headed(fresh, 1)
        last = [len(choice.values) for choice in self.space.choices]
        drawn = np.random.default_rng(self.seed).integers(0, last, (FREE, len(last)))
        genes = np.unique(self.space.canonical(drawn), axis=0)
        costs = self._columns.table(genes).costs
        centre, spread = standard(costs)
        target = (costs - centre) / spread
        start = _headed(fresh, target.shape[1])
        seen = np.ones((1, len(target)))
        found = _trained(
            {name: each[:1] for name, each in start.items()},
            _Drawn.of(self._graphs(genes)),
            target,
            seen,
            self.seed,
        )
        trunk = {name: each.expand(MEMBERS, *each.shape[1:]).clone() for name, each in found.items()}
        return _headed(trunk, 1)


class _Line:
    """Linear in the costs, by least squares that a little doubt draws to a constant."""

    def __init__(self, costs: Values, target: Values, weight: Values) -> None:
        self._centre, self._spread = standard(costs)
        rows = self._rows(costs) * np.sqrt(weight)[:, None]
        ridge = np.diag([0.0, *[0.1] * costs.shape[1]])
        self._slopes = np.linalg.solve(rows.T @ rows + ridge, rows.T @ (target * np.sqrt(weight)))

    def __call__(self, costs: Values) -> Values:
        """``(architectures,)``."""
        return np.asarray(self._rows(costs) @ self._slopes)

    def _rows(self, costs: Values) -> Values:
        return np.hstack([np.ones((len(costs), 1)), (costs - self._centre) / self._spread])


@dataclass(frozen=True)
class _Drawn:
    """Some graphs as tensors, padded to as many nodes.

    Args:
        nodes: what is known of each ``(graphs, nodes, width)``.
        reads: whom each reads, as shares ``(graphs, nodes, nodes)``.
        there: 1 for a node, 0 for padding ``(graphs, nodes, 1)``.
    """

    nodes: Tensor
    reads: Tensor
    there: Tensor

    @classmethod
    def of(cls, graphs: Sequence[nx.DiGraph]) -> _Drawn:
        """Of networkx graphs, whose labels become one of `LABELS` marks by their hash."""
        most = max(len(graph) for graph in graphs)
        width = len(next(iter(graphs[0].nodes.values()))["values"])
        nodes, reads = np.zeros((len(graphs), most, width + LABELS)), np.zeros((len(graphs), most, most))
        there = np.zeros((len(graphs), most, 1))
        for i, graph in enumerate(graphs):
            places = {node: place for place, node in enumerate(graph)}
            for node, place in places.items():
                data = graph.nodes[node]
                nodes[i, place, :width] = data["values"]
                nodes[i, place, width + crc32(str(data["label"]).encode()) % LABELS] = 1
                there[i, place] = 1
            for source, reader in graph.edges:
                reads[i, places[reader], places[source]] = 1 / graph.in_degree(reader)
        return cls(*(torch.from_numpy(each).float() for each in (nodes, reads, there)))

    @property
    def width(self) -> int:
        """Numbers that are known of a node."""
        return int(self.nodes.shape[-1])

    def rows(self, which: Tensor) -> _Drawn:
        """Some of the graphs."""
        return _Drawn(self.nodes[which], self.reads[which], self.there[which])


_Weights = dict[str, Tensor]
"""Of all members at once: ``(members, in, out)`` each."""


def _fresh(width: int) -> _Weights:
    sizes = {"in": (width, HIDDEN)} | {
        f"{way}{i}": (HIDDEN, HIDDEN) for i in range(2) for way in ("own", "to", "from")
    }
    return {name: torch.randn(MEMBERS, *size) * size[0] ** -0.5 for name, size in sizes.items()}


def _headed(weights: _Weights, out: int) -> _Weights:
    """The same with a head of its own, which begins as zero."""
    return weights | {"out": torch.zeros(MEMBERS, HIDDEN, out)}


def _run(weights: _Weights, drawn: _Drawn) -> Tensor:
    """``(members, graphs, answers)``."""
    against = drawn.reads.transpose(1, 2)
    h = torch.relu(torch.einsum("gnw,mwh->mgnh", drawn.nodes, weights["in"]))
    for i in range(2):
        messages = h @ weights[f"own{i}"][:, None]
        messages = messages + drawn.reads @ (h @ weights[f"to{i}"][:, None])
        h = h + torch.relu(messages + against @ (h @ weights[f"from{i}"][:, None])) * drawn.there
    pooled = (h * drawn.there).sum(2) / drawn.there.shape[1] ** 0.5
    out: Tensor = pooled @ weights["out"]
    return out


def _answers(weights: _Weights, drawn: _Drawn) -> Values:
    count = len(drawn.nodes)
    with torch.no_grad():
        parts = [
            _run(weights, drawn.rows(torch.arange(first, min(first + 512, count))))
            for first in range(0, count, 512)
        ]
    found: Values = torch.cat(parts, 1).double().numpy()
    return found


def _trained(weights: _Weights, drawn: _Drawn, target: Values, weight: Values, seed: int) -> _Weights:
    """Weights that come near a target ``(graphs, answers)``; each graph counts by its weight ``(members, graphs)``."""
    learning = {name: each.clone().requires_grad_() for name, each in weights.items()}
    optimiser = torch.optim.AdamW(learning.values(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    true, counts = torch.from_numpy(target).float(), torch.from_numpy(weight).float()
    order = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        which = torch.randperm(len(true), generator=order)[:BATCH]
        off = (_run(learning, drawn.rows(which)) - true[which]).pow(2).mean(2) * counts[:, which]
        optimiser.zero_grad()
        (off.sum() / counts[:, which].sum().clamp(min=1e-6) * len(off)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return {name: each.detach() for name, each in learning.items()}
