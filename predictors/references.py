"""Profiles of other devices: what they needed says most of what a new one will need.

A folder of them is filled by every ``supernet profile`` that is told of it. An architecture is slow on a new device
mostly for the reasons for which it was slow elsewhere, so a predictor with references learns from ten or twenty
measurements; and which architectures tell most is known before anything is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardware.measurement import Profile
from hardware.sampling import d_optimal, spread, various
from predictors.estimate import Cost, Predictor
from predictors.process import Process
from predictors.tabular import FEWEST
from supernet.errors import StateError
from supernet.space import Architecture, SearchSpace

log = logging.getLogger(__name__)

CANDIDATES = 500
"""Architectures among which those to measure are chosen."""


def read_references(
    folder: Path,
    space: SearchSpace,
    *,
    macs: Cost | None = None,
    params: Cost | None = None,
    other_than: str | None = None,
) -> dict[str, Predictor]:
    """A predictor for every profile of this space in a folder, by the name and the id of its device.

    What was measured is noisy, and of other architectures on every device; so each profile is learned from, and its
    predictions stand for it. Profiles of another space, and files that are no profile, are left out and named in the
    log.

    Args:
        folder: holds ``*.json``, as `Profile.save` writes them.
        space: of the architectures.
        macs: exact multiply-adds.
        params: exact parameters.
        other_than: id of a device to leave out, that of the one to predict.

    Raises:
        StateError: when there is no such folder.
    """
    if not folder.is_dir():
        raise StateError(
            f"there is no folder {folder} with profiles of other devices; copy a run's profile/profile.json there"
        )
    found: dict[str, Predictor] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            profile = Profile.load(path)
        except StateError as error:
            log.warning("%s is no reference: %s", path, error)
            continue
        if profile.space != space.fingerprint or len(profile.measurements) < FEWEST:
            log.warning("%s is no reference: it is of another space, or too small", path)
        elif profile.device.id != other_than:
            predictor = Process(space, macs=macs, params=params)
            predictor.fit(profile.genes, profile.median_ms, profile.noise_ms)
            found[f"{profile.device.name} ({profile.device.id})"] = predictor
    return found


def most_telling(
    space: SearchSpace,
    count: int,
    references: Mapping[str, Predictor],
    seed: int = 0,
    cost: Cost | None = None,
) -> list[Architecture]:
    """The architectures to measure on a new device, given others: smallest, largest, and the D-optimal rest.

    Without references, an even spread over the cost.

    Args:
        space: where from.
        count: how many; fewer come back when the space holds fewer.
        references: predictors of other devices.
        seed: decides which.
        cost: what to spread over, e.g. multiply-adds.
    """
    if not references:
        return spread(space, count, seed, cost)
    genes = various(space, CANDIDATES, seed)
    columns = np.log([other.predict(genes).mean for other in references.values()]).T
    chosen = [space.architecture(genes[i].tolist()) for i in d_optimal(columns, count)]
    return list(dict.fromkeys([space.smallest(), space.largest(), *chosen]))[:count]
