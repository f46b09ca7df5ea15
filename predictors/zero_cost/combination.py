"""One ranking from several scores, learned from a few evaluations.

No score is best everywhere, and those that fail alike are no two witnesses. Source: Dong et al., ParZC,
arXiv:2402.02105, with a small network for their mixer, on the scores of whole networks in the place of single nodes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor, nn

from predictors.estimate import PredictorError, Values
from predictors.zero_cost.kendall import soft_kendall

FEWEST = 4
"""Evaluations to learn from."""
STEPS, RATE, DECAY = 150, 0.02, 0.02
HIDDEN = 8


class Combination:
    """Learns to rank by scores; what it answers has no unit, and more is better.

    Every score counts by its place among those of the evaluated networks, as a score may span ten powers of ten.

    Args:
        seed: of the initial weights.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._known: Values | None = None

    def fit(self, scores: Values, values: Values) -> Combination:
        """Learn from evaluated networks; itself.

        Args:
            scores: ``(networks, scores)``.
            values: how good each is, more for better ``(networks,)``.

        Raises:
            PredictorError: for fewer than four, or a number that is not finite.
        """
        scores, values = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if scores.ndim != 2 or values.shape != scores.shape[:1] or len(values) < FEWEST:
            raise PredictorError(
                f"scores {scores.shape} and values {values.shape} are not of {FEWEST} or more networks each"
            )
        if not (np.isfinite(scores).all() and np.isfinite(values).all()):
            raise PredictorError("a score or value is not finite; leave that network out")
        self._known = np.sort(scores, axis=0)
        self._mixer = _learned(self._places(scores), torch.from_numpy(rankdata(values)), self.seed)
        return self

    def predict(self, scores: Values) -> Values:
        """How networks rank, more for better ``(networks,)``.

        Raises:
            PredictorError: before `fit`.
        """
        places = self._places(np.asarray(scores, dtype=np.float64))
        with torch.no_grad():
            found: Values = self._mixer(places).numpy()
        return found

    def _places(self, scores: Values) -> Tensor:
        """The place of each score among the known ones, as a normal variable ``(networks, scores)``."""
        if self._known is None:
            raise PredictorError("nothing was learned yet; call fit(scores, values) first")
        count = len(self._known)
        below = np.stack(
            [
                0.5 * (np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right"))
                for known, column in zip(self._known.T, scores.T)
            ],
            axis=1,
        )
        return torch.from_numpy(norm.ppf((below + 0.5) / (count + 1)))


class _Mixer(nn.Module):
    """A linear part, which begins as the mean of all scores, and a small one that is not linear."""

    def __init__(self, scores: int) -> None:
        super().__init__()
        self.linear = nn.Linear(scores, 1, bias=False)
        last = nn.Linear(HIDDEN, 1, bias=False)
        self.bent = nn.Sequential(nn.Linear(scores, HIDDEN), nn.Tanh(), last)
        nn.init.constant_(self.linear.weight, 1 / scores)
        nn.init.zeros_(last.weight)

    def forward(self, places: Tensor) -> Tensor:
        """``(networks,)``."""
        out: Tensor = (self.linear(places) + self.bent(places))[:, 0]
        return out


def _learned(places: Tensor, order: Tensor, seed: int) -> _Mixer:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        mixer = _Mixer(places.shape[1]).double()
        optimiser = torch.optim.AdamW(mixer.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            optimiser.zero_grad()
            (-soft_kendall(mixer(places), order)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return mixer.eval()
