"""What a search can be asked for; light enough for the command line to read before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from supernet.errors import ConfigError, did_you_mean
from supernet.options import within

LIMITS = ("max_latency_ms", "max_latency_ms_on", "max_params")
"""The options of a search that rule networks out; None is no limit."""
TIME = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in "hms"), re.ASCII)
"""A time as it is typed, without spaces."""
HERE = "here"
"""The way to evaluate without another process."""
AHEAD = 5
"""Networks that are asked for ahead, for each worker: with evaluation times uneven 10:1 hardly any then waits."""


@dataclass(frozen=True)
class SearchOptions:
    """How far and how to search.

    Args:
        searcher: a registered searcher, e.g. ``guided``, ``nsga2`` or ``random``.
        evaluations: networks evaluated for these objectives and limits, at most; those that an earlier call has
            evaluated count, whatever its seed and searcher.
        seconds: that one call may take, after which no further network is begun; the same call again goes on. None for
            any time.
        plateau: share of its hypervolume that the front has to grow by in the last ``plateau_evaluations``, or the
            search ends; 0 never ends it for that. With several devices it is the sum over their fronts.
        plateau_evaluations: how many networks may bring less than that.
        population: networks of one generation of ``nsga2``; 20 to 40 were best for budgets up to 1,000 evaluations.
            ``guided`` begins with as many, 20 at most.
        seed: of everything random; two searches with one seed see the same networks in the same order.
        crossover: probability that two parents are mixed at all.
        mutation: probability that a gene is drawn anew; None for one gene per network on average.
        shrink_to: share of the known networks, the best, to whose values ``guided`` keeps: what none of them chooses is
            not proposed as long as that is so. 1 keeps to the whole space.
        sampled: share of every batch that ``guided`` draws by chance, the more likely what promises more, instead of
            what promises most.
        batch: networks handed to an expensive score at once, with one worker; what a kill can lose.
        workers: networks that are evaluated at the same time.
        pool: what the workers are: ``here`` (this process, one worker), ``processes`` on this machine, or ``ray``; None
            for here with one worker and processes with more.
        trial_seconds: what the evaluation of one network may take, after which it is tried once more and then counts
            as failed; for workers that are processes of their own. None for any time.
        ahead: networks that may be asked for before the first of them is evaluated, so that no worker waits; a search
            takes the same way with any number of workers as long as this is the same. None for none with one worker,
            and five for each of several.
        examples: of the search split that networks are judged on, at most; chosen once, the same for all.
        metric: of the task, by which networks are ranked, e.g. ``accuracy``; None for the task's own, which moves
            with every example (to classify: ``log loss``).
        patience: populations drawn at random without one new network within the limits, after which the space counts
            as used up.
        baseline: networks evaluated by each of ``baseline_searchers`` beside this search, for comparison; 0 for none.
        baseline_searchers: registered searchers, e.g. ``random`` and ``nsga2``.
        verify_rounds: how often a front that is verified is measured and searched on, at most.
        verify_evaluations: networks evaluated each time it is searched on.
        max_latency_ms: limit on the upper end of the predicted latency, None for no limit.
        max_latency_ms_on: likewise for one device alone, by its name, instead of the limit for all.
        max_params: limit on the exact number of parameters, None for no limit.

    Raises:
        ConfigError: for a number outside its range.
    """

    searcher: str = "guided"
    evaluations: int = 200
    seconds: float | None = None
    plateau: float = 0.0
    plateau_evaluations: int = 100
    population: int = 30
    seed: int = 0
    crossover: float = 0.9
    mutation: float | None = None
    shrink_to: float = 1.0
    sampled: float = 0.0
    batch: int = 8
    workers: int = 1
    pool: str | None = None
    trial_seconds: float | None = None
    ahead: int | None = None
    examples: int = 2000
    metric: str | None = None
    patience: int = 20
    baseline: int = 0
    baseline_searchers: tuple[str, ...] = ("random",)
    verify_rounds: int = 3
    verify_evaluations: int = 20
    max_latency_ms: float | None = None
    max_latency_ms_on: dict[str, float] = field(default_factory=dict)
    max_params: float | None = None

    def __post_init__(self) -> None:
        for name in ("evaluations", "batch", "examples", "patience", "workers", "verify_rounds"):
            within(name, getattr(self, name), 1)
        self._check_pool()
        check_limit("seconds", self.seconds)
        within("plateau", self.plateau, 0.0, 1.0)
        within("shrink_to", self.shrink_to, 0.01, 1.0)
        within("sampled", self.sampled, 0.0, 1.0)
        within("plateau_evaluations", self.plateau_evaluations, 1)
        within("population", self.population, 4)
        within("seed", self.seed, 0)
        within("baseline", self.baseline, 0)
        within("verify_evaluations", self.verify_evaluations, 0)
        within("crossover", self.crossover, 0.5, 1.0)
        if self.mutation is not None and not 0 < self.mutation <= 1:
            raise ConfigError(f"mutation is {self.mutation}; give a probability above 0, at most 1")
        for name in ("max_latency_ms", "max_params"):
            check_limit(name, getattr(self, name))
        for device, limit in self.max_latency_ms_on.items():
            check_limit(f"max_latency_ms_on.{device}", limit)

    def _check_pool(self) -> None:
        if self.ahead is not None:
            within("ahead", self.ahead, 0)
        check_limit("trial_seconds", self.trial_seconds)
        if self.pool != HERE:
            return
        if self.workers > 1:
            raise ConfigError(
                f"pool is 'here', which is one worker, and workers is {self.workers}; leave pool out"
            )
        if self.trial_seconds is not None:
            raise ConfigError(
                "trial_seconds is for workers that can be stopped, and pool is 'here'; leave pool out"
            )

    @property
    def pool_name(self) -> str:
        """What the workers are."""
        alone = self.workers == 1 and self.trial_seconds is None
        return self.pool or (HERE if alone else "processes")

    @property
    def networks_ahead(self) -> int:
        """How many networks may be asked for before the first of them is evaluated."""
        return (0 if self.workers == 1 else AHEAD * self.workers) if self.ahead is None else self.ahead

    def max_latency_on(self, device: str) -> float | None:
        """The limit on the latency on a device, in ms; None for no limit."""
        return self.max_latency_ms_on.get(device, self.max_latency_ms)


def until_of(typed: str) -> tuple[int | None, float | None]:
    """When a search is to end, as it is typed: ``"500"`` evaluated networks in all, or a time such as ``"10m"``.

    Returns:
        Networks or seconds; the other one is None.

    Raises:
        ConfigError: for what is neither.
    """
    if typed.isdecimal() and int(typed):
        return int(typed), None
    parts = TIME.fullmatch(typed)
    seconds = (
        sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1))) if parts else 0.0
    )
    if not seconds:
        raise ConfigError(
            f"--until {typed} is neither a number of networks nor a time; write 500, or 90s, 10m, 1h30m for a time"
        )
    return None, seconds


def latency_limits(typed: Sequence[str], devices: Sequence[str]) -> dict[str, float]:
    """Limits on latencies as they are typed, ``"12"`` on all devices or ``"NAME=12"`` on one, by the key of the option.

    Args:
        devices: the only ones that a limit may be about; an empty name stands for the run's own.

    Raises:
        ConfigError: for what is no limit, or one on another device.
    """
    named_ones, limits = list(filter(None, devices)), dict[str, float]()
    for word in typed:
        device, named, number = word.rpartition("=")
        if named and device not in named_ones:
            raise ConfigError(
                f"--max-latency-ms {word} is about a device that this command is not"
                f"{did_you_mean(device, named_ones)}; name it with --device {device}"
            )
        try:
            limit = float(number)
        except ValueError as error:
            raise ConfigError(
                f"--max-latency-ms {word} is no limit; write 12, or NAME=12 for one device"
            ) from error
        check_limit("--max-latency-ms", limit)
        limits[f"search.max_latency_ms_on.{device}" if named else "search.max_latency_ms"] = limit
    return limits


def check_limit(name: str, limit: float | None) -> float | None:
    """The limit itself, when it is one: a positive number, or None.

    Args:
        name: what to call it in the message.

    Raises:
        ConfigError: for zero, a negative number, infinity or no number.
    """
    if limit is not None and not (isfinite(limit) and limit > 0):
        raise ConfigError(f"{name} is {limit:g}; give a positive number, or leave it out for no limit")
    return limit
