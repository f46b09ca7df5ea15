"""Many exports side by side: tracing a network is one thread of Python, so processes are what helps."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from hardware.export import OnnxFile, export_onnx
from supernet.elastic.inputs import Inputs
from supernet.elastic.slicing import named_tensors
from supernet.tasks.task import FreeAxes


@dataclass(frozen=True)
class ExportJob:
    """One network to export; the fields are the arguments of `export_onnx`."""

    module: nn.Module
    example: Inputs
    path: Path
    free_axes: FreeAxes = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Parcel:
    """A job on its way to another process: the tensors as bytes, so that no shared memory is held open."""

    skeleton: nn.Module
    tensors: bytes
    inputs: dict[str, Any]
    path: Path
    free_axes: FreeAxes
    properties: dict[str, str]


def export_all(jobs: Iterable[ExportJob], workers: int = 1) -> Iterator[OnnxFile]:
    """Export networks in order; the files are byte for byte those of `export_onnx`.

    Args:
        jobs: what to export.
        workers: processes; 1 stays in this one. More need a main module that can be imported anew
            (``if __name__ == "__main__":``), and each takes some seconds to start.

    Raises:
        ExportError: when a network cannot be exported.
    """
    if workers <= 1:
        for job in jobs:
            yield export_onnx(
                job.module, job.example, job.path, free_axes=job.free_axes, properties=job.properties
            )
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        yield from pool.map(_export, (_pack(job) for job in jobs))


def _begin() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all of a group; the parent says when to leave
    torch.set_num_threads(1)
    Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for the next job forever: siblings hold its pipe open."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _pack(job: ExportJob) -> _Parcel:
    tensors = {name: tensor.detach().contiguous() for name, tensor in named_tensors(job.module)}
    skeleton = copy.deepcopy(job.module).to("meta")
    return _Parcel(
        skeleton, save(tensors), job.example.to_json(), job.path, job.free_axes, dict(job.properties)
    )


def _export(parcel: _Parcel) -> OnnxFile:
    tensors = load(parcel.tensors)
    module = parcel.skeleton.to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in named_tensors(module):
            tensor.copy_(tensors[name])
    inputs = Inputs.from_json(parcel.inputs).zeros()
    return export_onnx(module, inputs, parcel.path, free_axes=parcel.free_axes, properties=parcel.properties)
