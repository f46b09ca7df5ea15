"""The surrogate of once-for-all MobileNetV3 that the search benchmarks run on, as a space and its objectives.

A kit is a folder with ``kit.py`` (its class `Oracle`: accuracy, multiply-adds, parameters and latencies of genomes)
and the arrays of an oracle. Genomes of the kit are 20 kernels, 20 expansions, 5 depths; those of the space are sorted
by stage.
"""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from search.evolution import Scored, evolve, joined
from search.objective import Objective, Values
from search.operators import ends
from supernet.space import Choice, Genes, SearchSpace

STAGES, LAYERS = 5, 4
KERNELS, EXPANDS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
REACH = 0.65
"""Where it ends, in latencies of the largest network: what is slower gains a tenth of a point for every millisecond."""
WORST_ACCURACY = 71.0
"""Where hypervolume begins, in percent; the smallest network is above."""


def ofa_space() -> SearchSpace:
    """Five stages of two to four layers, each with a kernel and an expansion."""
    choices: list[Choice] = []
    for stage in range(STAGES):
        depth = f"stages.{stage}.depth"
        choices.append(Choice(depth, DEPTHS))
        for layer in range(LAYERS):
            live = tuple(d for d in DEPTHS if d > layer)
            needs = (depth, live) if len(live) < len(DEPTHS) else None
            choices.append(Choice(f"stages.{stage}.{layer}.kernel", KERNELS, needs))
            choices.append(Choice(f"stages.{stage}.{layer}.expand", EXPANDS, needs))
    return SearchSpace(tuple(choices))


@dataclass(frozen=True)
class SearchKit:
    """A kit's oracle behind genes of `ofa_space`."""

    space: SearchSpace
    oracle: Any

    @property
    def devices(self) -> list[str]:
        """Names of the devices with latencies."""
        return [str(name) for name in self.oracle.devices]

    def genomes(self, genes: Genes) -> NDArray[np.int64]:
        """The same networks as the kit writes them ``(networks, 45)``."""
        return genes[:, _places(self.space)]

    def accuracy(self, genes: Genes) -> Values:
        """Top-1 accuracy in percent ``(networks,)``."""
        return np.asarray(self.oracle.accuracy(self.genomes(genes)), dtype=np.float64)

    def latency_ms(self, genes: Genes, device: str) -> Values:
        """Latency on a device in milliseconds ``(networks,)``."""
        return np.asarray(self.oracle.latency(self.genomes(genes), device), dtype=np.float64)

    def objectives(self, *devices: str) -> tuple[Objective, ...]:
        """Accuracy, the latency on each device with a front of its own, and exact costs that models may learn from."""
        return (
            Objective("accuracy", "%", "max", self.accuracy),
            *(
                Objective(
                    f"latency {d}",
                    "ms",
                    "min",
                    partial(self.latency_ms, device=d),
                    source="exact",
                    front=d if len(devices) > 1 else "",
                )
                for d in devices
            ),
            *self.costs(),
        )

    def costs(self) -> tuple[Objective, ...]:
        """Multiply-adds and parameters, recorded and not optimised."""
        macs = Objective("macs", "", "min", self.macs, source="exact", optimise=False)
        params = Objective("params", "", "min", self.params, source="exact", optimise=False)
        return macs, params

    def macs(self, genes: Genes) -> Values:
        """Multiply-adds ``(networks,)``."""
        return np.asarray(self.oracle.macs(self.genomes(genes)), dtype=np.float64)

    def params(self, genes: Genes) -> Values:
        """Parameters ``(networks,)``."""
        return np.asarray(self.oracle.params(self.genomes(genes)), dtype=np.float64)

    def losses(self, genes: Genes, device: str) -> Values:
        """Negative accuracy and latency ``(networks, 2)``."""
        return np.stack([-self.accuracy(genes), self.latency_ms(genes, device)], axis=1)


def genes_of_kit(space: SearchSpace, genomes: NDArray[np.integer]) -> Genes:
    """Canonical genes of `ofa_space` for genomes as the kit writes them ``(networks, 45)``."""
    genes = np.zeros((len(genomes), len(space)), dtype=np.int64)
    genes[:, _places(space)] = genomes
    return space.canonical(genes)


def _places(space: SearchSpace) -> list[int]:
    """Where the genes stand that the kit writes one after the other."""
    kernels = [f"stages.{s}.{layer}.kernel" for s in range(STAGES) for layer in range(LAYERS)]
    expands = [name.replace("kernel", "expand") for name in kernels]
    return [space.index(name) for name in (*kernels, *expands, *(f"stages.{s}.depth" for s in range(STAGES)))]


