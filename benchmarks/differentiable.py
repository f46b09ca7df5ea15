"""Differentiable search against chance: what the genotypes it finds are worth, trained alone, beside random ones.

PC-DARTS, GDAS and ProxylessNAS search a small DARTS space on digits. Every genotype, found or random, is then trained
from the start by the same recipe, with whole channels, and judged on the test split.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import mean, stdev

import torch
from torch import nn

from benchmarks.contract import Result, arguments
from supernet.differentiable import DifferentiableOptions, DifferentiableTrainer
from supernet.evaluate import Evaluator
from supernet.options import DataOptions, TrainOptions
from supernet.presets.darts import DARTS
from supernet.seeds import derive, rng
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.stepping import Stepper
from supernet.tasks.task import Dataset

PRESET = DARTS(cells=3, width=8, nodes=2, channels=1, resolution=8)
METHODS = {"pc_darts": 2, "gdas": 1, "proxylessnas": 1}
"""With their share of partial channels."""


def main() -> None:
    """Run the benchmark from the command line."""
    parser = arguments("differentiable", __doc__ or "")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=4, help="random genotypes for each seed")
    parser.add_argument("--search-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20, help="of every genotype alone")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.random, args.search_epochs, args.epochs = 1, 1, 1, 1
    torch.set_num_threads(1)
    result = Result("differentiable", vars(args))
    data = load_data(DataOptions(resolution=8))
    values: dict[str, list[float]] = {}
    for seed in range(args.seeds):
        archs = {name: [searched(name, data, args.search_epochs, seed)] for name in METHODS}
        draw: Random = rng(seed, "genotypes")
        archs["random"] = [PRESET.space.sample(draw) for _ in range(args.random)]
        for name, some in archs.items():
            values.setdefault(name, []).append(mean(worth(arch, data, args.epochs, seed) for arch in some))
    for name, of_seeds in values.items():
        spread = stdev(of_seeds) if len(of_seeds) > 1 else 0.0
        result.rows.append({"genotypes": name, "accuracy": mean(of_seeds), "sd over seeds": spread})
        result.figures[f"{name}.accuracy"] = mean(of_seeds)
    result.finish(args.json)


def searched(method: str, data: Dataset, epochs: int, seed: int) -> Architecture:
    """What a method finds."""
    preset = replace(PRESET, share=METHODS[method], seed=seed)
    options = TrainOptions(epochs=epochs, seed=seed, lr=0.05)
    search = DifferentiableOptions(method=method, lr=0.02, warmup=0.25)
    return DifferentiableTrainer(preset.supernet(), data, options, search).run()


def worth(arch: Architecture, data: Dataset, epochs: int, seed: int) -> float:
    """Accuracy on the test split, in percent, of one genotype that learnt alone."""
    preset = replace(PRESET, affine=True, seed=seed)
    supernet = preset.supernet()
    network = alone(supernet.extract(arch).train(), data, TrainOptions(epochs=epochs, seed=seed, lr=0.05))
    return Evaluator(supernet, data, "test").of(network.eval()).value


def alone(network: nn.Module, data: Dataset, options: TrainOptions) -> nn.Module:
    """A network after training."""
    epoch_steps = data.epoch_steps(options.batch_size)
    stepper = Stepper(network, options, epoch_steps)
    with torch.random.fork_rng():
        torch.manual_seed(derive(options.seed, "alone"))
        for step in range(options.epochs * epoch_steps):
            batch = data.batch(step, options.batch_size, options.seed)
            stepper.begin(step)
            stepper.backward(data.task.loss(data.task.inputs(batch).call(network), batch))
            stepper.step()
    return network


if __name__ == "__main__":
    main()
