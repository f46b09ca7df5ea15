"""How good a subnet's answers are, with batch-norm statistics of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from supernet.calibrate import calibrate
from supernet.elastic.inputs import Inputs
from supernet.elastic.notes import beyond_torch, codes
from supernet.elastic.supernet import Supernet
from supernet.errors import SupernetError
from supernet.space import Architecture, Value
from supernet.tasks.task import AS_TRAINED, Batch, Dataset, Score, SplitName, added_up, is_unknown, moved

PREPARED_BYTES = 1 << 28
"""A split whose batches need no more than this is prepared once, where the network is."""
BATCH, LARGEST_BATCH, BATCH_BYTES = 64, 256, 1 << 22
"""Examples per forward pass: more than the first only while their inputs stay below so many bytes."""


@dataclass(frozen=True)
class Result:
    """What a network is worth on a split.

    Args:
        scores: one for each metric of the task; the first one is what is told.
        examples: how many were looked at.
    """

    scores: tuple[Score, ...]
    examples: int

    @property
    def value(self) -> float:
        """The first metric."""
        return self.scores[0].value

    def __getitem__(self, name: str) -> float:
        """A metric by name."""
        return next(score.value for score in self.scores if score.metric.name == name)

    def __str__(self) -> str:
        return f"{self.scores[0]} of {self.examples}"


def layout_of(supernet: Supernet, device: torch.device) -> torch.memory_format:
    """How maps lie in memory: channels last, in which depth-wise convolutions run up to twice as fast on a CPU.

    It is for maps only, and not for average pooling with padding on a GPU, whose gradients are wrong there in PyTorch
    2.11 and some versions after it (https://github.com/pytorch/pytorch/issues/188344).
    """
    if any(parameter.dim() > 4 for parameter in supernet.parameters()):
        return torch.preserve_format
    pools = device.type == "cuda" and any(map(_may_pad, supernet.modules()))
    return torch.contiguous_format if pools else torch.channels_last


def _may_pad(module: nn.Module) -> bool:
    """Whether it pools on the average with padding, or its own code calls the function, whose padding is not seen."""
    if isinstance(module, nn.AvgPool2d):
        padding: int | Sequence[int] = module.padding
        return padding > 0 if isinstance(padding, int) else any(padding)
    return any("avg_pool2d" in code.co_names for base in beyond_torch(type(module)) for code in codes(base))


class Evaluator:
    """Judges the subnets of one supernet on one split, each calibrated first.

    The calibration examples are shuffled and the same for all subnets, and the batches of a split that
    fits into memory are prepared once: a search asks hundreds of times.

    Args:
        supernet: whose subnets; left as it is.
        dataset: where examples come from, and what they are for.
        split: which of them to judge on.
        examples: of the split to judge on at most; None for all.
        calibration_examples: training examples to take statistics from.
        batch_size: examples per forward pass; changes nothing but speed and memory. By default 64, and up to 256
            where they are small.
        seed: which calibration examples.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        split: SplitName = "search",
        *,
        examples: int | None = None,
        calibration_examples: int = 512,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        self.supernet = supernet
        self.dataset, self.task = dataset, dataset.task
        self.split: SplitName = split
        self.examples = examples
        self.batch_size = batch_size or _batch_of(self.task.example_inputs())
        self.device = next(supernet.parameters()).device
        self.layout = layout_of(supernet, self.device)
        batches = dataset.calibration_batches(calibration_examples, 128, seed)
        self.calibration = [moved(batch, self.device) for batch in batches]
        self._prepared = self._prepare()

    def _prepare(self) -> list[Batch] | None:
        kept, size = [], 0
        for batch in self.dataset.batches(self.split, self.batch_size, self.examples):
            kept.append(moved(batch, self.device))
            size += sum(t.nbytes for t in self.task.inputs(kept[-1]).tensors)
            if size > PREPARED_BYTES:
                return None
        return kept

    def statistics(self, arch: Architecture) -> dict[str, Tensor]:
        """Batch-norm statistics of one subnet, as `Supernet.subnet` and `Supernet.extract` take them."""
        values = self.supernet.input_values(arch)
        inputs = [self.task.inputs(batch, values).to(memory_format=self.layout) for batch in self.calibration]
        return calibrate(self.supernet.subnet(arch), inputs)

    @torch.inference_mode()
    def __call__(self, arch: Architecture) -> Result:
        """Calibrate one subnet and judge it.

        Raises:
            ArchitectureError: when ``arch`` is of another space.
            SupernetError: when a metric of the task is no number.
        """
        subnet = self.supernet.subnet(arch, self.statistics(arch)).eval()
        try:
            return self.of(subnet, self.supernet.input_values(arch))
        except SupernetError as error:
            raise SupernetError(f"architecture {arch.id}: {error}") from error

    @torch.inference_mode()
    def of(self, network: nn.Module, values: Mapping[str, Value] = AS_TRAINED) -> Result:
        """Judge any network on the same examples.

        Args:
            network: a subnet, in evaluation mode, or any other that takes the same inputs.
            values: of the choices that concern the inputs, see `Supernet.input_values`.

        Raises:
            SupernetError: when a metric of the task is no number.
        """
        scores: tuple[Score, ...] | None = None
        examples = 0
        for batch in self._prepared or self.dataset.batches(self.split, self.batch_size, self.examples):
            here = moved(batch, self.device)
            inputs = self.task.inputs(here, values).to(memory_format=self.layout)
            outputs: Any = inputs.call(network)
            scores = added_up(scores, self.task.metrics(outputs, here))
            examples += inputs.batch
        if scores is None:
            raise SupernetError(f"the {self.split} split of {self.dataset.name} holds no batch to judge on")
        for score in scores:
            if is_unknown(score):
                raise SupernetError(
                    f"the metric {score.metric.name!r} of the task {self.task.name} is no number on the "
                    f"{self.split} split ({examples} examples); look at the network's answers and the targets"
                )
        return Result(scores, examples)


def _batch_of(examples: Inputs) -> int:
    """As many as fit `BATCH_BYTES`, within bounds."""
    each = sum(t.nbytes for t in examples.tensors) // examples.batch
    return min(max(BATCH_BYTES // max(each, 1), BATCH), LARGEST_BATCH)
