"""What a search optimises: objectives with a unit, a sense and perhaps a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from supernet.errors import ConfigError, SupernetError, did_you_mean
from supernet.space import Architecture, Genes, SearchSpace

Values = NDArray[np.float64]
Score = Callable[[Genes], Values]
"""From canonical genes ``(architectures, choices)`` to one number for each ``(architectures,)``."""


Source = Literal["evaluated", "predicted", "exact"]


class InfeasibleError(SupernetError):
    """Limits that no network meets; the message names the tight one and the nearest value."""


class ShapeError(SupernetError):
    """A score that answers with another number of values than it was asked for."""


@dataclass(frozen=True)
class Objective:
    """One number per architecture, and which way is better.

    Args:
        name: unique in a search: ``"accuracy"``.
        unit: of the numbers: ``"%"``, ``"ms"``; empty when they are counts.
        sense: ``"min"`` or ``"max"``.
        score: from canonical genes to as many numbers; `one_by_one` makes it of a function of one architecture.
            What an architecture gets may depend on nothing else, neither on its batch nor on the hour: a resumed
            search asks for others.
        limit: the worst value that is acceptable, None when all are.
        source: ``"evaluated"`` where every number has to be paid for and is kept in the archive; ``"predicted"`` or
            ``"exact"`` where it costs nothing. A network beyond the limit of a free one is never paid for.
        bound: of a predicted one: what the truth is not worse than, with a stated probability, e.g. the upper ends of
            intervals. Where it is given, a limit is held by it and not by the prediction itself.
        depends: what an evaluated value depends on besides the architecture, e.g. ``{"weights": sha256}``.
        front: a label; objectives with one label make a front with all that have none. Several devices at once are
            latencies that each have a label of their own. A limit is of the front of its label, and of no other.
        optimise: False for one that is only recorded and limited.

    Raises:
        ConfigError: for an unknown sense or source.
    """

    name: str
    unit: str
    sense: Literal["min", "max"]
    score: Score
    limit: float | None = None
    source: Source = "evaluated"
    bound: Score | None = None
    depends: Mapping[str, str] = field(default_factory=dict)
    front: str = ""
    optimise: bool = True

    def __post_init__(self) -> None:
        if self.sense not in ("min", "max"):
            raise ConfigError(f"objective {self.name!r} has sense {self.sense!r}; it can be 'min' or 'max'")
        if self.source not in get_args(Source):
            raise ConfigError(
                f"objective {self.name!r} has source {self.source!r}; it can be one of {get_args(Source)}"
            )

    @property
    def cheap(self) -> bool:
        """Whether its values cost nothing."""
        return self.source != "evaluated"

    @property
    def sign(self) -> float:
        """What a value is multiplied with to make smaller better."""
        return 1.0 if self.sense == "min" else -1.0

    @property
    def label(self) -> str:
        """Name and unit, for a column or an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def excess(self, values: Values) -> Values:
        """How far each value is beyond the limit, relative to it; at most 0 within, NaN where unknown."""
        if self.limit is None:
            return np.zeros_like(values)
        scale = abs(self.limit) or 1.0
        return np.asarray(self.sign * (values - self.limit) / scale, dtype=np.float64)

    def show(self, value: float) -> str:
        """A value with its unit, for messages."""
        number = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
        return f"{number} {self.unit}".strip()

    def __call__(self, genes: Genes) -> Values:
        """The values of canonical genes ``(architectures, choices)``, ``(architectures,)``.

        Raises:
            SupernetError: when the score answers with another number of values, or one that is not finite.
        """
        return self._finite(genes, shaped(self.name, genes, self.score(genes)))

    def cautious(self, genes: Genes) -> Values:
        """What its limit is held by: the bound of a prediction where there is one, else the value."""
        if self.bound is None:
            return self(genes)
        return self._finite(genes, shaped(self.name, genes, self.bound(genes)))

    def _finite(self, genes: Genes, values: Values) -> Values:
        for row in np.flatnonzero(~np.isfinite(values))[:1]:
            named = "-".join(map(str, genes[row].tolist()))
            raise SupernetError(
                f"objective {self.name!r} is {values[row]} for the genes {named}; it must be finite"
            )
        return values


