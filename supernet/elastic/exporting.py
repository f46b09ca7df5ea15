"""The exported graph of a network, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet.elastic.answers import answers
from supernet.elastic.cutting import duplicate
from supernet.elastic.inputs import Inputs
from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices
from supernet.errors import ConversionError


def answering(model: nn.Module, training: bool) -> nn.Module:
    """The network, its weights shared, with nothing but the tensors of its answer."""
    shared = bind(model, Slices({}, frozenset()), training=training, own=True)
    shared.register_forward_hook(lambda module, given, outputs: answers(outputs))
    return shared


def exported(model: nn.Module, example: Inputs) -> ExportedProgram:
    """The exported network; its weights are not copied, and it only runs for real to say why that fails."""
    shared = answering(model, training=False)
    failed: Exception | None = None
    try:
        program = torch.export.export(shared, example.args, dict(example.kwargs), strict=False)
        if any(
            isinstance(node.meta.get("val"), Tensor) for node in program.graph.output_node().all_input_nodes
        ):
            return program
    except Exception as error:  # torch.export passes on whatever the traced code raises
        failed = error
    with does_not_run(model, example), torch.no_grad():
        outputs = example.call(duplicate(model).eval())
    if not answers(outputs):
        raise ConversionError(
            f"{type(model).__name__} answers with {type(outputs).__name__}, which holds no tensor; "
            f"wrap it in a module that returns the tensors"
        )
    raise ConversionError(
        f"{type(model).__name__} can not be made elastic: torch.export does not trace it with an example "
        f"{example}: {type(failed).__name__}: {first_line(failed) if failed else ''}"
    ) from failed


@contextmanager
def does_not_run(model: nn.Module, example: Inputs) -> Iterator[None]:
    """What a network raises when it is run on an example, as an error that says so.

    Raises:
        ConversionError: instead of what was raised.
    """
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        raise ConversionError(
            f"{type(model).__name__} does not run on the example {example}: {first_line(error)}; "
            f"give one it takes, batch first"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [""])[0]
