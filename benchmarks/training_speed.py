"""What every strategy costs: images a second in training, over those of plain training of the largest network alone.

    python -m benchmarks.training_speed [--model NAME] [--data SOURCE] [--resolution 64] [--turns 21] [--json FILE]

All take turns in one process, with one thread: a turn is one optimiser step of each. The turns are spread over the
steps of the schedule, so that a strategy of phases is met in all of them, and follow ``--warm`` others, spread
likewise, in which shapes are met for the first time (`supernet.kernel_cache`). An image counts once, however many
lessons of its step see it. Figures, for each strategy ``S``:

- ``S.relative_images_per_second``: those of ``S`` over those of plain training; median over the turns.
- ``S.over_macs_share``: the time of a step over that of plain training, divided by the multiply-adds of its lessons
  over those of the largest network: 1 where nothing but the subnets themselves takes time. Median over the turns.
- ``S.over_cut_out``: the time of a step over what its lessons' networks take, cut out, for forward and backward passes
  on the same batch: what being elastic, the strategy, the batch and the optimiser cost. Narrow networks do less in a
  second, which the figure above has and this one has not. Median over the turns. That of ``plain`` is what any loop
  of training has of it: the batch, the optimiser and the record.
- ``waiting``: share of the time that plain training of the largest, the fastest to use up its data, waits for them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.contract import Result, arguments
from supernet.build import build
from supernet.config import decode, override
from supernet.elastic.supernet import Supernet
from supernet.options import TrainOptions
from supernet.sources import load_data
from supernet.strategies import Context, Lesson, Observer, Standalone, Strategy, strategies
from supernet.tasks.task import Dataset, piece_of
from supernet.trainer import Trainer
from zoo.pipeline.options import RunOptions

PLAIN = "plain"


def main() -> None:
    """Run the benchmark."""
    args = _arguments().parse_args()
    torch.set_num_threads(1)
    if args.quick:
        args.model, args.resolution, args.warm, args.turns, args.batch = "mobile", 16, 1, 3, 8
        args.set = ["supernet.options.widths=[8,8,12]", "supernet.options.depths=[1,2]", *args.set]
    result = Result("training_speed", vars(args))
    options = _options(args)
    # no processes that make the batches after a step, where the next one is another
    data = load_data(replace(options.data, workers=0))
    net = build(options.supernet, data.task, seed=options.train.seed)
    names = args.strategies.split(",") if args.strategies else [n for n in strategies if n != "alone"]
    runners = {PLAIN: Runner(net, data, options.train, Standalone())}
    runners |= {name: Runner(net, data, options.train, strategies[name]()) for name in names}
    turns = take_turns(runners, args.turns, args.warm)
    for name in runners:
        result.rows.append(_row(name, turns, args.batch))
        result.figures[f"{name}.over_cut_out"] = result.rows[-1]["time over cut out"]
    for row in result.rows[1:]:
        result.figures[f"{row['strategy']}.relative_images_per_second"] = row["over plain"]
        result.figures[f"{row['strategy']}.over_macs_share"] = row["time over MACs"]
    result.figures["waiting"] = waiting(net, load_data(options.data), options.train, args.turns)
    result.finish(args.json)


def _arguments() -> argparse.ArgumentParser:
    parser = arguments("training_speed", __doc__.partition("\n")[0])
    parser.add_argument("--model", default="mobilenetv3_small_050", help="a preset or a timm model")
    parser.add_argument("--data", default="digits", help="as `supernet train --data`")
    parser.add_argument("--resolution", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    parser.add_argument("--turns", type=int, default=21, help="steps of each strategy")
    parser.add_argument(
        "--warm", type=int, default=20, help="steps of each that come before and are not timed"
    )
    parser.add_argument("--strategies", help="some, separated by commas; all that are registered by default")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as `supernet train --set`"
    )
    return parser


def _options(args: argparse.Namespace) -> RunOptions:
    changes = [
        f"data.source={args.data!r}",
        f"data.resolution={args.resolution}",
        f"supernet.model={args.model!r}",
        f"train.batch_size={args.batch}",
        "train.epochs=1000",  # the end is never reached: nothing is evaluated between the turns
        "train.evaluate_every=1000",
    ]
    return decode(override({}, [*changes, *args.set]), RunOptions)


@dataclass
class Noted:
    """A strategy whose last lessons can be looked at."""

    strategy: Strategy
    last: list[Lesson] = field(default_factory=list)

    def lessons(self, context: Context) -> list[Lesson]:
        """Those of the strategy."""
        self.last = self.strategy.lessons(context)
        return self.last

    def observe(self, context: Context, lessons: Sequence[Lesson], losses: Sequence[float]) -> None:
        """What the strategy does with them."""
        if isinstance(self.strategy, Observer):
            self.strategy.observe(context, lessons, losses)


class _Paused(Exception):
    """A training stops here, to go on later."""


class Runner:
    """One training that is run a step at a time, on a supernet of its own."""

    def __init__(self, net: Supernet, data: Dataset, options: TrainOptions, strategy: Strategy) -> None:
        self.net, self.noted = deepcopy(net), Noted(strategy)
        self.trainer = Trainer(self.net, data, options, strategy=self.noted)
        self.costs = self.net.costs(None if self.net.example is not None else data.task.example_inputs())

    def begin(self, number: int) -> None:
        """Do one step of the schedule, with all that comes before a first one."""
        self.trainer.step = number
        run(self.trainer, 1)

    def step(self, number: int) -> Turn:
        """Do one step of the schedule, in a training that has begun, and time it."""
        self.trainer.step = number
        # the time of this thread: what other programs do is not counted
        start = time.thread_time()
        self.trainer._learn()
        return Turn(time.thread_time() - start, self._share(), self._cut_out(number))

    def _cut_out(self, number: int) -> float:
        """Seconds that the same lessons take as plain networks, without an optimiser."""
        trainer, seconds = self.trainer, 0.0
        batch = trainer.batches.make(number)
        for lesson in self.noted.last:
            network = self.net.extract(lesson.arch).train().to(memory_format=trainer.layout)
            own = piece_of(batch, *lesson.part)[0]
            inputs = trainer.task.inputs(own, self.net.input_values(lesson.arch))
            start = time.thread_time()
            outputs = inputs.to(memory_format=trainer.layout).call(network)
            trainer.task.loss(outputs, own).backward()
            seconds += time.thread_time() - start
        return seconds

    def _share(self) -> float:
        space, lessons = self.net.space, self.noted.last
        archs = [space.largest(), *(lesson.arch for lesson in lessons)]
        largest, *macs = self.costs.macs(space.matrix(archs)).tolist()
        return sum(cost / lesson.part[1] for cost, lesson in zip(macs, lessons)) / largest


@dataclass(frozen=True)
class Turn:
    """One step.

    Args:
        seconds: of this thread.
        macs_share: multiply-adds of all its lessons over those of the largest network on the whole batch.
        cut_out: seconds of its lessons as plain networks.
    """

    seconds: float
    macs_share: float
    cut_out: float


def run(trainer: Trainer, steps: int) -> None:
    """Train for so many steps more."""
    end = trainer.step + steps

    def pause(done: int, total: int, words: str) -> None:
        if done >= end:
            raise _Paused

    try:
        trainer.run(pause)
    except _Paused:
        return


def take_turns(runners: dict[str, Runner], turns: int, warm: int = 1) -> dict[str, list[Turn]]:
    """One step of each, many times over; the first ``warm``, which compile kernels and count costs, are left out."""
    names, found = list(runners), dict[str, list[Turn]]((name, []) for name in runners)
    steps = next(iter(runners.values())).trainer.steps
    for runner in runners.values():
        for step in range(warm):
            runner.begin(step * (steps - 1) // warm)
    for turn in range(turns):
        for name in names:
            found[name].append(runners[name].step(turn * (steps - 1) // turns + 1))
        names = [*names[1:], names[0]]  # whoever comes later finds the cache warm
    return found


def _row(name: str, turns: dict[str, list[Turn]], batch: int) -> dict[str, Any]:
    pairs = list(zip(turns[name], turns[PLAIN]))
    return {
        "strategy": name,
        "images a second": batch / statistics.median(ours.seconds for ours, _ in pairs),
        "over plain": statistics.median(plain.seconds / ours.seconds for ours, plain in pairs),
        "share of MACs": statistics.mean(ours.macs_share for ours, _ in pairs),
        "time over MACs": statistics.median(
            ours.seconds / plain.seconds / ours.macs_share for ours, plain in pairs
        ),
        "time over cut out": statistics.median(ours.seconds / ours.cut_out for ours, _ in pairs),
    }


def waiting(net: Supernet, data: Dataset, options: TrainOptions, steps: int) -> float:
    """Share of the time of consecutive steps that passes before their batches are there."""
    trainer = Trainer(deepcopy(net), data, options, strategy=Standalone())
    run(trainer, 1)
    waited, start = trainer.batches.waited, time.perf_counter()
    run(trainer, steps)
    share = (trainer.batches.waited - waited) / (time.perf_counter() - start)
    trainer.batches.close()
    return share


if __name__ == "__main__":
    main()
