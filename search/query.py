"""Questions to what is known: the best within limits, and the nearest to a size. Nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from search.archive import Evaluation
from search.feasible import why_infeasible
from search.front import held, matrix
from search.objective import InfeasibleError, Objective, violation
from supernet.errors import ConfigError, did_you_mean

SIZE = re.compile(r"\s*([^~]+?)\s*~\s*([-+0-9.eE_]+)\s*")
LIMIT = re.compile(r"\s*([^<>=]+?)\s*(<=|>=)\s*([-+0-9.eE_]+)\s*")


def parse_limits(text: str, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The same objectives with the limits of a sentence like ``"latency_ms <= 12, params <= 3e6"``.

    A name is that of an objective, or that with its unit after an underscore.

    Raises:
        ConfigError: for a sentence that is no limit, an unknown name, another unit, or a limit on the good side.
    """
    limits: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = LIMIT.fullmatch(part)
        if found is None:
            raise ConfigError(f"{part!r} is no limit; write for example latency_ms<=12, params<=3e6")
        objective = _named(found[1], objectives)
        if (found[2] == "<=") != (objective.sense == "min"):
            turned = "<=" if objective.sense == "min" else ">="
            raise ConfigError(
                f"{objective.name} is to be {'small' if turned == '<=' else 'large'}; limit it by {turned}"
            )
        limits[objective.name] = float(found[3])
    return tuple(replace(o, limit=limits[o.name]) if o.name in limits else o for o in objectives)


def ask(known: Sequence[Evaluation], objectives: Sequence[Objective], text: str) -> Evaluation:
    """The answer to a question as it is typed: limits for `best`, or sizes for `nearest` ("params~3e6, macs~1e8").

    Raises:
        ConfigError: for text that is neither, and see there.
        InfeasibleError: see there.
    """
    if "~" not in text:
        return best(known, objectives, text)
    wanted: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = SIZE.fullmatch(part)
        if found is None:
            raise ConfigError(f"{part!r} is no size; write for example params~3e6")
        wanted[_named(found[1], objectives).name] = float(found[2])
    return nearest(known, objectives, wanted)


def is_question(text: str) -> bool:
    """Whether a text is for `ask`: it holds a limit or a size."""
    return any(mark in text for mark in ("<=", ">=", "~"))


def best(
    known: Sequence[Evaluation], objectives: Sequence[Objective], limits: str = "", *, gain: str | None = None
) -> Evaluation:
    """The best known network within limits.

    Args:
        known: for example `Archive.evaluations`.
        limits: beside those of the objectives; see `parse_limits`.
        gain: name of the objective that decides; the first evaluated one that is optimised when left out.

    Raises:
        InfeasibleError: when no known network is within the limits; it names the tight one and the nearest value.
        ConfigError: see `parse_limits`.
    """
    goals = parse_limits(limits, objectives)
    chosen = _named(gain, goals) if gain else next(o for o in (*_optimised(goals), *goals))
    within = np.flatnonzero((violation(goals, held(known, goals)) == 0).all(axis=1))
    if not len(within):
        raise InfeasibleError(
            why_infeasible(goals, held(known, goals), len(known))
            if known
            else "nothing is known yet; search first"
        )
    values = chosen.sign * matrix([known[int(i)] for i in within], [chosen])[:, 0]
    return known[int(within[np.argmin(values)])]


def nearest(
    known: Sequence[Evaluation], objectives: Sequence[Objective], wanted: Mapping[str, float]
) -> Evaluation:
    """The known network whose values are nearest to those wanted, by the logarithms of their ratios.

    Args:
        wanted: a positive value for each of some objectives, e.g. ``{"params": 3e6}``.

    Raises:
        InfeasibleError: when nothing is known.
        ConfigError: for an unknown name, or a value that is not positive.
    """
    if not known:
        raise InfeasibleError("nothing is known yet; search first")
    goals = [_named(name, objectives) for name in wanted]
    for name, value in wanted.items():
        if not value > 0:
            raise ConfigError(f"{name} is to be near {value:g}; give a positive number")
    ratio = np.log(np.maximum(matrix(known, goals), 1e-300)) - np.log(list(wanted.values()))
    return known[int(np.argmin((ratio**2).sum(axis=1)))]


def _optimised(objectives: Sequence[Objective]) -> list[Objective]:
    return [o for o in objectives if o.optimise and not o.cheap]


def _named(name: str, objectives: Sequence[Objective]) -> Objective:
    names = {o.name: o for o in objectives}
    names |= {f"{o.name}_{o.unit}": o for o in objectives if o.unit}
    if name in names:
        return names[name]
    for objective in objectives:
        if name.startswith(f"{objective.name}_"):
            raise ConfigError(
                f"{objective.name} is in {objective.unit or 'plain numbers'}, and the limit says {name!r}; "
                f"write {objective.name}{f'_{objective.unit}' if objective.unit else ''}"
            )
    raise ConfigError(f"no objective is called {name!r}{did_you_mean(name, names)}")
