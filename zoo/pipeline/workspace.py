"""What the steps of a run work with: the trained supernet, the examples, exact costs, a judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardware.export import OnnxFile
from hardware.pool import ExportJob
from hardware.subnet_files import export_subnet, export_subnets
from search.options import SearchOptions
from supernet.build import data_for
from supernet.elastic.costs import Costs
from supernet.elastic.inputs import Inputs
from supernet.elastic.storage import WEIGHTS
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError, did_you_mean
from supernet.evaluate import Evaluator, Result
from supernet.recipe import device_of
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.tasks.task import Dataset, Metric, Task
from zoo.pipeline.progress import Progress, silent
from zoo.pipeline.run import Run
from zoo.store.manifest import hash_file


@dataclass(frozen=True)
class Workspace:
    """What every step after the training works with.

    Args:
        run: whose.
        net: the trained supernet, in evaluation mode.
    """

    run: Run
    net: Supernet
    _known: list[Dataset] = field(default_factory=list, repr=False, compare=False)
    prefix = ""
    """What the names of its archives begin with."""

    @property
    def dataset(self) -> Dataset:
        """The examples, with their task."""
        return self.read()

    def read(self, progress: Progress = silent) -> Dataset:
        """The examples, with their task; the first call reads them and says how far that is."""
        if not self._known:
            self._known.append(examples(self.run, progress))
        return self._known[0]

    @property
    def quality(self) -> Metric:
        """What networks are ranked by: the metric of the options, or the task's own.

        Raises:
            ConfigError: when the task has no metric of that name.
        """
        return ranking(self.dataset.task, self.run.options.search)

    @property
    def told(self) -> Metric:
        """What people are told of a network."""
        return self.dataset.task.measures[0]

    def example(self, arch: Architecture) -> Inputs:
        """Two examples as an architecture takes them."""
        return self.dataset.task.example_inputs(self.net.input_values(arch))

    def preprocess(self, arch: Architecture) -> dict[str, Any]:
        """How raw data become the inputs of an architecture, as its manifest and its file say it."""
        return self.dataset.preprocessing(self.net.input_values(arch))

    def properties(self, arch: Architecture) -> dict[str, str]:
        """What an ONNX file says of itself, so that it can be used where its manifest is lost."""
        task = self.dataset.task
        return {
            "architecture": json.dumps(arch.genes),
            "architecture_values": json.dumps(self.net.space.decode(arch)),
            "architecture_id": arch.id,
            "space": arch.space,
            "task": task.name,
            "preprocess": json.dumps(self.preprocess(arch), sort_keys=True),
            "classes": json.dumps(getattr(task, "classes", ())),
        }

    @cached_property
    def costs(self) -> Costs:
        """Exact costs of any architecture, each for its own inputs."""
        return self.net.costs()

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judges on the search split."""
        options = self.run.options
        return Evaluator(
            self.net,
            self.dataset,
            examples=options.search.examples,
            calibration_examples=options.train.calibration_examples,
        )

    @cached_property
    def judged(self) -> Callable[[Architecture], Result]:
        """What it says of an architecture, by metric; each is evaluated once."""
        return cache(self.evaluator)

    @property
    def judged_with(self) -> dict[str, str]:
        """What that depends on, beside weights and examples."""
        return {}

    def cut_out(self, arch: Architecture) -> nn.Module:
        """A network by itself, with statistics of its own, in evaluation mode.

        Raises:
            ArchitectureError: when it is of another space.
        """
        return self.net.extract(arch, self.evaluator.statistics(arch)).eval()

    def write(self, arch: Architecture, subnet: nn.Module, path: Path) -> OnnxFile:
        """A network as the ONNX file that it runs as, which says of itself what it is.

        Args:
            subnet: as it was cut out, in evaluation mode.
            path: where to.

        Raises:
            ExportError: when it cannot be exported.
            StateError: when the place cannot be written to.
        """
        job = ExportJob(subnet, self.example(arch), path, self.dataset.task.free_axes, self.properties(arch))
        made = export_subnet(self.net, arch, job, self.example)
        self.finish(arch, path)
        return replace(made, sha256=hash_file(path), size_bytes=path.stat().st_size)

    def files(
        self, subnets: Mapping[Architecture, nn.Module], folder: Path, progress: Progress = silent
    ) -> dict[Architecture, Path]:
        """Networks as the ONNX files that they run as.

        Args:
            subnets: as they were cut out, in evaluation mode.
            folder: where to; what an earlier call made there is kept.

        Raises:
            ExportError: when one cannot be exported.
            StateError: when the folder cannot be written to.
        """
        made = export_subnets(
            self.net,
            subnets,
            self.example,
            folder,
            free_axes=self.dataset.task.free_axes,
            workers=self.run.options.profile.workers,
            progress=partial(progress, "export"),
        )
        return {arch: made[arch.id] for arch in subnets}

    def finish(self, arch: Architecture, file: Path) -> None:
        """Make of an exported network the file that it runs as, in its place; as it is here, it is that already."""

    def as_run(self, arch: Architecture, subnet: nn.Module, file: Path) -> nn.Module:
        """What of a network is to be judged: itself, or the file it was made into."""
        return subnet


def ranking(task: Task, options: SearchOptions) -> Metric:
    """What networks are ranked by: the metric of the options, or the task's own.

    Raises:
        ConfigError: when the task has no metric of that name.
    """
    known = {metric.name: metric for metric in task.measures}
    if options.metric is None:
        return task.ranked_by
    if options.metric not in known:
        raise ConfigError(
            f"search.metric is {options.metric!r}, no metric of {task.name}{did_you_mean(options.metric, known)}"
        )
    return known[options.metric]


def examples(run: Run, progress: Progress = silent) -> Dataset:
    """The run's examples, shown as its model wants them."""
    return load_data(data_for(run.options.data, run.options.supernet), progress)


def read(run: Run, progress: Progress = silent) -> Dataset:
    """The run's examples; options that a later step would refuse are refused before work rests on them.

    Raises:
        ConfigError: for a device that this machine does not have, or a metric that the task does not have.
        DataError: when the data are missing or damaged.
    """
    device_of(run.options.train)
    dataset = examples(run, progress)
    ranking(dataset.task, run.options.search)
    return dataset


def opened(run: Run, dataset: Dataset | None = None) -> Workspace:
    """The run's trained supernet, to work with.

    Args:
        dataset: that of the run, where it was read already.

    Raises:
        StateError: when there is none yet.
    """
    if not (run.supernet / WEIGHTS).exists():
        raise StateError(f"{run.folder} holds no trained supernet; run this first: {run.command('train')}")
    torch.set_num_threads(run.options.train.threads)
    return Workspace(run, Supernet.load(run.supernet), [dataset] if dataset else [])
