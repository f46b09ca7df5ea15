"""A verified front, for a person and for a program: what was predicted beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from supernet.tasks.task import Metric
from supernet.wording import alike, counted
from zoo.cli.documents import Document
from zoo.cli.narrator import Narrator
from zoo.cli.profile_printing import say_busy
from zoo.pipeline.verifying import Check, Round, Verified
from zoo.pipeline.workspace import Workspace


def print_verified(workspace: Workspace, found: Verified, narrator: Narrator) -> None:
    """A table of every network that was measured, and how many points of the front held, for each device."""
    for one in found.known:
        rounds = found.rounds[one.name]
        checks = [check for each in rounds for check in each.checks]
        of = f" on {one.name}" if one.name else ""
        if checks:
            narrator.table(f"verified{of}: exported files", check_rows(checks, workspace.quality))
        say_busy(narrator, [check.measured for check in checks])
        narrator.say(
            f"The front{of}: {'; '.join(_round(i, each) for i, each in enumerate(rounds, start=1))}."
        )
        if not found.holds(one.name):
            narrator.say(
                f"That is less than 95 %: measure more subnets (profile.subnets), or allow more rounds "
                f"(search.verify_rounds, now {workspace.run.options.search.verify_rounds})."
            )


def _round(number: int, found: Round) -> str:
    measured = f"{counted(len(found.checks), 'network')} measured" if found.checks else "all measured before"
    off = sum(not check.holds for check in found.checks)
    held = f"{found.front - off} of {counted(found.front, 'point')} hold ({found.share:.0%})"
    return f"round {number}, {measured}, {held}"


def check_rows(checks: Sequence[Check], metric: Metric) -> list[dict[str, str]]:
    """Checks as rows of a table."""
    bounds = [float(v[0]) for c in checks for v in (c.predicted.mean, c.predicted.low, c.predicted.high)]
    predicted, worth = (
        iter(alike(bounds, 3)),
        iter(alike([v for c in checks for v in (c.evaluated, c.of_file)])),
    )
    return [
        {
            "network": check.arch.id,
            "predicted ms": f"{next(predicted)} [{next(predicted)}, {next(predicted)}]",
            "measured ms": f"{ms} ± {check.measured.ci:.1%}" if isfinite(check.measured.ci) else ms,
            "holds": "yes" if check.holds else "no",
            f"{metric.name}, evaluated": next(worth),
            "of the file": next(worth),
        }
        for check, ms in zip(checks, alike([check.measured.median_ms for check in checks], 3))
    ]


def document(found: Verified) -> Document:
    """For each device, by its name: rounds, and every network that was measured."""
    return {
        one.name: {
            "holds": found.holds(one.name),
            "rounds": [_document(each) for each in found.rounds[one.name]],
        }
        for one in found.known
    }


def _document(found: Round) -> Document:
    return {
        "points": found.front,
        "share": found.share,
        "networks": [
            {
                "network": check.arch.id,
                "genes": check.arch.genes,
                "predicted": check.predicted,
                "measured": check.measured,
                "holds": check.holds,
                "evaluated": check.evaluated,
                "of_file": check.of_file,
            }
            for check in found.checks
        ],
    }
