"""An architecture by whatever a person calls it, and what a run knows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hardware.measurement import Measurement
from predictors import Estimate
from search.query import ask, is_question
from supernet.elastic.costs import Cost
from supernet.errors import ArchitectureError, StateError
from supernet.space import Architecture
from zoo.pipeline.pick import Picked, pick
from zoo.pipeline.profiling import every_profiled, profiled
from zoo.pipeline.searching import evaluations, objectives
from zoo.pipeline.workspace import Workspace
from zoo.store import MissingError, open_store
from zoo.store.pull import manifests

ENDS, CHOSEN = ("largest", "smallest"), ("fastest", "knee", "best")


@dataclass(frozen=True)
class Known:
    """What a run knows of one architecture.

    Args:
        cost: exact.
        predicted: its latency; None before the profile.
        measured: its latency; None when it was not timed.
        values: from the search, by objective, with the latencies on all devices; none when it was not evaluated.
        device: whose latency that is; empty for the run's own.
    """

    cost: Cost
    predicted: Estimate | None
    measured: Measurement | None
    values: Mapping[str, float]
    device: str = ""


def find(workspace: Workspace, text: str, device: str = "") -> Architecture:
    """The architecture that somebody means.

    Args:
        text: ``largest``, ``smallest``, ``fastest``, ``knee``, ``best``, the id of a network that was evaluated or
            timed, the id of an entry in the zoo of the run, a question to what was evaluated
            (``latency_ms<=12, params<=3e6``, or ``params~3e6``: see `search.query`), or JSON: a list of genes, or
            the values of the choices. In questions the latency on a device of a name is ``latency_NAME``.
        device: on whose front the fastest, the knee and the best are; the run's own when empty.

    Raises:
        ArchitectureError: when it is none of these; the message says what it can be.
        StateError: for a network of the front before there was a search.
        ConfigError: for a question that cannot be meant.
        InfeasibleError: when nothing that was evaluated is the answer.
    """
    text, space = text.strip(), workspace.net.space
    if text.startswith(("[", "{")):
        return _from_json(workspace, text)
    if is_question(text):
        learnt = every_profiled(workspace) or [profiled(workspace, device)]
        return ask(evaluations(workspace, learnt), objectives(workspace, learnt), text).arch
    if text in ENDS:
        return space.largest() if text == "largest" else space.smallest()
    if text in CHOSEN:
        return pick(workspace, profiled(workspace, device)).archs[text]
    known = _met(workspace) | _published(workspace)
    if text not in known:
        raise ArchitectureError(
            f"no network is called {text!r} in {workspace.run.folder}; it can be {', '.join((*ENDS, *CHOSEN))}, "
            f"the id of one that was evaluated, timed or published ({len(known)} are known), or JSON: a list of "
            f"{len(space)} genes or the values of the choices"
        )
    return known[text]


def named(workspace: Workspace, texts: Sequence[str], device: str = "") -> Picked:
    """The architectures that somebody means, under their ids.

    Args:
        texts: of each, as for `find`, which says what is raised.
        device: likewise.
    """
    return Picked({arch.id: arch for arch in (find(workspace, text, device) for text in texts)})


def known_of(workspace: Workspace, arch: Architecture, device: str = "") -> Known:
    """What the run knows of an architecture.

    Args:
        device: whose latency is told; the run's own when empty.
    """
    learnt, values = every_profiled(workspace), dict[str, float]()
    if learnt:
        with suppress(StateError):  # no search yet, or one that runs now
            values = next((dict(e.values) for e in evaluations(workspace, learnt) if e.arch == arch), values)
    asked = next((known for known in learnt if known.name == device), None)
    timed = asked.profile.measurements if asked else ()
    genes = workspace.net.space.matrix([arch])
    return Known(
        workspace.costs.of(arch),
        asked.predictor.predict(genes) if asked else None,
        next((m for m in timed if m.arch == arch.id), None),
        values,
        device,
    )


def _from_json(workspace: Workspace, text: str) -> Architecture:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise ArchitectureError(
            f"{text!r} is no JSON: {error}; give a list of genes, or the values of the choices"
        ) from error
    if isinstance(document, dict):
        return workspace.net.space.encode(document)
    if not all(isinstance(gene, int) for gene in document):
        raise ArchitectureError(f"{text!r} is no list of genes; a gene is an integer")
    return workspace.net.space.architecture(document)


def _met(workspace: Workspace) -> dict[str, Architecture]:
    """Everything that was timed or evaluated, by id."""
    learnt, space = every_profiled(workspace), workspace.net.space
    if not learnt:
        return {}
    found = {m.arch: space.architecture(m.genes) for known in learnt for m in known.profile.measurements}
    with suppress(StateError):
        found |= {e.arch.id: e.arch for e in evaluations(workspace, learnt)}
    return found


def _published(workspace: Workspace) -> dict[str, Architecture]:
    """What of this space is in the zoo of the run, by entry."""
    space = workspace.net.space
    try:
        entries = manifests(open_store(workspace.run.store))
    except MissingError:
        return {}
    return {
        entry.id: space.architecture(entry.architecture.genes)
        for entry in entries
        if entry.space.fingerprint == space.fingerprint
    }
