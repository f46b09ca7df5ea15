"""A search as pymoo sees it: integer genes, losses and violated limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.evaluator import Evaluator as Teller
from pymoo.core.problem import Problem
from pymoo.problems.static import StaticProblem

from search.objective import Objective, Values, losses, violation
from search.operators import options_of
from supernet.space import SearchSpace

UNKNOWN = 1e9
"""The loss of a network not worth scoring; NSGA-II ranks it by its violation and never reads this."""


class SubnetProblem(Problem):  # type: ignore[misc]
    """Genes from 0 to options - 1, one loss per optimised objective, one inequality per limit."""

    def __init__(self, space: SearchSpace, objectives: tuple[Objective, ...]) -> None:
        self.objectives = objectives
        super().__init__(
            n_var=len(space),
            n_obj=sum(objective.optimise for objective in objectives),
            n_ieq_constr=sum(objective.limit is not None for objective in objectives),
            xl=0,
            xu=options_of(space) - 1,
            vtype=int,
        )

    def answer(self, population: Any, values: Values) -> Any:
        """A pymoo population that knows its values ``(architectures, objectives)``."""
        answers = {"F": np.nan_to_num(losses(self.objectives, values), nan=UNKNOWN)}
        if self.n_ieq_constr:
            answers["G"] = violation(self.objectives, values)
        return Teller().eval(StaticProblem(self, **answers), population)
