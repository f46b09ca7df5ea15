"""The ONNX files of many subnets: as few as can be are traced, and those of an earlier process are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from hardware.errors import CutError
from hardware.export import NONE_FREE, OnnxFile, weight_hash
from hardware.pool import ExportJob, export_all
from hardware.template import Template
from supernet.elastic.inputs import Inputs
from supernet.elastic.supernet import Supernet
from supernet.lock import locked
from supernet.space import Architecture
from supernet.tasks.task import FreeAxes

log = logging.getLogger(__name__)


def export_subnets(
    supernet: Supernet,
    subnets: Mapping[Architecture, nn.Module],
    shown: Callable[[Architecture], Inputs],
    folder: Path,
    *,
    free_axes: FreeAxes = NONE_FREE,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Path]:
    """Every subnet as a file, by id; one that an earlier process finished with the same weights is kept.

    The largest network is traced and the others are cut from its graph (`hardware.template`); those that cannot
    be are traced one by one. Threads and processes that export into one folder take turns, and each finds what the
    others made.

    Args:
        supernet: what the subnets were cut out of.
        subnets: plain networks in eval mode.
        shown: what the forward pass of an architecture is given.
        folder: where to.
        free_axes: as `export_onnx` takes them.
        workers: processes that trace side by side.
        progress: told how many files there are, and how many there will be.

    Raises:
        ExportError: when a subnet cannot be exported.
        StateError: when the folder cannot be written to.
    """
    jobs = {
        arch: ExportJob(
            subnet,
            shown(arch),
            folder / f"{arch.id}-{weight_hash(subnet)[:12]}.onnx",
            free_axes,
            {"architecture": json.dumps(arch.genes)},
        )
        for arch, subnet in subnets.items()
    }
    with locked(folder / ".lock"):
        missing = {arch: job for arch, job in jobs.items() if not job.path.exists()}
        log.info("exporting %d of %d subnets", len(missing), len(jobs))
        before = len(jobs) - len(missing)
        template = template_of(supernet, shown, free_axes) if len(missing) > 1 else None
        for done, _ in enumerate(_export(supernet, missing, template, workers), start=before + 1):
            progress(done, len(jobs))
    return {arch.id: job.path for arch, job in jobs.items()}


def template_of(
    supernet: Supernet, shown: Callable[[Architecture], Inputs], free_axes: FreeAxes = NONE_FREE
) -> Template:
    """The graph of the largest network, traced once for as long as the supernet lives.

    Raises:
        ExportError: as `hardware.export.export_onnx`.
    """
    largest = supernet.space.largest()
    inputs = shown(largest).with_batch(2)
    key = json.dumps([inputs.to_json(), {name: dict(axes) for name, axes in free_axes.items()}])
    known = _TRACED.setdefault(supernet, {})
    if key not in known:
        known[key] = Template.of(supernet.extract(largest).eval(), inputs, free_axes)
    return known[key]


_TRACED: WeakKeyDictionary[Supernet, dict[str, Template]] = WeakKeyDictionary()
"""Templates hold no weights, so that what they are made of can go on being trained."""


def export_subnet(
    supernet: Supernet, arch: Architecture, job: ExportJob, shown: Callable[[Architecture], Inputs]
) -> OnnxFile:
    """One subnet as a file, cut from the graph of the largest where it can be; equal subnets give equal bytes.

    Args:
        supernet: what it was cut out of.
        arch: which one it is.
        job: the subnet, and where to.
        shown: what the forward pass of an architecture is given.

    Raises:
        ExportError: when it cannot be exported.
        StateError: when the place cannot be written to.
    """
    template = template_of(supernet, shown, job.free_axes)
    return _cut(template, supernet, arch, job) or next(export_all([job]))


def _export(
    supernet: Supernet, jobs: Mapping[Architecture, ExportJob], template: Template | None, workers: int
) -> Iterator[OnnxFile]:
    """One file after the other, as they come to be: first those that can be cut from the template."""
    left = dict(jobs)
    for arch, job in jobs.items():
        made = _cut(template, supernet, arch, job) if template else None
        if made:
            del left[arch]
            yield made
    yield from export_all(left.values(), min(workers, len(left)))


def _cut(template: Template, supernet: Supernet, arch: Architecture, job: ExportJob) -> OnnxFile | None:
    """A file that is cut from the template; none where it has to be traced by itself."""
    try:
        return template.export(job, supernet.slices(arch).absent)
    except CutError as error:
        log.info("%s is traced by itself: %s", arch.id, error)
        return None
