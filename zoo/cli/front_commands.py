"""``supernet search`` and ``supernet front``: the networks worth having, for one device or for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from search.options import until_of
from zoo.cli.session import Session, as_typed, in_session
from zoo.cli.typed import Config, Devices, MaxLatencies, MaxParams, NoLimits, RunFolder, Set

if TYPE_CHECKING:
    from zoo.cli.documents import Document
    from zoo.pipeline.comparing import Found
    from zoo.pipeline.profiling import Profiled
    from zoo.pipeline.run import Run
    from zoo.pipeline.searching import Searched
    from zoo.pipeline.verifying import Verified
    from zoo.pipeline.workspace import Workspace


@in_session
def search(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    set_: Set = None,
    device: Devices = None,
    max_latency_ms: MaxLatencies = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Networks evaluated at the same time, each by a process of its own. Short for search.workers.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORKS | TIME",
            help="Networks evaluated in all (short for search.evaluations), or the time that this call may search, "
            "such as 10m or 1h30m: what is being evaluated then is finished, and the same call again goes on.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Measure the networks of the front as exported files, judge the files, and search on until what was "
            "predicted holds.",
        ),
    ] = False,
) -> None:
    """Search the Pareto front of quality, latency and parameters, within limits; for several devices at once."""
    from zoo.cli.precision_printing import print_precision
    from zoo.cli.printing import print_kept, print_limits
    from zoo.cli.report_printing import print_ended
    from zoo.pipeline.comparing import search_and_compare, shares
    from zoo.pipeline.kept import SEARCH

    devices = list(dict.fromkeys(device or [""]))
    networks, seconds = (None, None) if until is None else until_of(until)
    short = {"search.workers": workers, "search.evaluations": networks}
    asked = session.open(
        run,
        config,
        [*(set_ or ()), *(f"{key}={value}" for key, value in short.items() if value is not None)],
        max_latency_ms=max_latency_ms,
        max_params=max_params,
        no_limits=no_limits,
        devices=devices,
    )
    workspace, known = _profiled(asked, devices)
    print_limits(workspace.run.options.search, session.narrator, devices)
    print_kept(workspace.run, SEARCH, session.narrator)
    with session.narrator.progress() as progress:
        found = search_and_compare(workspace, known, progress, seconds=seconds)
    known, searched = list(found.known), found.searched
    print_ended(workspace.run, searched, session.narrator)
    verified = _verified(session, workspace, known, searched) if verify else None
    if verified is not None:
        known, searched = list(verified.known), verified.searched
        found = replace(found, eight=shares(workspace, known, searched))
    print_precision(found, session.narrator)
    _tell_fronts(session, workspace, known, searched, verified=verified, found=found)


@in_session
def front(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    device: Devices = None,
    max_latency_ms: MaxLatencies = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """The front of what was evaluated, for whichever profiled device; nothing is evaluated."""
    from zoo.cli.printing import print_limits
    from zoo.pipeline.searching import known_front

    devices = list(dict.fromkeys(device or [""]))
    asked = session.open(
        run,
        config,
        None,
        max_latency_ms=max_latency_ms,
        max_params=max_params,
        no_limits=no_limits,
        devices=devices,
    )
    workspace, known = _profiled(asked, devices)
    print_limits(workspace.run.options.search, session.narrator, devices, kept=False)
    _tell_fronts(session, workspace, known, known_front(workspace, known), evaluate=False)


def _verified(
    session: Session, workspace: Workspace, known: Sequence[Profiled], searched: Searched
) -> Verified:
    """The fronts of a search, held against measurements."""
    from zoo.cli.verified import print_verified
    from zoo.pipeline.verifying import verify

    with session.narrator.progress() as progress:
        found = verify(workspace, known, searched, progress)
    print_verified(workspace, found, session.narrator)
    return found


def _profiled(run: Run, devices: Sequence[str]) -> tuple[Workspace, list[Profiled]]:
    """The trained supernet of a run, and what its profiles say of some devices."""
    from zoo.pipeline.mixed import on
    from zoo.pipeline.profiling import profiled
    from zoo.pipeline.workspace import opened

    workspace = on(opened(run), devices)
    return workspace, [profiled(workspace, name) for name in devices]


def _tell_fronts(
    session: Session,
    workspace: Workspace,
    known: Sequence[Profiled],
    searched: Searched,
    evaluate: bool = True,
    verified: Verified | None = None,
    found: Found | None = None,
) -> None:
    """What a search found, device by device: a table, three networks, a picture."""
    from zoo.cli import documents
    from zoo.cli.precision_printing import document as precision_document
    from zoo.cli.printing import looked_at, print_front, print_remark
    from zoo.cli.report_printing import print_common
    from zoo.cli.verified import document
    from zoo.pipeline.figure import common, draw_alike, draw_front, draw_hypervolume
    from zoo.pipeline.pick import picked
    from zoo.pipeline.run import devices_typed

    narrator, told = session.narrator, []
    narrator.say(looked_at(searched))
    for one in known:
        seen = searched.on(one)
        print_front(one, seen, narrator)
        chosen = picked(workspace, one, seen.result.front, seen.result.objectives)
        print_remark(chosen, narrator)
        alike = common(workspace, seen.result.front)
        print_common(one.name, alike, narrator)
        png = draw_front(workspace, one, seen, as_typed(), chosen=chosen.archs, evaluate=evaluate)
        narrator.say(f"The front as a picture: {png}")
        shared = draw_alike(workspace, one, seen.result.front, alike, as_typed())
        narrator.say(f"What its networks have in common: {shared}")
        narrator.say(f"Next: {workspace.run.command('export', *devices_typed([one.name]))}")
        told.append((one, seen, chosen, png, alike))
    more: Document = {"verified": document(verified)} if verified is not None else {}
    more |= precision_document(found) if found is not None else {}
    if searched.result.ended:
        more["hypervolume"] = draw_hypervolume(workspace, known, searched, as_typed())
        narrator.say(f"How the search went: {more['hypervolume']}")
    session.result(documents.fronts(workspace.run, searched, told) | more)