def shaped(name: str, genes: Genes, answer: Values) -> Values:
    """What the score of an objective answered, be it finite or not ``(architectures,)``.

    Raises:
        ShapeError: when it is another number of values.
    """
    values = np.asarray(answer, dtype=np.float64)
    if values.shape != (len(genes),):
        raise ShapeError(
            f"objective {name!r} was asked for {len(genes)} architectures and answered with shape "
            f"{values.shape}; its score must return one number per architecture"
        )
    return values


def one_by_one(space: SearchSpace, judge: Callable[[Architecture], float]) -> Score:
    """A score of genes from one of a single architecture."""

    def score(genes: Genes) -> Values:
        """One number for each row."""
        return np.array([judge(space.architecture(row)) for row in genes.tolist()], dtype=np.float64)

    return score


def check_objectives(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives themselves, when a search can be made of them.

    Raises:
        ConfigError: when two share a name, or none is to be optimised.
    """
    names = [objective.name for objective in objectives]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"two objectives are called {sorted(twice)[0]!r}; rename one")
    if not any(objective.optimise for objective in objectives):
        raise ConfigError(f"none of the objectives {names} is to be optimised; give one with optimise=True")
    return tuple(objectives)


def limited(objectives: Sequence[Objective], limits: Mapping[str, float | None]) -> tuple[Objective, ...]:
    """The same objectives with limits by name; None leaves one as it is.

    Raises:
        ConfigError: for a limit on an objective that is not there.
    """
    names = [objective.name for objective in objectives]
    for name, limit in limits.items():
        if limit is not None and name not in names:
            raise ConfigError(
                f"a limit of {limit} was given for {name!r}, no objective{did_you_mean(name, names)}"
            )
    return tuple(
        objective if limits.get(objective.name) is None else replace(objective, limit=limits[objective.name])
        for objective in objectives
    )


def violation(objectives: Sequence[Objective], values: Values) -> Values:
    """How far each limited objective is exceeded ``(architectures, limited objectives)``, 0 where it is met.

    An unknown value violates nothing: it was left out because a cheaper limit was exceeded already.

    Args:
        values: ``(architectures, objectives)`` in natural units, NaN where unknown.
    """
    columns = [o.excess(values[:, i]) for i, o in enumerate(objectives) if o.limit is not None]
    if not columns:
        return np.zeros((len(values), 0))
    return np.maximum(np.nan_to_num(np.stack(columns, axis=1), nan=0.0), 0.0)


def views(objectives: Sequence[Objective]) -> list[list[int]]:
    """The positions of the objectives of each front: all of them, or for each label those with it or with none."""
    known = labels(objectives)
    return [
        [i for i, o in enumerate(objectives) if o.front == label or o.front not in known] for label in known
    ]


def labels(objectives: Sequence[Objective]) -> list[str]:
    """What the fronts are called; the only one has no name."""
    return list(dict.fromkeys(o.front for o in objectives if o.optimise and o.front)) or [""]


def excesses(objectives: Sequence[Objective], genes: Genes, values: Values) -> Values:
    """How far networks are beyond all limits of each front ``(architectures, fronts)``, predictions at their bounds."""
    held = values
    for i, objective in enumerate(objectives):
        if objective.limit is not None and objective.bound is not None:
            held = held.copy() if held is values else held
            held[:, i] = objective.cautious(genes)
    parts = [violation([objectives[i] for i in view], held[:, view]) for view in views(objectives)]
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


def feasible(objectives: Sequence[Objective], values: Values) -> NDArray[np.bool_]:
    """Which rows of ``(architectures, objectives)`` are complete and within every limit of one front at least."""
    complete = ~np.isnan(values).any(axis=1)
    parts = [violation([objectives[i] for i in view], values[:, view]) for view in views(objectives)]
    return np.asarray(complete & np.any([(part == 0).all(axis=1) for part in parts], axis=0), dtype=np.bool_)


def losses(objectives: Sequence[Objective], values: Values) -> Values:
    """The optimised columns with smaller better ``(architectures, optimised objectives)``."""
    return np.stack([o.sign * values[:, i] for i, o in enumerate(objectives) if o.optimise], axis=1)
