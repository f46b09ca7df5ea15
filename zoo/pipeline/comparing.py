"""A search where stages have a precision: what is in eight bits on a front is measured beside itself in float.

What was not measured to be faster leaves the front, and the same network in float is evaluated in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from search.archive import Archive, Evaluations, stored
from supernet.space import Architecture, Genes
from zoo.pipeline.faster import Compared, compared
from zoo.pipeline.mixed import MixedWorkspace
from zoo.pipeline.profiling import Profiled, learn_more
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.prove import time_files
from zoo.pipeline.searching import Searched, archive_of, known_front, objectives, search_front
from zoo.pipeline.verifying import exported
from zoo.pipeline.workspace import Workspace

FOLDER = "compared"
"""Beside a profile: the journals of these measurements."""


@dataclass(frozen=True)
class Found:
    """A search, and what it taught of the devices.

    Args:
        searched: with networks in eight bits on its fronts only where they were measured to be faster.
        known: the devices, as they have learned.
        replaced: of each device, by its name: networks that the search had found in eight bits and that were not
            faster; their twins in float are evaluated.
        left: of each device, likewise: how many were not compared in the rounds there are.
        eight: of each device, likewise: the share of its front that each stage is in eight bits in.
    """

    searched: Searched
    known: Sequence[Profiled]
    replaced: Mapping[str, Sequence[Compared]]
    left: Mapping[str, int]
    eight: Mapping[str, Mapping[str, float]]


def search_and_compare(
    workspace: Workspace,
    known: Sequence[Profiled],
    progress: Progress = silent,
    *,
    seconds: float | None = None,
) -> Found:
    """Search the Pareto front; where stages have a precision, measure what is in eight bits on it beside its twin.

    Arguments and errors are those of `search_front`, and those of `compare`.
    """
    searched = search_front(workspace, known, progress, seconds=seconds)
    if not isinstance(workspace, MixedWorkspace):
        return Found(searched, known, {}, {}, {})
    return compare(workspace, known, searched, progress)


def compare(
    workspace: MixedWorkspace, known: Sequence[Profiled], searched: Searched, progress: Progress = silent
) -> Found:
    """Keep eight bits on the fronts of a search only where they are measured to be faster than the twin in float.

    The predictor learns from what is measured, so that others may be on the front then, which are measured next, as
    often as ``search.verify_rounds`` allows. What is then in eight bits and not compared counts as not faster.

    Raises:
        DeviceError: when the device is another than the profile's.
        ExportError: when a network cannot be exported.
        InfeasibleError: when of the networks that are left none is within the limits.
        StateError: when the run's folder cannot be written to.
    """
    now, asked = list(known), dict[str, list[Architecture]]()
    for _ in range(workspace.run.options.search.verify_rounds):
        for place, one in enumerate(now):
            fresh = _candidates(workspace, now, one)
            now[place] = _measured(workspace, one, fresh, progress)
            asked.setdefault(one.name, []).extend(fresh)
        if not any(_candidates(workspace, now, one) for one in now):
            break
    left = {one.name: _candidates(workspace, now, one) for one in now}
    replaced = {one.name: _slower(workspace, one, asked[one.name]) for one in now}
    refused = [c.mixed.genes for some in replaced.values() for c in some]
    refused += [arch.genes for some in left.values() for arch in some]
    _evaluate_twins(workspace, now, np.array(refused, dtype=np.int64).reshape(-1, len(workspace.net.space)))
    front = known_front(workspace, now).result
    seen = _in_order(searched.result.evaluations, front.evaluations)
    result = replace(searched.result, evaluations=seen, front=front.front, objectives=front.objectives)
    found = replace(searched, result=result)
    counts = {name: len(archs) for name, archs in left.items()}
    return Found(found, now, replaced, counts, shares(workspace, now, found))


def _in_order(before: Evaluations, now: Evaluations) -> Evaluations:
    """What is known now, first as it came to be known before."""
    places = {key: place for place, key in enumerate(stored(before.genes))}
    order = np.argsort([places.get(key, len(places)) for key in stored(now.genes)], kind="stable")
    return Evaluations(now.space, now.objectives, now.genes[order], now.values[order])


def shares(
    workspace: Workspace, known: Sequence[Profiled], searched: Searched
) -> dict[str, dict[str, float]]:
    """Of each device, the share of its front that has each stage in eight bits; nothing where there is no choice."""
    if not isinstance(workspace, MixedWorkspace):
        return {}
    found = {}
    for one in known:
        front = searched.on(one).result.front
        eight = workspace.precision.eight(workspace.net.space.matrix([point.arch for point in front]))
        found[one.name] = dict(zip(workspace.precision.stages, eight.mean(axis=0).tolist()))
    return found


def _candidates(workspace: MixedWorkspace, known: Sequence[Profiled], one: Profiled) -> list[Architecture]:
    """What is on the front of a device in eight bits and was not compared."""
    done = {c.mixed.arch for c in compared(workspace.precision, one)}
    front = known_front(workspace, known, candidates=True).on(one).result.front
    return [p.arch for p in front if workspace.precision.stages_in_eight(p.arch) and p.arch.id not in done]


def _measured(
    workspace: MixedWorkspace, known: Profiled, archs: Sequence[Architecture], progress: Progress
) -> Profiled:
    """What a device has learned when networks and their twins in float were timed side by side."""
    if not archs:
        return known
    pairs = dict.fromkeys(one for arch in archs for one in (arch, workspace.precision.twin(arch)))
    files = exported(workspace, list(pairs), partial(_tell, progress))
    timed = time_files(workspace, known, files, FOLDER, partial(_tell, progress))
    for path in files.values():
        path.unlink()
    return learn_more(workspace, known, timed)


def _tell(progress: Progress, part: str, done: int, total: int, words: str = "") -> None:
    progress(f"eight bits beside float: {part}", done, total, words)


def _slower(workspace: MixedWorkspace, known: Profiled, asked: Sequence[Architecture]) -> list[Compared]:
    ids = {arch.id for arch in asked}
    return [c for c in compared(workspace.precision, known) if c.mixed.arch in ids and not c.faster]


def _evaluate_twins(workspace: MixedWorkspace, known: Sequence[Profiled], genes: Genes) -> None:
    """Evaluate networks in float, where that was not done yet."""
    twins = np.unique(workspace.precision.in_float(genes), axis=0)
    goals = [goal for goal in objectives(workspace, known) if not goal.cheap]
    with Archive(archive_of(workspace), workspace.net.space, write=True) as archive:
        for goal in goals:
            missing = twins[np.isnan(archive.look_up(goal, twins))]
            if len(missing):
                archive.record(goal, missing, goal(missing))
