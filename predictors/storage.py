"""A predictor as one JSON file: what was measured and how it was learned from, never code.

Learning takes seconds and gives the same result every time, so nothing that was learned needs to be
stored. A few predictions are, to notice when a library or a cost is no longer what it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.device import Device
from predictors.estimate import Cost, Predictor, predictors
from supernet.errors import StateError
from supernet.files import write_atomically
from supernet.space import Genes, SearchSpace
from supernet.versions import check_version

FORMAT = 2
_CHECKED = 8
_CLOSE = 1e-3
"""Optimisers differ in the last digits between machines; a thousandth is far below any interval."""


@dataclass(frozen=True)
class Stored:
    """A predictor that was read back.

    Args:
        predictor: learned anew from the measurements in the file.
        device: where they were taken.
    """

    predictor: Predictor
    device: Device


def save(path: Path, name: str, predictor: Predictor, space: SearchSpace, device: Device) -> Path:
    """Write a predictor as one JSON file.

    Args:
        path: where to.
        name: what the predictor is registered as.
        predictor: one that has learned.
        space: of its architectures.
        device: where they were measured.

    Raises:
        PredictorError: when it has not learned yet.
        StateError: when the place cannot be written to.
    """
    known = predictor.learned_from
    document = {
        "format": FORMAT,
        "predictor": name,
        "options": predictor.options,
        "device": device.to_json(),
        "space": space.to_json(),
        "genes": known.genes.tolist(),
        "measured": known.values.tolist(),
        "noise": None if known.noise is None else known.noise.tolist(),
        "predicted": predictor.predict(_probe(space)).mean.tolist(),
    }
    return write_atomically(path, json.dumps(document))


def load(
    path: Path,
    *,
    macs: Cost | None = None,
    params: Cost | None = None,
    references: Mapping[str, Predictor] | None = None,
    device: Device | None = None,
) -> Stored:
    """Read what `save` wrote, and learn from it again.

    Args:
        path: the file.
        macs: the cost the predictor was made with, if it was.
        params: the cost the predictor was made with, if it was.
        references: the predictors of other devices it was made with, if it was.
        device: whose latencies are wanted; whatever the file is of when None.

    Raises:
        StateError: when the file is missing, damaged, of a newer version or of another device, or what is learned
            from it differs from what was learned then.
        SupernetError: when no predictor of that name is registered.
    """
    document = _read(path)
    try:
        genes = np.array(document["genes"], dtype=np.int64)
        make, space = predictors[document["predictor"]], SearchSpace.from_json(document["space"])
        others = {"references": references} if references else {}
        predictor = make(space, macs=macs, params=params, **others, **document["options"])
        noise = document["noise"]
        predictor.fit(genes, np.array(document["measured"]), None if noise is None else np.array(noise))
        found = predictor.predict(_probe(space)).mean
        measured_on = Device.from_json(document["device"])
    except (KeyError, TypeError) as error:
        raise StateError(
            f"the predictor in {path} is damaged ({error}); fit it again from its profile"
        ) from error
    if not np.allclose(found, document["predicted"], rtol=_CLOSE, atol=0):
        raise StateError(
            f"{path} holds a predictor that learned {document['predicted'][0]:.5g} where it now learns "
            f"{found[0]:.5g}; give the costs (macs, params) and references it had, or fit it again from its profile, "
            f"as where another version of supernet had learned it"
        )
    if device is not None and device.id != measured_on.id:
        raise StateError(
            f"{path} predicts latencies on {measured_on.name} ({measured_on.id}), and {device.name} ({device.id}) was "
            f"asked for{_apart(measured_on, device)}; profile that device, or use the file as one of its references"
        )
    return Stored(predictor, measured_on)


def _apart(known: Device, asked: Device) -> str:
    """In what two devices differ, in brackets."""
    before, after = known.to_json(), asked.to_json()
    names = [name for name in before if name not in ("name", "id") and before[name] != after[name]]
    return f" (they differ in {', '.join(f'{name}: {before[name]}, {after[name]}' for name in names)})"


def _probe(space: SearchSpace) -> Genes:
    """A few architectures, always the same, that were hardly measured: what was is known to any predictor."""
    last = [len(choice.values) for choice in space.choices]
    return space.canonical(np.random.default_rng(0).integers(0, last, (_CHECKED, len(space))))


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StateError(
            f"no predictor can be read from {path}: {error}; fit one with `supernet profile`"
        ) from error
    check_version(document, FORMAT, what=f"the predictor {path}", older="fit it again from its profile")
    return document
