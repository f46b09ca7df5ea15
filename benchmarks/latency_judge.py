"""What the two latency benchmarks share: how a predictor is judged on devices, and the figures they print."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.contract import Result
from benchmarks.latency_tables import Networks
from predictors.estimate import Predictor, Values
from predictors.validate import compare

KINDS = ("spearman", "macs_spearman", "kendall", "mape", "within5", "within10", "coverage90")


@dataclass(frozen=True)
class Trial:
    """One device to predict.

    Args:
        device: its name.
        networks: what could be measured.
        ms: what was ``(architectures,)``.
        tested: rows to predict.
    """

    device: str
    networks: Networks
    ms: Values
    tested: NDArray[np.int64]

    def row(self, predictor: Predictor, measured: NDArray[np.int64], seed: int) -> dict[str, object]:
        """Fit on some rows, predict the tested ones, and say how far off that is."""
        genes, began = self.networks.genes, time.process_time()
        predictor.fit(genes[measured], self.ms[measured])
        seconds = time.process_time() - began
        found, true = predictor.predict(genes[self.tested]), self.ms[self.tested]
        off = compare(found, true)
        rank = float(spearmanr(self.networks.macs(genes[self.tested]), true).statistic)
        return {
            "device": self.device, "n": len(measured), "seed": seed,
            "spearman": off.spearman, "macs_spearman": rank, "kendall": off.kendall,
            "mape": off.mape, "within5": off.within_5, "within10": off.within_10, "coverage90": off.coverage,
            "reach": off.reach, "fit_seconds": seconds, "model": predictor.model.partition(";")[0],
        }  # fmt: skip


def trimmed(ms: Values, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The middle 80 % of some rows by true latency."""
    low, high = np.percentile(ms[rows], [10, 90])
    return rows[(ms[rows] >= low) & (ms[rows] <= high)]


def summarise(result: Result, rows: Sequence[dict[str, object]], *more: str) -> None:
    """One printed row for each device and number of measurements; figures are means over devices, of ``more`` too."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["n"], row["device"]].append(row)
    kinds = (*KINDS, *more)
    by_count = defaultdict(list)
    for (count, device), group in sorted(groups.items(), key=str):
        means = {
            kind: float(np.mean([row[kind] for row in group])) for kind in (*kinds, "reach", "fit_seconds")
        }
        spread = float(np.std([row["spearman"] for row in group]))
        result.rows.append(
            {"n": count, "device": device, **means, "spread": spread, "model": group[0]["model"]}
        )
        by_count[count].append(means)
    for count, found in sorted(by_count.items()):
        for kind in kinds:
            result.figures[f"{kind}.{count}"] = float(np.mean([means[kind] for means in found]))
        result.figures[f"worst_coverage90.{count}"] = min(means["coverage90"] for means in found)
    result.columns = ("n", "device", *kinds, "reach", "spread", "fit_seconds", "model")
