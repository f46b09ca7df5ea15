"""Whether the limits can be met at all, found out before anything expensive is paid for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.objective import InfeasibleError, Objective, Values, views, violation
from search.operators import ends, mix, reset, sample_genes
from supernet.space import Genes, SearchSpace

DRAWN, KEPT, ROUNDS = 512, 32, 40


def feasible_start(
    space: SearchSpace, objectives: Sequence[Objective], wanted: int, rng: np.random.Generator
) -> Genes:
    """Genomes within all cheap limits of a front to begin a search with ``(at most wanted, choices)``, by turns.

    Returns:
        None at all when no cheap objective has a limit.

    Raises:
        InfeasibleError: when the limits of a front can not be met.
    """
    starts = [_start(space, [objectives[i] for i in view], wanted, rng) for view in views(objectives)]
    if len(starts) == 1:
        return starts[0]
    order = np.argsort(np.concatenate([np.arange(len(start)) for start in starts]), kind="stable")
    genes = np.concatenate(starts)[order]
    _, first = np.unique(genes, axis=0, return_index=True)
    return genes[np.sort(first)][:wanted]


def _start(
    space: SearchSpace, objectives: Sequence[Objective], wanted: int, rng: np.random.Generator
) -> Genes:
    """Genomes within all cheap limits together ``(at most wanted, choices)``.

    Random ones first; when those are too few, the nearest are mixed and changed towards the limits.

    Returns:
        None at all when no cheap objective has a limit.

    Raises:
        InfeasibleError: when the descent ends outside a limit.
    """
    limits = [o for o in objectives if o.cheap and o.limit is not None]
    if not limits:
        return np.zeros((0, len(space)), dtype=np.int64)
    genes = np.concatenate([ends(space), sample_genes(space, DRAWN, rng)])
    values = _values(limits, genes)
    tried = len(genes)
    for _ in range(ROUNDS):
        excess = violation(limits, values).sum(axis=1)
        if (excess == 0).sum() >= wanted:
            break
        nearest = np.unique(genes[np.argsort(excess, kind="stable")[:KEPT]], axis=0)
        children = _children(space, nearest, rng)
        tried += len(children)
        genes = np.concatenate([genes, children])
        values = np.concatenate([values, _values(limits, children)])
    within = np.flatnonzero(violation(limits, values).sum(axis=1) == 0)
    if not len(within):
        raise InfeasibleError(why_infeasible(limits, values, tried))
    _, first = np.unique(genes[within], axis=0, return_index=True)
    return genes[within[np.sort(first)]][:wanted]


def why_infeasible(objectives: Sequence[Objective], values: Values, tried: int) -> str:
    """The message for limits that nothing met: the tight one and the nearest value.

    Args:
        values: of what was tried ``(architectures, objectives)``, NaN where unknown.
    """
    limits = [(o, values[:, i]) for i, o in enumerate(objectives) if o.limit is not None]
    nearest = {
        o.name: float(o.sign * np.nanmin(o.sign * column))
        for o, column in limits
        if not np.isnan(column).all()
    }
    alone = [o for o, _ in limits if o.name in nearest and o.excess(np.array([nearest[o.name]]))[0] > 0]
    if alone:
        tight = max(alone, key=lambda o: o.excess(np.array([nearest[o.name]]))[0])
        verb, bound = ("raise", "at least") if tight.sense == "min" else ("lower", "at most")
        return (
            f"no network meets {_limit(tight)}: the nearest of {tried:,} tried has "
            f"{tight.show(nearest[tight.name])}; {verb} that limit to {bound} "
            f"{_reachable(tight, nearest[tight.name])}"
        )
    excess = np.where(np.isnan(values).any(axis=1), np.inf, violation(objectives, values).sum(axis=1))
    best = int(np.argmin(excess))
    reached = ", ".join(f"{o.name} {o.show(column[best])}" for o, column in limits)
    return (
        f"no network meets {' and '.join(_limit(o) for o, _ in limits)} together, though each alone "
        f"can be met: the nearest of {tried:,} tried has {reached}; loosen one of them"
    )


def _limit(objective: Objective) -> str:
    assert objective.limit is not None
    return f"{objective.name} {'<=' if objective.sense == 'min' else '>='} {objective.show(objective.limit)}"


def _reachable(objective: Objective, value: float) -> str:
    """A limit of three digits that the value meets: rounding to the nearest might rule it out again."""
    step = 10.0 ** (np.floor(np.log10(abs(value))) - 2) if value else 1.0
    rounded = objective.sign * np.ceil(objective.sign * value / step) * step
    return f"{rounded:.10g} {objective.unit}".strip()


def _values(limits: Sequence[Objective], genes: Genes) -> Values:
    return np.stack([objective.cautious(genes) for objective in limits], axis=1)


def _children(space: SearchSpace, parents: Genes, rng: np.random.Generator) -> Genes:
    pairs = parents[rng.integers(0, len(parents), size=(2, KEPT))]
    mixed = mix(pairs, rng).reshape(-1, len(space))
    return space.canonical(reset(space, mixed, min(0.5, 2 / len(space)), rng))
