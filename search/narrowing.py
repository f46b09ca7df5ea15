"""Two ways for the guided search to choose otherwise: in a space that shrinks, and by chance where much is promised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.gain import View
from supernet.space import Genes, SearchSpace

FEWEST = 20
"""Networks that values are kept from, at least."""


def kept(space: SearchSpace, best: Genes, genes: Genes) -> NDArray[np.bool_]:
    """Which networks choose nothing but what some of the best ones choose, wherever a choice matters ``(networks,)``.

    So the space shrinks to what has proven itself, value by value. The idea is that of PreNAS (arXiv:2304.14636), which
    shrinks it before the training and by a zero-cost score; here the evaluations themselves decide, and may change
    their mind.

    Args:
        best: canonical ``(networks, choices)``.
        genes: likewise, those in question.
    """
    places = np.arange(len(space))
    most = max(len(choice.values) for choice in space.choices)
    there = np.zeros((len(space), most), dtype=np.bool_)
    live = space.matters(best)
    there[np.broadcast_to(places, best.shape)[live], best[live]] = True
    return np.asarray((there[places, genes] | ~space.matters(genes)).all(axis=1), dtype=np.bool_)


def drawn(views: Sequence[View], count: int, rng: np.random.Generator) -> list[int]:
    """Candidates drawn by chance, each with a probability proportional to the hypervolume that it would add alone.

    Surrogate-probability sampling after EPNAS (arXiv:1907.04648), which draws by predicted accuracy. Fewer where fewer
    would add any.
    """
    rows = np.arange(len(views[0].losses)) if views else np.zeros(0, dtype=np.intp)
    gain = np.sum([view.gains(rows) for view in views], axis=0) if views else np.zeros(0)
    count = min(count, int((gain > 0).sum()))
    return rng.choice(rows, count, replace=False, p=gain / gain.sum()).tolist() if count else []
