"""The ONNX files of many subnets: as few as can be are traced, and those of an earlier process are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import nn

from hardware.errors import CutError
from hardware.export import NONE_FREE, weight_hash
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
    template: Template | None = None,
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
        template: the largest network, where it was traced before; otherwise it is as soon as two are missing.
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
        for done, _ in enumerate(_export(supernet, missing, shown, workers, template), start=before + 1):
            progress(done, len(jobs))
    return {arch.id: job.path for arch, job in jobs.items()}


def _export(
    supernet: Supernet,
    jobs: Mapping[Architecture, ExportJob],
    shown: Callable[[Architecture], Inputs],
    workers: int,
    template: Template | None,
) -> Iterator[object]:
    """One file after the other, as they come to be."""
    left = list(jobs)
    if template is None and len(left) > 1:
        largest = supernet.space.largest()
        free_axes = jobs[left[0]].free_axes
        template = Template.of(supernet.extract(largest).eval(), shown(largest), free_axes)
    if template is not None:
        yield from _cut(template, supernet, jobs, left)
    yield from export_all((jobs[arch] for arch in left), min(workers, len(left)))


def _cut(
    template: Template, supernet: Supernet, jobs: Mapping[Architecture, ExportJob], left: list[Architecture]
) -> Iterator[object]:
    """Cut the files that can be from the template, and take them off the list."""
    for arch in list(left):
        try:
            made = template.export(jobs[arch], supernet.slices(arch).absent)
        except CutError as error:
            log.info("%s is traced by itself: %s", arch.id, error)
        else:
            left.remove(arch)
            yield made
