"""What a search can be asked for; light enough for the command line to read before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from supernet.errors import ConfigError
from supernet.options import within

LIMITS = ("max_latency_ms", "max_params")
"""The options of a search that rule networks out; None is no limit."""


@dataclass(frozen=True)
class SearchOptions:
    """How far and how to search.

    Args:
        searcher: a registered searcher, e.g. ``guided``, ``nsga2`` or ``random``.
        evaluations: networks evaluated for these objectives and limits, at most; those that an earlier call has
            evaluated count, whatever its seed and searcher.
        population: networks of one generation of ``nsga2``; 20 to 40 were best for budgets up to 1,000 evaluations.
            ``guided`` begins with as many, 20 at most.
        seed: of everything random; two searches with one seed see the same networks in the same order.
        crossover: probability that two parents are mixed at all.
        mutation: probability that a gene is drawn anew; None for one gene per network on average.
        batch: networks handed to an expensive score at once; what a kill can lose.
        examples: of the search split that networks are judged on, at most; chosen once, the same for all.
        metric: of the task, by which networks are ranked, e.g. ``accuracy``; None for the task's own, which moves
            with every example (to classify: ``log loss``).
        patience: populations drawn at random without one new network within the limits, after which the space counts
            as used up.
        baseline: networks evaluated in a random search beside this one, for comparison; 0 for none.
        max_latency_ms: limit on the upper end of the predicted latency, None for no limit.
        max_params: limit on the exact number of parameters, None for no limit.

    Raises:
        ConfigError: for a number outside its range.
    """

    searcher: str = "guided"
    evaluations: int = 400
    population: int = 30
    seed: int = 0
    crossover: float = 0.9
    mutation: float | None = None
    batch: int = 8
    examples: int = 2000
    metric: str | None = None
    patience: int = 20
    baseline: int = 0
    max_latency_ms: float | None = None
    max_params: float | None = None

    def __post_init__(self) -> None:
        for name in ("evaluations", "batch", "examples", "patience"):
            within(name, getattr(self, name), 1)
        within("population", self.population, 4)
        within("seed", self.seed, 0)
        within("baseline", self.baseline, 0)
        within("crossover", self.crossover, 0.5, 1.0)
        if self.mutation is not None and not 0 < self.mutation <= 1:
            raise ConfigError(f"mutation is {self.mutation}; give a probability above 0, at most 1")
        for name in LIMITS:
            check_limit(name, getattr(self, name))


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