class MadeUpOracle:
    """Stands in for a kit's: sums over layers with less and less to gain, and four devices that differ."""

    devices = ("made up 0", "made up 1", "made up 2", "made up 3")

    def _layers(self, genomes: NDArray[np.int64]) -> tuple[Values, Values, Values]:
        """Kernel and expansion of every layer ``(networks, 20)``, 0 where it is left out, and its stage."""
        live = np.tile(np.arange(LAYERS), STAGES) < np.repeat(
            np.take(DEPTHS, genomes[:, 40:]), LAYERS, axis=1
        )
        stage = np.repeat(np.arange(STAGES), LAYERS).astype(np.float64)
        return np.take(KERNELS, genomes[:, :20]) * live, np.take(EXPANDS, genomes[:, 20:40]) * live, stage

    def accuracy(self, genomes: NDArray[np.int64]) -> Values:
        """In percent, from 71 to 79."""
        kernel, expand, stage = self._layers(genomes)
        gain = np.log1p(expand * (1 + kernel * stage / 20)).sum(axis=1)
        return np.asarray(80 - 25 * np.exp(-gain / 18), dtype=np.float64)

    def macs(self, genomes: NDArray[np.int64]) -> Values:
        """Large images early, wide layers late."""
        kernel, expand, stage = self._layers(genomes)
        return np.asarray(1e6 * (1 + (expand * (kernel**2 / 2**stage + 8)).sum(axis=1)), dtype=np.float64)

    def params(self, genomes: NDArray[np.int64]) -> Values:
        """Growing with the stage."""
        kernel, expand, stage = self._layers(genomes)
        return np.asarray(1e4 * (1 + (expand * (kernel**2 + 4**stage)).sum(axis=1)), dtype=np.float64)

    def latency(self, genomes: NDArray[np.int64], device: str) -> Values:
        """In ms; each device has its own price of a kernel and of a layer."""
        kernel, expand, stage = self._layers(genomes)
        which = self.devices.index(device)
        price = expand * kernel ** (1 + which / 3) / (1 + stage) + which * (expand > 0)
        return np.asarray(1 + 0.1 * price.sum(axis=1), dtype=np.float64)


def add_task(parser: ArgumentParser) -> None:
    """The options of a benchmark that searches one device within several budgets."""
    parser.add_argument("--kit", type=Path, metavar="DIR", help="folder with kit.py; made up when left out")
    parser.add_argument("--oracle", type=Path, metavar="FILE", help="arrays in place of the kit's own")
    parser.add_argument("--device", help="one of the oracle's; its first when left out")
    parser.add_argument("--evals", default="100,250,500,1000", help="budgets, separated by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--looks", type=int, default=50_000, help="networks of each reference evolution")


def load_kit(folder: Path | None, oracle: Path | None = None) -> SearchKit:
    """The kit in a folder, with another oracle where one is named; the made-up one without a folder."""
    if folder is None:
        return SearchKit(ofa_space(), MadeUpOracle())
    found = importlib.util.spec_from_file_location("search_kit_oracle", folder / "kit.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made = module.Oracle(str(oracle)) if oracle is not None else module.Oracle()
    return SearchKit(ofa_space(), made)


@dataclass(frozen=True)
class Yardstick:
    """What a front is measured against.

    Args:
        point: accuracy (negative, in percent) and latency (ms) up to which hypervolume counts.
        volume: the hypervolume of the best front known.
    """

    point: Values
    volume: float

    def share(self, losses: Values) -> float:
        """The share of the best front's hypervolume that these networks cover."""
        return hypervolume(losses, self.point) / self.volume


def yardstick(kit: SearchKit, device: str, *, looks: int = 50_000, runs: int = 3) -> Yardstick:
    """The front of several long evolutions on the oracle itself, and of one more that begins at theirs."""
    point = np.array([-WORST_ACCURACY, REACH * kit.latency_ms(ends(kit.space), device).max()])
    begin = ends(kit.space)
    fronts = joined([long_evolution(kit, device, looks, seed, begin) for seed in range(runs)])
    last = long_evolution(kit, device, looks, runs, fronts.genes)
    return Yardstick(point, hypervolume(joined([fronts, last]).losses, point))


def long_evolution(kit: SearchKit, device: str, looks: int, seed: int, begin: Genes) -> Scored:
    """The front of ``looks`` networks that NSGA-II evaluates on the oracle."""

    def judge(genes: Genes) -> Scored:
        """By the oracle."""
        return Scored(genes, kit.losses(genes, device), np.zeros((len(genes), 1)))

    rng = np.random.default_rng([seed, 77])
    found = evolve(kit.space, judge, begin, rng, generations=looks // 200)
    return found.rows(moocore.is_nondominated(found.losses))


def hypervolume(losses: Values, point: Values) -> float:
    """What losses cover up to a point."""
    inside = losses[(losses < point).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=point)) if len(inside) else 0.0
